import math
from fractions import Fraction
from itertools import permutations

import pytest
import torch
from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio

from apit.measure.si_snr import score, si_snr


def test_by_hand():
    # c² = 1/2: 10 log10((½ + 1e-8) / (½ + 1e-8)) = 0.
    value = si_snr(reference=torch.tensor([1.0, 0.0]), estimate=torch.tensor([5.0, 5.0]))
    assert value.item() == pytest.approx(0, abs=1e-9)


def test_silence_scores_minus_eighty_on_either_side():
    zeros, ones = torch.zeros(100), torch.ones(100)
    for reference, estimate in ((ones, zeros), (zeros, ones), (zeros, zeros)):
        value = si_snr(reference=reference, estimate=estimate).item()
        assert value == pytest.approx(-80, abs=1e-6)


def test_a_perfect_estimate_scores_eighty_whatever_its_gain_and_polarity():
    reference = torch.randn(1000, dtype=torch.float64)
    for gain in (1, -1, 1e-3, 1e3):
        assert si_snr(reference=reference, estimate=gain * reference).item() == pytest.approx(
            80, abs=1e-3
        )


@pytest.mark.parametrize("exponent", range(1, 6))
def test_exact_rational_oracle_down_to_small_errors(exponent):
    # Two samples, error at a right angle: c² = 1 / (1 + ε²) as a fraction.
    error = Fraction(1, 10**exponent)
    cosine2 = 1 / (1 + error**2)
    stabiliser = Fraction(1, 10**8)
    expected = 10 * math.log10((cosine2 + stabiliser) / (1 - cosine2 + stabiliser))
    value = si_snr(
        reference=torch.tensor([1.0, 0.0], dtype=torch.float64),
        estimate=torch.tensor([1.0, float(error)], dtype=torch.float64),
    )
    assert value.item() == pytest.approx(expected, abs=1e-6)


def test_means_are_not_removed():
    reference = torch.tensor([1.0, 1.0, 1.0, 1.0])
    estimate = torch.tensor([2.0, 2.0, 2.0, 1.0])
    cosine2 = (7 / (2 * math.sqrt(13))) ** 2
    expected = 10 * math.log10((cosine2 + 1e-8) / (1 - cosine2 + 1e-8))
    assert si_snr(reference=reference, estimate=estimate).item() == pytest.approx(expected)


def test_equals_torchmetrics_on_ordinary_pairs(generator):
    references = torch.randn(6, 4000, generator=generator, dtype=torch.float64)
    estimates = references + torch.randn(6, 4000, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(
        si_snr(reference=references, estimate=estimates),
        scale_invariant_signal_distortion_ratio(estimates, references),
        atol=1e-4,
        rtol=0,
    )


def test_alignment_maximises_the_mean_over_all_slots(generator):
    references = torch.randn(5, 4, 300, generator=generator)
    references[:, 2:] = 0
    estimates = torch.randn(5, 4, 300, generator=generator) + references[:, [3, 1, 0, 2]]
    scores = score(references=references, estimates=estimates, mixture=references.sum(1))
    for example in range(5):
        best = max(
            sum(
                si_snr(reference=references[example, k], estimate=estimates[example, p[k]]).item()
                for k in range(4)
            )
            for p in permutations(range(4))
        )
        assert scores.si_snr[example].sum().item() == pytest.approx(best)
    again = si_snr(reference=references, estimate=scores.aligned)
    torch.testing.assert_close(scores.si_snr, again)


def test_counted_pairs_and_the_twenty_decibel_rule():
    # Targets of power 1 and 0.01 on separate samples, and two silent ones; the quietest active
    # target allows estimates down to a power of 1e-4.
    references = torch.zeros(1, 4, 4)
    references[0, 0, 0], references[0, 1, 1] = 2.0, 0.2
    estimates = torch.zeros(1, 4, 4)
    estimates[0, 0, 0] = 2.0
    estimates[0, 1, 1] = 0.2 * 0.099  # just under −20 dB
    estimates[0, 2, 2] = 0.2 * 0.101  # just over, on a silent target: counts as active
    scores = score(references=references, estimates=estimates, mixture=references.sum(1))
    assert scores.active.tolist() == [[True, True, False, False]]
    assert scores.sounding.sum().item() == 2
    assert scores.counted.tolist() == [[True, False, False, False]]
    assert scores.si_snr[0, 1].item() == pytest.approx(80, abs=1e-3)  # dropped, though perfect


def test_improvement_is_over_the_mixture(generator):
    references = torch.randn(2, 4, 500, generator=generator)
    mixture = references.sum(1)
    scores = score(
        references=references,
        estimates=mixture[:, None].expand_as(references),
        mixture=mixture,
    )
    torch.testing.assert_close(scores.si_snri, torch.zeros(2, 4, dtype=torch.float64))
