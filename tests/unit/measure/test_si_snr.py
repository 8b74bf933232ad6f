import math
from fractions import Fraction
from itertools import permutations

import numpy as np
import pytest
import torch
from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio

from apit.losses.permutation import reorder
from apit.measure.si_snr import score, si_snr, standard


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
    again = si_snr(reference=references, estimate=reorder(estimates, scores.permutation))
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


def evaluator(references, estimates, mixture):
    """The public evaluator's numbers from its definitions, one pair at a time, in float64.

    → SI-SNR of aligned pairs and of the mixture, active targets, active estimates.
    """

    def ratio(estimate, target):
        estimate, target = (
            x / math.sqrt(max(float(np.dot(x, x)), 1e-16)) for x in (estimate, target)
        )
        cosine = float(np.dot(estimate, target))
        rest = 1 - cosine**2
        if rest < 0.01:
            residual = estimate - cosine * target
            rest = float(np.dot(residual, residual))
        return 10 * math.log10((cosine**2 + 1e-8) / (rest + 1e-8))

    slots = range(len(references))
    best = max(
        permutations(slots),
        key=lambda order: sum(ratio(estimates[order[k]], references[k]) for k in slots),
    )
    aligned = [estimates[slot] for slot in best]
    active = [math.sqrt(np.mean(r**2)) > 1e-8 for r in references]
    quietest = min(np.mean(r**2) for r, a in zip(references, active, strict=True) if a)
    sounding = [np.mean(e**2) > 0.01 * quietest for e in aligned]
    return (
        [ratio(e, r) for e, r in zip(aligned, references, strict=True)],
        [ratio(mixture, r) for r in references],
        active,
        sounding,
    )


@pytest.mark.parametrize("seed", range(12))
def test_equals_the_public_evaluator(seed):
    generator = np.random.default_rng(seed)
    slots = 4
    targets = int(generator.integers(1, slots + 1))
    references = np.zeros((slots, 3000), np.float32)
    levels = 10 ** generator.uniform(-2, 0, targets)
    references[:targets] = levels[:, None] * generator.normal(size=(targets, 3000))
    error = 10 ** generator.uniform(-4, 0.5)  # from near perfect to worse than nothing
    mixing = np.eye(slots) + error * generator.normal(size=(slots, slots))
    estimates = mixing[generator.permutation(slots)] @ references
    estimates += error * 0.1 * levels.min() * generator.normal(size=estimates.shape)
    estimates *= 10 ** generator.uniform(-3, 0, (slots, 1))  # some fall under the threshold
    if seed % 3 == 0:
        estimates[generator.integers(slots)] = 0
    estimates = estimates.astype(np.float32)
    mixture = references.sum(0, dtype=np.float32)
    value, of_mixture, active, sounding = evaluator(
        *(x.astype(np.float64) for x in (references, estimates, mixture))
    )
    scores = score(
        references=torch.from_numpy(references)[None],
        estimates=torch.from_numpy(estimates)[None],
        mixture=torch.from_numpy(mixture)[None],
    )
    assert scores.active[0].tolist() == active
    np.testing.assert_allclose(scores.si_snr[0, :targets], value[:targets], atol=1e-3)
    np.testing.assert_allclose(scores.si_snr_mixture[0, :targets], of_mixture[:targets], atol=1e-3)
    assert scores.sounding[0, :targets].tolist() == sounding[:targets]
    assert int(scores.sounding.sum()) == sum(sounding)


def test_float64_without_the_residual_is_exact_up_to_eighty_decibels():
    generator = np.random.default_rng(0)
    reference = generator.normal(size=160_000)
    reference /= np.linalg.norm(reference)
    noise = generator.normal(size=160_000)
    noise -= np.dot(noise, reference) * reference
    noise /= np.linalg.norm(noise)
    for decibels in range(10, 90, 5):
        # cos² = 1 / (1 + r): SI-SNR without the stabiliser is −10 log10 r.
        r = 10 ** (-decibels / 10)
        cosine2 = 1 / (1 + r)
        expected = 10 * math.log10((cosine2 + 1e-8) / (r * cosine2 + 1e-8))
        estimate = torch.from_numpy(reference + math.sqrt(r) * noise)
        value = si_snr(reference=torch.from_numpy(reference), estimate=estimate).item()
        assert value == pytest.approx(expected, abs=1e-5)


EPSILON = 1e-5


def ratio_of_the_paper(reference, estimate):
    """The paper's SI-SNR, term by term."""
    inner, power = np.dot(reference, estimate), np.dot(reference, reference)
    target = (inner + EPSILON) / (power + EPSILON) * reference
    error = target - estimate
    kept, lost = np.dot(target, target), np.dot(error, error)
    return 10 * math.log10((kept + EPSILON) / (lost + EPSILON))


