import pytest
import torch

from apit.measure.spectral_holes import Passage, passage
from apit.models.stft import STFT


def test_rates_by_construction():
    reference = torch.ones(4, 5)  # 20 bins, all within 60 dB of the maximum but two
    reference[0, 0] = reference[0, 1] = 1e-4
    estimate = reference.clone()
    estimate[1, 0] = 0.09  # 20.9 dB too low
    estimate[2, :3] = 0.2  # 14 dB too low
    estimate[0, 0] = 0.02  # outside the support, 26 dB above its floor of 1e-3
    found = Passage(reference, estimate)
    assert found.support.sum() == 18
    assert found.hole_rate(20).item() == pytest.approx(1 / 18)
    assert found.hole_rate(10).item() == pytest.approx(4 / 18)
    assert found.hole_rate(3).item() == pytest.approx(4 / 18)
    assert found.excess_rate.item() == pytest.approx(1 / 2)


def test_silence_has_no_rate():
    assert Passage(torch.zeros(4, 5), torch.ones(4, 5)).hole_rate(20).isnan()


def test_gain_is_not_a_hole(generator):
    reference = torch.randn(2, 2000, generator=generator)
    found = passage(reference=reference, estimate=1e-3 * reference, stft=STFT(128, 64))
    assert (found.hole_rate(3) == 0).all()


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
