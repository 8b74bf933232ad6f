"""The measure on signals whose holes are known."""

import numpy as np
import pytest
import torch

from apit.config import HEADLINE_DB
from apit.data.batches import Batch
from apit.measure.spectral_holes import log_spectral_distance, passage, rates
from apit.measure.systems import ideal_binary_mask, ideal_ratio_mask
from apit.models.stft import STFT

RATE, SAMPLES = 16_000, 5 * 16_000
FRAMES = STFT(512, 128)  # of 32 ms, 8 ms apart


def signal(samples):
    """Of unit power, float32."""
    return torch.tensor(samples / np.sqrt(np.mean(samples**2)), dtype=torch.float32)


def noise(seed, tilt=0.0):
    """White, or falling by 20 · tilt dB a decade."""
    frequency = np.fft.rfftfreq(SAMPLES, 1 / RATE).clip(50)
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(SAMPLES))
    return signal(np.fft.irfft(spectrum / frequency**tilt, SAMPLES))


def voices(seed, number=8):
    """Flat harmonics of gliding pitches, which fill the band."""
    generator, time = np.random.default_rng(seed), np.arange(SAMPLES) / RATE
    total = np.zeros(SAMPLES)
    for _ in range(number):
        pitch = generator.uniform(90, 250)
        glide = 1 + 0.1 * np.sin(2 * np.pi * generator.uniform(0.2, 3) * time)
        phase = 2 * np.pi * np.cumsum(pitch * glide) / RATE
        for harmonic in range(1, int(7500 / (1.1 * pitch))):
            total += np.sin(harmonic * phase + generator.uniform(0, 6))
    return signal(total)


def cut(target, low, high, gain):
    """A target whose band from `low` to `high` Hz has another gain."""
    spectrum = FRAMES.analyse(target)
    frequency = torch.linspace(0, RATE / 2, FRAMES.bins)
    band = torch.where((frequency >= low) & (frequency <= high), gain, 1.0)
    return FRAMES.synthesise(band[:, None] * spectrum, SAMPLES)


def compare(target, other, estimate, stft=FRAMES):
    """A target that another sounds beside; estimates [..., time]."""
    return passage(
        reference=target.expand_as(estimate),
        estimate=estimate,
        mixture=target + other,
        stft=stft,
        rate=RATE,
    )


def masked(target, other, mask):
    return mask(Batch(torch.stack([target, other])[None], ("example",)), FRAMES)[0, 0]