def ratios_of_the_paper(references, estimates):
    """Brute force over all permutations of all slots → SI-SNR of each target's own estimate."""
    slots = range(len(references))
    best = max(
        permutations(slots),
        key=lambda order: sum(
            ratio_of_the_paper(references[k], estimates[order[k]]) for k in slots
        ),
    )
    return [ratio_of_the_paper(references[k], estimates[best[k]]) for k in slots]


def tensors(references, estimates):
    """Arguments of `standard` for one example."""
    references, estimates = (torch.tensor(np.array(x))[None] for x in (references, estimates))
    return {"references": references, "estimates": estimates, "mixture": references.sum(1)}


@pytest.mark.parametrize("seed", range(12))
def test_the_papers_equals_an_independent_oracle(seed):
    generator = np.random.default_rng(seed)
    slots = 4
    targets = int(generator.integers(1, slots + 1))
    references = np.zeros((slots, 3000))
    active = np.sort(generator.permutation(slots)[:targets])
    levels = 10 ** generator.uniform(-3, 0, targets)  # ε plays a part in the quietest
    references[active] = levels[:, None] * generator.normal(size=(targets, 3000))
    error = 10 ** generator.uniform(-3, 0.5)
    mixing = np.eye(slots) + error * generator.normal(size=(slots, slots))
    estimates = mixing[generator.permutation(slots)] @ references
    estimates += error * 0.1 * levels.min() * generator.normal(size=estimates.shape)
    if seed % 3 == 0:
        estimates[generator.integers(slots)] = 0
    scores = standard(**tensors(references, estimates))
    values = np.array(ratios_of_the_paper(references, estimates))
    before = np.array(
        [ratio_of_the_paper(reference, references.sum(0)) for reference in references]
    )
    assert scores.active[0].nonzero().flatten().tolist() == active.tolist()
    np.testing.assert_allclose(scores.si_snr[0, active], values[active], atol=1e-5)
    np.testing.assert_allclose(scores.si_snr_mixture[0, active], before[active], atol=1e-5)
    improvement = (values - before)[active].mean()
    assert scores.improvement.item() == pytest.approx(improvement, abs=1e-5)
    if targets == 1:
        assert scores.single.item() == pytest.approx(values[active[0]], abs=1e-5)


def test_the_papers_by_hand():
    # s = (3, 0), ŝ = (3, 1): α = 1, ‖αs‖² = 9, ‖αs − ŝ‖² = 1.
    scores = standard(**tensors([[3.0, 0.0]], [[3.0, 1.0]]))
    assert scores.si_snr.item() == pytest.approx(10 * math.log10(9), abs=1e-4)


def test_a_silent_estimate_scores_nothing_in_the_papers_and_minus_eighty_in_the_evaluators():
    references = np.zeros((4, 4000))
    references[:2] = np.random.default_rng(0).normal(size=(2, 4000))
    references[1] *= 0.1  # buried: the mixture has −20 dB of it
    estimates = np.zeros((4, 4000))
    estimates[0] = references.sum(0)
    given = tensors(references, estimates)
    scores = standard(**given)
    assert scores.si_snr[0, 1].item() == pytest.approx(0, abs=1e-6)
    # So that the mixture in one slot, and silence in the others, is an improvement.
    assert scores.improvement.item() == pytest.approx(10, abs=0.5)
    assert score(**given).si_snr[0, 1].item() == pytest.approx(-80, abs=1e-6)
    assert scores.buried.tolist() == [[False, True, False, False]]


def test_an_estimate_is_buried_from_forty_decibels_on():
    references = np.zeros((2, 100))
    references[:, :] = np.random.default_rng(0).normal(size=(2, 100))
    for gain, buried in ((0.0101, False), (0.0099, True)):
        scores = standard(**tensors(references, references * np.array([[1.0], [gain]])))
        assert scores.buried.tolist() == [[False, buried]]


def test_silent_targets_take_part_in_the_permutation_of_the_papers():
    """A case where a sum over active targets alone would choose another permutation."""
    noise = np.random.default_rng(0).normal(size=(2, 2000))
    target, other = noise / np.linalg.norm(noise, axis=1, keepdims=True)
    references = np.stack([target, 0 * target])
    # With a silent target, an estimate scores 10 log10(ε / (‖ŝ‖² + ε)): the louder, the worse. So
    # the closer estimate, which is quiet, goes to the silent target.
    close, far = 0.1 * target, 10 * (target + 0.9 * other)
    given = tensors(references, np.stack([close, far]))
    by_active_alone = max((close, far), key=lambda e: ratio_of_the_paper(target, e))
    assert by_active_alone is close
    assert standard(**given).permutation.tolist() == [[1, 0]]
    assert standard(**given).si_snr[0, 0].item() == pytest.approx(ratio_of_the_paper(target, far))
