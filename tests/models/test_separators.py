import pytest
import torch

from apit.layers import load_run, scale_names
from apit.models.separators import TDCNpp, make_separator, mixture_consistent
from apit.models.stft import STFT


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


@pytest.mark.parametrize("masks", ["sigmoid", "softmax"])
def test_estimates_sum_to_the_mixture(tiny, generator, masks):
    run = tiny("pit", f"separator.masks={masks}")
    mixture = torch.randn(3, 3210, generator=generator)
    separation = make_separator(run.separator, run.stft, run.audio)(mixture)
    assert separation.estimates.shape == (3, 4, 3210)
    assert separation.masks.min() >= 0
    assert separation.masks.max() <= 1
    torch.testing.assert_close(separation.estimates.sum(1), mixture, atol=2e-6, rtol=0)


def test_silence_stays_silence(tiny):
    run = tiny("pit")
    estimates = make_separator(run.separator, run.stft, run.audio)(torch.zeros(1, 3200)).estimates
    assert torch.equal(estimates, torch.zeros(1, 4, 3200))


def test_tdcnpp_is_wired_as_the_fuss_baseline():
    run = load_run("paper", "pit", 0)
    with torch.device("meta"):
        separator = make_separator(run.separator, run.stft, run.audio)
        network = separator.network
        masks, consistency = network(torch.empty(2, 257, 1251))
    assert masks.shape == (2, 4, 257, 1251)
    assert consistency.shape == (2, 4)
    blocks = [block for repeat in network.repeats for block in repeat]
    assert [block.layers[3].dilation[0] for block in blocks] == [1, 2, 4, 8, 16, 32, 64, 128] * 4
    # Skips from the inputs of blocks 0, 0, 0, 8, 8, 16 to those of blocks 8, 16, 24, 16, 24, 24.
    assert set(network.skips) == {"0-1", "0-2", "0-3", "1-2", "1-3", "2-3"}


def test_block_scales_start_at_powers_of_nine_tenths(tiny):
    network = TDCNpp(5, 2, repeats=2, blocks=3, bottleneck=4, channels=4, kernel=3)
    scales = [block.scale.item() for repeat in network.repeats for block in repeat]
    assert scales == pytest.approx([0.9**b for b in range(6)])


def test_every_skip_reaches_the_output(generator):
    network = TDCNpp(5, 2, repeats=3, blocks=1, bottleneck=4, channels=4, kernel=3)
    masks, consistency = network(torch.rand(2, 5, 9, generator=generator))
    assert masks.shape == (2, 2, 5, 9)
    assert consistency.shape == (2, 2)
    (masks.square().sum() + consistency.square().sum()).backward()
    assert all(w.grad is not None and w.grad.abs().sum() > 0 for w in network.parameters())


@pytest.mark.parametrize("scale", scale_names())
def test_every_shipped_scale_builds(scale):
    run = load_run(scale, "pit", 0)
    with torch.device("meta"):
        make_separator(run.separator, run.stft, run.audio)