def estimates_of(target, other):
    half = target.clone()
    half[SAMPLES // 2 :] = 0
    band = cut(target, 2000, 3000, 0.01)
    return {
        "a scaled copy": 0.05 * target,
        "the mixture": target + other,
        "an interferer at +20 dB": target + 10 * other,
        "ideal ratio mask": masked(target, other, ideal_ratio_mask),
        "ideal binary mask": masked(target, other, ideal_binary_mask),
        "second half missing": half,
        "a band at −40 dB": band,
        "the same, leaking": band + 0.3 * other,
    }


@pytest.fixture(scope="module")
def measured():
    """Missing and hole rates in % of five pairs of sources [pair], by estimate."""
    pairs = [
        (noise(0), noise(1)), (noise(2, 0.35), noise(3, 0.35)), (voices(4), voices(5)),
        (voices(6, 12), voices(7, 12)), (noise(8, 0.2), noise(9, 0.2)),
    ]  # fmt: skip
    rows = []
    for target, other in pairs:
        signals = estimates_of(target, other)
        compared = compare(target, other, torch.stack(list(signals.values())))
        both = torch.stack([compared.missing_rate, compared.hole_rate(HEADLINE_DB)], 1)
        rows.append(dict(zip(signals, 100 * both, strict=True)))
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


@pytest.mark.parametrize(
    ("estimate", "missing", "holes"),
    [
        ("a scaled copy", 0, 0),
        ("the mixture", 0, 0),
        ("an interferer at +20 dB", 2.1, 0),
        ("ideal ratio mask", 0, 0),
        ("ideal binary mask", 0, 1.3),
        ("second half missing", 49.8, 0),
        ("a band at −40 dB", 0, 14.3),
        ("the same, leaking", 0, 12.4),
    ],
)
def test_holes_are_told_from_gain_interference_and_absence(measured, estimate, missing, holes):
    for value, expected in zip(measured[estimate].mean(0).tolist(), (missing, holes), strict=True):
        assert value == pytest.approx(expected, rel=0.3, abs=0 if expected else 0.05)


def test_masks_and_bands_are_in_order_for_each_pair(measured):
    names = ("ideal ratio mask", "ideal binary mask", "a band at −40 dB")
    ratio, binary, band = (measured[name][:, 1] for name in names)
    assert (ratio < 0.2 * binary).all()
    assert (binary < 0.5 * band).all()


@pytest.mark.parametrize("hop", [128, 256])
def test_patches_that_are_zeroed_are_holes(hop):
    stft, generator = STFT(512, hop), np.random.default_rng(0)
    target, other = noise(1), noise(2)
    spectrum = stft.analyse(target)
    kept = torch.ones(spectrum.shape)
    while (kept == 0).double().mean() < 0.05:
        low, start = (generator.integers(0, size - 4) for size in kept.shape)
        kept[low : low + 5, start : start + 5] = 0
    compared = compare(target, other, stft.synthesise(kept * spectrum, SAMPLES), stft)
    assert 0.03 < compared.hole_rate(HEADLINE_DB) < 0.07
    assert compared.missing_rate == 0
    inside = compared.holes(HEADLINE_DB) & (kept == 0)
    assert inside.sum() > 0.9 * compared.holes(HEADLINE_DB).sum()  # they are where they were made


@pytest.mark.parametrize("seconds", [0.25, 0.4])
def test_absence_for_a_quarter_of_a_second_is_missing_and_no_hole(seconds):
    target, other = voices(0), noise(1)
    estimate, length = target.clone(), round(seconds * RATE)
    for start in range(RATE, SAMPLES - RATE, RATE):
        estimate[start : start + length] = 0
    compared = compare(target, other, estimate)
    absent = 3 * seconds / 5
    assert 0.6 * absent < compared.missing_rate < 1.1 * absent  # 176 ms blur its edges
    assert compared.hole_rate(6) < 0.002


@pytest.mark.parametrize("pause", [0.0, 1e-5])
def test_a_target_that_pauses_is_not_missing_then(pause):
    target, other = noise(0), noise(1)
    target[RATE : 3 * RATE] *= pause
    estimate = cut(target, 2000, 3000, 0.0)
    estimate[RATE : 3 * RATE] = 0
    compared = compare(target, other, estimate)
    assert compared.missing_rate == 0
    assert torch.equal(compared.judged, compared.region)  # up to the last frame and from the first
    assert compared.hole_rate(HEADLINE_DB) == pytest.approx(1 / 8, rel=0.1)


def test_a_hole_needs_the_target_to_sound_there_and_others_too():
    target = cut(noise(0), 5000, 6000, 1e-6)
    other = cut(noise(1), 1000, 2000, 1e-6)
    frequency = torch.linspace(0, RATE / 2, FRAMES.bins)
    # All but the flanks of the bands.
    for low, high, both in ((1100, 1900, False), (5100, 5900, False), (2600, 3400, True)):
        compared = compare(target, other, cut(target, low, high, 0.0))
        region = compared.region[(frequency > low) & (frequency < high)].double().mean()
        rate = compared.hole_rate(HEADLINE_DB)
        assert region > 0.99 if both else region < 0.01
        assert rate == pytest.approx(0.8 / 6 if both else 0, rel=0.1, abs=0.001)


def test_neither_gain_nor_polarity_nor_units_are_a_hole():
    target, other = voices(0), noise(1)
    gains = torch.tensor([1e-30, -0.05, 1, 1e25])[:, None]
    compared = compare(target, other, gains * cut(target, 2000, 3000, 0.01))
    expected = compared.hole_rate(HEADLINE_DB)[2].item()
    assert expected > 0.1
    assert compared.hole_rate(HEADLINE_DB).tolist() == pytest.approx([expected] * 4, abs=1e-4)
    assert compared.missing_rate.tolist() == [0] * 4
    for unit in (1e-15, 1e15):
        own = compare(unit * target, unit * other, unit * cut(target, 2000, 3000, 0.01))
        assert own.hole_rate(HEADLINE_DB).item() == pytest.approx(expected, abs=1e-4)


def test_single_precision_is_enough():
    target, other = voices(0), noise(1)
    estimate = cut(target, 2000, 3000, 0.01) + 0.3 * other
    values = rates(
        references=torch.stack([target, other]),
        estimates=torch.stack([estimate, other]),
        stft=FRAMES,
        rate=RATE,
        depths_db=(6, 20),
    )
    exact = rates(
        references=torch.stack([target, other]).double(),
        estimates=torch.stack([estimate, other]).double(),
        stft=STFT(512, 128).double(),
        rate=RATE,
        depths_db=(6, 20),
    )
    assert list(values) == ["missing_rate", "hole_rate_6", "hole_rate_20", "excess_rate"]
    for name, value in values.items():
        torch.testing.assert_close(value.double(), exact[name].double(), atol=1e-4, rtol=0)


def test_silence_misses_all_and_has_no_holes():
    target, other = noise(0), noise(1)
    compared = compare(target, other, torch.zeros(SAMPLES))
    assert compared.missing_rate == 1
    assert compared.hole_rate(HEADLINE_DB).isnan()
    assert compared.excess_rate.isnan()
    assert not compared.holes(HEADLINE_DB).any()


def test_another_source_in_its_place_is_mostly_missing():
    assert compare(noise(0), noise(1), noise(1)).missing_rate > 0.5


def test_a_target_alone_or_silent_has_no_rate():
    target = noise(0)
    for one, estimate in ((target, 0.5 * target), (0 * target, target)):
        compared = compare(one, 0 * target, estimate)
        assert not compared.region.any()
        assert compared.missing_rate.isnan()
        assert compared.hole_rate(HEADLINE_DB).isnan()


@pytest.mark.parametrize("samples", [1, 100, 513])
def test_signals_may_be_as_short_as_a_frame(samples):
    target, other = noise(0)[:samples], noise(1)[:samples]
    compared = compare(target, other, torch.stack([2 * target, 0 * target]))
    region = compared.region.sum((-2, -1))
    missing, holes = compared.missing_rate, compared.hole_rate(HEADLINE_DB)
    assert (region == 0).all() or (missing.tolist() == [0, 1] and holes[0] == 0)


def test_windows_that_miss_a_target_by_hand():
    target, other = noise(0), noise(1)
    estimate = torch.where(torch.arange(SAMPLES) < SAMPLES // 4, 0.0, 2.0) * target
    compared = compare(target, other, estimate)
    frame = torch.arange(compared.present.shape[-1]) * 128 / SAMPLES
    # γ falls by 10 dB where a third of the 184 ms that 23 frames span has the target.
    edge = frame[compared.present.flatten()][0].item()
    assert edge == pytest.approx(0.25 - (0.5 - 10**-0.5) * 0.184 / 5, abs=0.016 / 5)
    first = frame[compared.judged.any(-2).flatten()][0].item()
    assert first - edge == pytest.approx(11 * 128 / SAMPLES, abs=1e-6)


def test_leakage_shows_as_excess_whatever_the_gain():
    target, other = cut(noise(0), 4000, 8000, 1e-6), cut(noise(1), 0, 4000, 1e-6)
    signals = torch.stack([target, target + 0.2 * other, 1e-3 * (target + 0.2 * other)])
    clean, leaky, softer = compare(target, other, signals).excess_rate.tolist()
    assert clean < 0.01
    assert leaky > 0.9
    assert softer == pytest.approx(leaky, abs=1e-3)


def test_log_spectral_distance_by_hand():
    reference = torch.tensor([[1.0, 1.0], [1.0, 0.0]])  # two bins, two frames; floor 1e-3
    estimate = torch.tensor([[0.1, 1.0], [1.0, 1.0]])
    distance = log_spectral_distance(reference=reference, estimate=estimate)
    # frame 1: 20 and 0 dB; frame 2: 0 and 60 dB
    assert distance.item() == pytest.approx((20 / 2**0.5 + 60 / 2**0.5) / 2, rel=1e-5)
    assert log_spectral_distance(reference=reference, estimate=reference).item() == 0
    assert log_spectral_distance(reference=0 * reference, estimate=reference).isnan()
