import numpy as np
import pytest
import torch
from scipy.signal import resample_poly

import apit
from apit.errors import UserError
from apit.models.separators import Separation, make_separator
from apit.provenance import array_generator
from apit.separate.model import Model, overlapping, stitched
from apit.separate.signals import Signal, Spool


def noise(*shape, seed=0):
    return array_generator(seed, "noise").standard_normal(shape).astype(np.float32) / 10


def signal(sound, rate):
    return Signal(rate, sound.shape[-1], lambda start, stop: sound[..., start:stop])


@pytest.fixture
def model(tiny):
    run = tiny("pit")
    torch.manual_seed(0)
    return Model(run, make_separator(run.separator, run.stft, run.audio).eval())


def test_chunks_begin_a_hop_apart_and_the_last_ends_with_the_signal():
    def lengths(*blocks):
        sound = np.arange(sum(blocks), dtype=np.float32)[None]
        pieces = np.split(sound, np.cumsum(blocks)[:-1], axis=-1)
        return [(int(c[0, 0]), c.shape[-1]) for c in overlapping(iter(pieces), hop=2)]

    assert lengths(3, 3, 1) == [(0, 4), (2, 4), (4, 3)]
    assert lengths(8) == [(0, 4), (2, 4), (4, 4)]
    assert lengths(9) == [(0, 4), (2, 4), (4, 4), (6, 3)]
    assert lengths(4) == [(0, 4)]
    assert lengths(1) == [(0, 1)]


def test_estimates_take_the_order_of_those_before_and_are_faded_over():
    tail = noise(3, 1, 4)
    new = np.concatenate([tail, noise(3, 1, 2, seed=1)], axis=-1)
    joined = stitched(tail, new[[2, 0, 1]] * 2)
    fade = np.sin(np.array([0, 1, 2, 3]) / 4 * np.pi / 2) ** 2
    np.testing.assert_allclose(joined[..., :4], tail * (1 - fade) + 2 * tail * fade, rtol=1e-6)
    np.testing.assert_array_equal(joined[..., 4:], 2 * new[..., 4:])


@pytest.mark.parametrize(("rate", "other"), [(44100, 16000), (8000, 11025), (16000, 16000)])
def test_resampling_in_blocks_is_resampling_at_once(rate, other):
    sound = noise(2, 23 * rate + 77)
    blocks = list(signal(sound, rate).resampled(other))
    assert len(blocks) == 3
    whole = sound if rate == other else resample_poly(sound, other, rate, axis=-1)
    np.testing.assert_allclose(np.concatenate(blocks, axis=-1), whole, atol=1e-6)


def test_a_spool_gives_back_what_was_written(tmp_path):
    sound = noise(4, 2, 1000)
    with (tmp_path / "spool").open("w+b") as file:
        spool = Spool(file, 8000)
        for piece in np.array_split(sound, 3, axis=-1):
            spool.append(piece)
        written = spool.signal([1, 3])
        assert (written.rate, written.samples) == (8000, 1000)
        np.testing.assert_array_equal(written.read(100, 900), sound[[1, 3], :, 100:900])


@pytest.mark.parametrize("rate", [8000, 11025, 44100])
@pytest.mark.parametrize("shape", [(2.7,), (1, 2.7), (2, 2.7), (3, 0.7), (1, 0)])
def test_sources_sum_to_the_waveform(model, rate, shape):
    *channels, seconds = shape
    sound = noise(*channels, max(round(seconds * rate), 1))
    sources = model.separate(sound, rate, silent=True)
    assert sources.shape == (4, *sound.shape)
    np.testing.assert_allclose(sources.sum(0), sound, atol=1e-6)


@pytest.mark.parametrize("samples", [1, 100, 5000])
def test_every_architecture_takes_short_sounds(tiny, samples):
    run = tiny("pit", "separator.architecture=unet")
    unet = Model(run, make_separator(run.separator, run.stft, run.audio).eval())
    sound = noise(1, samples)
    np.testing.assert_allclose(unet.separate(sound, 8000).sum(0), sound, atol=1e-6)


def test_a_waveform_of_one_chunk_is_separated_as_in_training(model):
    sound = noise(model.run.audio.samples)
    with torch.inference_mode():
        alone = model.separator(torch.from_numpy(sound)[None]).estimates[0].numpy()
    separated = model.separate(sound, model.rate, silent=True)
    np.testing.assert_allclose(separated, alone, atol=1e-6)


class Bands(torch.nn.Module):
    """A quarter of the band to each slot, by a filter; the slots in another order each time."""

    def __init__(self, model):
        super().__init__()
        self.generator = torch.Generator().manual_seed(0)

    def forward(self, mixture, channels=None):
        heard = mixture if channels is None else channels
        spectrum = torch.fft.rfft(heard)
        quarter = torch.arange(spectrum.shape[-1]) * 4 // spectrum.shape[-1]
        masks = torch.stack([quarter == k for k in range(4)]).float()
        masks = masks[torch.randperm(4, generator=self.generator)]
        return Separation(torch.fft.irfft(spectrum[:, None] * masks, heard.shape[-1]), masks)


