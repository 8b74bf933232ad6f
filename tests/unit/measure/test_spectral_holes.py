import pytest
import torch

from apit.measure.spectral_holes import Passage, log_spectral_distance, passage, rates
from apit.models.stft import STFT


def test_rates_by_construction():
    reference = torch.ones(4, 5)  # 20 bins, all within 60 dB of the maximum but two
    reference[0, 0] = reference[0, 1] = 1e-4
    estimate = reference.clone()
    estimate[1, 0] = 0.09  # 20.9 dB too low
    estimate[2, :3] = 0.2  # 14 dB too low
    estimate[0, 0] = 0.02  # outside the support, 26 dB above its floor of 1e-3
    pair = Passage(reference, estimate)
    assert pair.support.sum() == 18
    assert pair.hole_rate(20).item() == pytest.approx(1 / 18)
    assert pair.hole_rate(10).item() == pytest.approx(4 / 18)
    assert pair.hole_rate(3).item() == pytest.approx(4 / 18)
    assert pair.excess_rate.item() == pytest.approx(1 / 2)


def test_silence_has_no_rate():
    assert Passage(torch.zeros(4, 5), torch.ones(4, 5)).hole_rate(20).isnan()


def test_gain_is_not_a_hole(generator):
    reference = torch.randn(2, 2000, generator=generator)
    pair = passage(reference=reference, estimate=1e-3 * reference, stft=STFT(128, 64))
    assert (pair.hole_rate(3) == 0).all()


def test_leaking_hides_holes_and_shows_as_excess(generator):
    stft = STFT(128, 64)
    spectrum = stft.analyse(torch.randn(8000, generator=generator))
    low, high = spectrum.clone(), spectrum.clone()
    low[32:], high[:32] = 1e-5 * low[32:], 0
    reference, other = stft.synthesise(low, 8000), stft.synthesise(high, 8000)
    gated = low.clone()
    gated[8:16] = 0
    holed = passage(reference=reference, estimate=stft.synthesise(gated, 8000), stft=stft)
    leaky = passage(reference=reference, estimate=reference + 0.2 * other, stft=stft)
    assert holed.hole_rate(20) > 0.1
    assert holed.excess_rate < 0.05
    assert leaky.hole_rate(20) < 0.01
    assert leaky.excess_rate > 0.9


def bands(generator, *edges):
    """Signals with energy between pairs of bins alone, of equal spectral level."""
    stft = STFT(128, 64)
    spectrum = stft.analyse(torch.randn(8000, generator=generator))
    signals = []
    for low, high in edges:
        part = torch.zeros_like(spectrum)
        part[low:high] = spectrum[low:high]
        signals.append(stft.synthesise(part, 8000))
    return stft, torch.stack(signals)


def test_rates_weighted_by_energy_count_loud_bins_more():
    reference = torch.tensor([[1.0, 0.1], [1.0, 0.1]])
    estimate = torch.tensor([[1.0, 0.1], [1.0, 0.0]])  # one quiet bin of four is missing
    pair = Passage(reference, estimate)
    assert pair.hole_rate(20).item() == pytest.approx(1 / 4)
    assert pair.hole_rate(20, reference.square()).item() == pytest.approx(0.01 / 2.02)


def test_local_snr_splits_the_support(generator):
    stft, (low, high) = bands(generator, (4, 28), (36, 60))
    # The target has both bands, the other is 40 dB louder in the high one.
    references = torch.stack([low + high, 100 * high])
    holed = torch.stack([low, 100 * high])  # the buried band is missing
    by_metric = rates(references=references, estimates=holed, stft=stft, depths_db=(20.0,))
    assert by_metric["hole_rate_dominant"][0] < 0.02
    assert by_metric["hole_rate_buried"][0] > 0.9  # but for the edges, where windows smear
    assert 0.3 < by_metric["hole_rate_20"][0] < 0.7
    assert by_metric["hole_rate_buried"][1].isnan()  # nowhere 20 dB below the other
    alone = rates(references=low[None], estimates=low[None], stft=stft, depths_db=(20.0,))
    assert alone["hole_rate_dominant"].item() == 0
    assert alone["hole_rate_buried"].isnan().all()


def test_the_gain_is_a_hole_only_unscaled(generator):
    references = torch.randn(1, 4000, generator=generator)
    by_metric = rates(
        references=references,
        estimates=-0.05 * references,
        stft=STFT(128, 64),
        depths_db=(3.0, 20.0),
    )
    assert by_metric["hole_rate_3"].item() == by_metric["hole_rate_20"].item() == 0
    assert by_metric["hole_rate_energy"].item() == 0
    assert by_metric["hole_rate_unscaled"].item() == 1
    # 26 dB too low in every bin, but for those within 26 dB of the floor.
    assert by_metric["log_spectral_distance"].item() == pytest.approx(26.02, abs=0.1)


def test_log_spectral_distance_by_hand():
    reference = torch.tensor([[1.0, 1.0], [1.0, 0.0]])  # two bins, two frames; floor 1e-3
    estimate = torch.tensor([[0.1, 1.0], [1.0, 1.0]])
    distance = log_spectral_distance(reference=reference, estimate=estimate)
    # frame 1: 20 and 0 dB; frame 2: 0 and 60 dB
    assert distance.item() == pytest.approx((20 / 2**0.5 + 60 / 2**0.5) / 2, rel=1e-5)
    assert log_spectral_distance(reference=reference, estimate=reference).item() == 0
    assert log_spectral_distance(reference=0 * reference, estimate=reference).isnan()


def test_silent_estimates_are_one_whole_hole(generator):
    references = torch.randn(2, 2000, generator=generator)
    estimates = torch.stack([torch.zeros(2000), references[1]])
    by_metric = rates(
        references=references, estimates=estimates, stft=STFT(128, 64), depths_db=(20.0,)
    )
    assert by_metric["hole_rate_20"].tolist() == [1, 0]
