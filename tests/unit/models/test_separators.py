import pytest
import torch

from apit.config import TDCNpp as Config
from apit.config import UNet as UNetConfig
from apit.errors import UserError
from apit.layers import load_run, scale_names
from apit.models.separators import make_separator, mixture_consistent
from apit.models.stft import STFT
from apit.models.tdcnpp import TDCNpp
from apit.models.unet import SelfAttention, UNet

ARCHITECTURES = ["tdcnpp", "unet"]


def sizes(repeats, blocks):
    shape = {"repeats": repeats, "blocks": blocks, "bottleneck": 4, "channels": 4, "kernel": 3}
    return Config(masks="sigmoid", consistency="training", **shape)


def separator_of(run):
    return make_separator(run.separator, run.stft, run.audio)


def test_synthesis_undoes_analysis(generator):
    signals = torch.randn(2, 3, 1000, generator=generator)
    stft = STFT(256, 128)
    spectra = stft.analyse(signals)
    assert spectra.shape == (2, 3, stft.bins, 8 + 1)  # 1000 samples are filled up to 8 hops
    torch.testing.assert_close(stft.synthesise(spectra, 1000), signals, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("samples", [8000, 8060, 8063])
def test_masks_leave_no_spike_at_the_end(generator, samples):
    stft = STFT(256, 128)
    signal = 0.1 * torch.randn(samples, generator=generator)
    spectrum = stft.analyse(signal)
    masked = stft.synthesise(torch.rand(spectrum.shape, generator=generator) * spectrum, samples)
    assert masked[-128:].abs().max() < 2 * masked[:-128].abs().max()


def test_the_residual_is_shared_out_by_weight():
    estimates = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    mixture = torch.tensor([[2.0, 3.0]])
    shared = mixture_consistent(estimates, mixture, torch.tensor([[0.25, 0.75]]))
    assert shared.tolist() == [[[1.25, 0.5], [0.75, 2.5]]]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("masks", ["sigmoid", "softmax"])
def test_estimates_sum_to_the_mixture(tiny, generator, architecture, masks):
    chosen = f"separator.architecture={architecture}"
    run = tiny("pit", chosen, f"separator.{architecture}.masks={masks}")
    mixture = torch.randn(3, 3210, generator=generator)
    separation = separator_of(run).eval()(mixture)
    assert separation.estimates.shape == (3, 4, 3210)
    assert separation.masks.min() >= 0
    assert separation.masks.max() <= 1
    torch.testing.assert_close(separation.estimates.sum(1), mixture, atol=2e-6, rtol=0)


def test_softmax_masks_sum_to_one_and_estimates_to_the_mixture_but_for_what_was_dropped(
    tiny, generator
):
    separator = separator_of(tiny("pit"))
    mixture = torch.randn(2, 4000, generator=generator)
    separation = separator.train()(mixture)
    torch.testing.assert_close(separation.masks.sum(1), torch.ones(2, 128, 32))
    spectrum = separator.stft.analyse(mixture)
    spectrum[..., -1, :] = 0
    spectrum[..., -1] = 0
    kept = separator.stft.synthesise(spectrum, 4000)
    torch.testing.assert_close(separation.estimates.sum(1), kept, atol=1e-5, rtol=0)
    assert (mixture - kept).abs().max() > 0.01


def test_the_projection_brings_back_just_what_was_dropped_in_equal_shares(tiny, generator):
    separator = separator_of(tiny("pit"))
    mixture = torch.randn(2, 4000, generator=generator)
    before, after = separator.train()(mixture).estimates, separator.eval()(mixture).estimates
    dropped = mixture - before.sum(1)
    torch.testing.assert_close(after, before + dropped[:, None] / 4, atol=1e-6, rtol=0)


def test_consistency_in_training_has_weights_of_its_own(tiny, generator):
    separator = separator_of(tiny("pit-tdcnpp"))
    mixture = torch.randn(1, 4000, generator=generator)
    assert separator.outputs(mixture)[1].shape == (1, 4)
    estimates = separator.train()(mixture).estimates
    torch.testing.assert_close(estimates.sum(1), mixture, atol=2e-6, rtol=0)


def test_channels_share_the_masks_of_their_mixture(tiny, generator):
    separator = separator_of(tiny("pit")).eval()
    channels = torch.randn(2, 3210, generator=generator)
    mixture = channels.mean(0, keepdim=True)
    separated = separator(mixture, channels)
    alone = separator(mixture)
    assert torch.equal(separated.masks, alone.masks)
    assert separated.estimates.shape == (2, 4, 3210)
    torch.testing.assert_close(separated.estimates.sum(1), channels, atol=2e-6, rtol=0)
    # Masking is linear: the mean of the channels' estimates is the estimate of their mean.
    torch.testing.assert_close(separated.estimates.mean(0), alone.estimates[0], atol=2e-6, rtol=0)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_silence_stays_silence(tiny, architecture):
    run = tiny("pit", f"separator.architecture={architecture}")
    estimates = separator_of(run)(torch.zeros(1, 3200)).estimates
    assert torch.equal(estimates, torch.zeros(1, 4, 3200))


def test_tdcnpp_is_wired_as_the_fuss_baseline():
    run = load_run("paper", "pit", 0, ["separator.architecture=tdcnpp"])
    with torch.device("meta"):
        separator = separator_of(run)
        network = separator.network
        masks, consistency = network(torch.empty(2, 256, 1250))
    assert masks.shape == (2, 4, 256, 1250)
    assert consistency.shape == (2, 4)
    blocks = [block for repeat in network.repeats for block in repeat]
    assert [block.layers[3].dilation[0] for block in blocks] == [1, 2, 4, 8, 16, 32, 64, 128] * 4
    # Skips from the inputs of blocks 0, 0, 0, 8, 8, 16 to those of blocks 8, 16, 24, 16, 24, 24.
    assert set(network.skips) == {"0-1", "0-2", "0-3", "1-2", "1-3", "2-3"}


def test_block_scales_start_at_powers_of_nine_tenths(tiny):
    network = TDCNpp(5, 2, sizes(repeats=2, blocks=3))
    scales = [block.scale.item() for repeat in network.repeats for block in repeat]
    assert scales == pytest.approx([0.9**b for b in range(6)])


def test_every_skip_reaches_the_output(generator):
    network = TDCNpp(5, 2, sizes(repeats=3, blocks=1))
    masks, consistency = network(torch.rand(2, 5, 9, generator=generator))
    assert masks.shape == (2, 2, 5, 9)
    assert consistency.shape == (2, 2)
    (masks.square().sum() + consistency.square().sum()).backward()
    assert all(w.grad is not None and w.grad.abs().sum() > 0 for w in network.parameters())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("scale", scale_names())
def test_every_shipped_scale_builds_both_architectures(scale, architecture):
    run = load_run(scale, "pit", 0, [f"separator.architecture={architecture}"])
    with torch.device("meta"):
        separator_of(run)


def test_the_unet_has_the_papers_size_at_paper_scale():
    run = load_run("paper", "pit", 0)
    assert run.separator.architecture == "unet"
    with torch.device("meta"):
        separator = separator_of(run)
        assert separator.mask_shape(run.audio.samples) == (256, 1250)
        logits, consistency = separator.network(torch.empty(2, 256, 1250))
    assert logits.shape == (2, 4, 256, 1250)
    assert consistency is None
    count = sum(w.numel() for w in separator.parameters())
    assert count == pytest.approx(46.9e6, rel=0.01)
    assert [d.out_channels for d in separator.network.down] == [256, 512, 512, 512]


@pytest.mark.parametrize(("bins", "frames"), [(33, 17), (32, 5), (5, 40)])
def test_a_unet_takes_any_size_and_all_its_weights_matter(generator, bins, frames):
    config = UNetConfig(
        masks="softmax", consistency="inference", channels=[4, 8, 8], kernel=3, depth=2, heads=2,
        input_power=0.5, standardise=True,
    )  # fmt: skip
    network = UNet(bins, 3, config)
    logits, _ = network(torch.rand(2, bins, frames, generator=generator))
    assert logits.shape == (2, 3, bins, frames)
    (logits.square() * torch.rand(logits.shape, generator=generator)).sum().backward()
    without = [n for n, w in network.named_parameters() if w.grad is None or not w.grad.any()]
    assert without == []


def test_the_network_sees_magnitudes_as_they_are_unless_told_otherwise(tiny):
    network = separator_of(tiny("pit")).network
    assert (network.config.input_power, network.config.standardise) == (1, False)
    assert load_run("paper", "pit", 0).separator.unet.input_power == 1


def test_attention_lets_every_frame_see_all_others(generator):
    attention = SelfAttention(16, heads=2)
    x = torch.randn(1, 16, 6, generator=generator)
    changed = x.clone()
    changed[..., 0] += 1
    assert ((attention(x) - attention(changed)).abs().amax(1) > 0).all()


def test_a_separator_that_cannot_be_built_says_why(tiny):
    for setting, said in (
        ("kernel=4", "is even"), ("heads=3", "do not share 8 channels"),
        ("masks=relu", "'softmax' or 'sigmoid'"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=said):
            tiny("pit", f"separator.unet.{setting}")