@pytest.mark.parametrize("channels", [1, 2])
def test_slots_keep_their_sources_across_chunks(model, channels):
    model.separator = Bands(model)
    sound = noise(channels, 20 * model.run.audio.samples)
    sources = model.separate(sound, model.rate)
    whole = Bands(model)(torch.from_numpy(sound.mean(0, keepdims=True)), torch.from_numpy(sound))
    wanted = whole.estimates.transpose(0, 1).flatten(1)
    # Each slot holds one band from beginning to end: its error is that of filters at chunk borders.
    estimates = torch.from_numpy(sources).flatten(1)
    shares = torch.einsum("et,rt->er", estimates, wanted) / wanted.square().sum(-1)
    assert sorted(shares.argmax(1).tolist()) == [0, 1, 2, 3]
    assert shares.max(1).values.min() > 0.98
    assert shares.min(1).values.max() < 0.02


class InFirstSlot(torch.nn.Module):
    """Everything into one slot but for a share of it."""

    def __init__(self, share):
        super().__init__()
        self.shares = torch.tensor([1 - share, share, 0, 0])

    def forward(self, mixture, channels=None):
        heard = mixture if channels is None else channels
        return Separation(heard[:, None] * self.shares[:, None], torch.empty(0))


@pytest.mark.parametrize(("share", "kept"), [(0.11, 2), (0.09, 1)])  # 0.0121 and 0.0081 of power
def test_slots_of_less_than_a_hundredth_of_the_power_are_left_out(model, share, kept):
    model.separator = InFirstSlot(share)
    sound = noise(3 * model.run.audio.samples)
    separated = model.separate(sound, model.rate)
    assert len(separated) == kept
    np.testing.assert_allclose(separated.sum(0), sound, atol=1e-6)
    if kept == 1:
        np.testing.assert_allclose(separated[0], sound, atol=1e-6)
    assert len(model.separate(sound, model.rate, silent=True)) == 4


def test_what_sounds_for_a_chunk_only_is_kept_and_noise_far_below_is_not_asked(model):
    samples = model.run.audio.samples
    short, faint = noise(20 * samples), noise(20 * samples)
    short[: 19 * samples] = 0
    faint[samples:] *= 1e-4

    class Halves(InFirstSlot):
        """The second half of the time goes to the second slot."""

        calls = 0

        def forward(self, mixture, channels=None):
            self.calls += 1
            self.shares = torch.eye(4)[int(self.calls > 10)]
            return super().forward(mixture, channels)

    model.separator = Halves(0)
    assert len(model.separate(short, model.rate)) == 1
    model.separator = Halves(0)
    assert len(model.separate(faint, model.rate)) == 1


def test_silence_gives_one_silent_source(model):
    assert model.separate(np.zeros((2, 5000)), 8000).tolist() == np.zeros((1, 2, 5000)).tolist()


def test_what_is_left_out_goes_where_there_is_power(model):
    """A tone above the model's band sounds while the first slot does, and follows it."""
    rate = 4 * model.rate
    time = np.arange(8 * rate) / rate
    low = np.sin(2 * np.pi * 0.1 * model.rate * time) * (time < 4)
    high = np.sin(2 * np.pi * 1.5 * model.rate * time) * (time < 4)
    other = np.sin(2 * np.pi * 0.4 * model.rate * time) * (time >= 4)
    model.separator = Bands(model)
    separated = model.separate(low + 0.1 * high + other, rate)
    first = separated[np.abs(separated[:, : 3 * rate]).max(-1).argmax()]
    np.testing.assert_allclose(
        first[rate : 3 * rate], (low + 0.1 * high)[rate : 3 * rate], atol=1e-2
    )


@pytest.mark.parametrize(
    ("sound", "said"),
    [
        (np.zeros((1, 2, 3)), r"\[channel, time\]; this one is \(1, 2, 3\)"),
        (np.zeros((2, 0)), "this one is"),
        (np.array([0.0, np.inf]), "not finite"),
        (np.zeros((3000, 2)), "3000 channels and 2 samples: is it"),
    ],
)
def test_bad_waveforms_are_refused(model, sound, said):
    with pytest.raises(UserError, match=said):
        model.separate(sound, 8000)


@pytest.mark.parametrize("rate", [0, -8000, 16000.0, "16000", None])
def test_rates_are_whole_numbers(model, rate):
    with pytest.raises(UserError, match="a rate is a whole number of Hz"):
        model.separate(np.zeros(8000), rate)


def test_chunks_must_have_a_length(model):
    for seconds in (0, -1, float("nan"), float("inf")):
        with pytest.raises(UserError, match="too short or too long"):
            Model(model.run, model.separator, seconds)


def test_a_folder_without_a_run_cannot_be_loaded(tmp_path):
    with pytest.raises(UserError, match="is it a finished run"):
        apit.load(tmp_path)
