import numpy as np
import pytest
from scipy import stats

from apit.config import Contrast
from apit.measure.contrasts import Finding
from apit.measure.variance import (
    Arm,
    Deviation,
    Difference,
    Kind,
    Sample,
    deviations,
    difference,
    expected,
    of_experiment,
    of_mixtures,
    seeds_needed,
    with_more,
)

ADVERSARIAL, FORK = Kind("purely adversarial"), Kind("fork", "pit")


def sample(values, weights=None, first=0):
    values = np.asarray(values, dtype=float)
    seeds = tuple(range(first, first + len(values)))
    return Sample(seeds, values, np.ones_like(values) if weights is None else np.array(weights))


def test_a_mean_is_over_pairs_and_its_deviants_sum_to_nothing():
    one = sample([[1.0, 4.0, 0.0]], [[2.0, 1.0, 0.0]])
    assert one.means.tolist() == [2.0]  # (1 + 1 + 4) / 3
    # Each mixture's 3 · w (v − 2) / 3, as there is one pair for each of the three on average.
    assert one.deviant.tolist() == [[-2.0, 2.0, 0.0]]


def test_variance_between_runs_is_pooled_within_a_kind():
    # Means 0, 2 (deviation √2) and 5, 5, 8 (deviation √3): (2 + 6) / (1 + 2).
    samples = {"a": sample([[0], [2]]), "b": sample([[5], [5], [8]]), "c": sample([[1]])}
    pooled = deviations(samples, dict.fromkeys("abc", ADVERSARIAL))
    assert pooled[ADVERSARIAL] == (pytest.approx(8 / 3), 3, 3, "purely adversarial")
    kinds = {"a": ADVERSARIAL, "b": Kind("L_PIT alone"), "c": ADVERSARIAL}
    apart = deviations(samples, kinds)
    assert apart[ADVERSARIAL].variance == pytest.approx(2)
    assert apart[kinds["b"]].variance == pytest.approx(3)
    assert deviations({"c": samples["c"]}, kinds) == {}  # one run has no deviation


def test_forks_of_one_run_share_what_it_is():
    # Seeds differ by 10, forks by 1; what is left is ±0.5.
    samples = {"x": sample([[0.0], [10.0]]), "y": sample([[2.0], [10.0]])}
    scratch = deviations(samples, dict.fromkeys("xy", ADVERSARIAL))[ADVERSARIAL]
    assert scratch.variance == pytest.approx((50 + 32) / 2)
    forks = deviations(samples, dict.fromkeys("xy", FORK))[FORK]
    assert forks.variance == pytest.approx(1.0)  # four residuals of ±0.5, one degree of freedom
    assert (forks.freedom, forks.per_seed) == (1, 1)


def test_the_variance_of_a_difference_by_hand():
    # Two seeds, two mixtures, nothing left over: e = 0. The experiments differ by b = (1, −1) ± 1.
    ours, theirs = sample([[3, 1], [5, 3]]), sample([[0, 0], [2, 2]])
    assert ours.interaction == theirs.interaction == 0
    assert of_mixtures(ours, theirs) == pytest.approx(2 / 2)  # variance of (1, −1) over 2
    between = Deviation(4.0, 6.0, 2, "a kind")
    found = difference(ours, theirs, (between, between))
    assert found.mean == pytest.approx(2)
    assert found.error**2 == pytest.approx(4 / 2 + 4 / 2 + 1)
    # Satterthwaite: 5² / (4² / 6 + 1² / 1).
    assert found.freedom == pytest.approx(25 / (16 / 6 + 1))
    half = stats.t.ppf(0.975, found.freedom) * np.sqrt(5)
    assert found.interval(0.05) == pytest.approx((2 - half, 2 + half))
    assert found.p() == pytest.approx(2 * stats.t.sf(2 / np.sqrt(5), found.freedom))


def test_what_other_seeds_would_change_of_a_mixture_is_not_of_the_mixtures():
    # In mixtures a and b, seeds differ by ±1 against each other: σ_e² = 4 · 1² / 1, halved.
    ours = sample([[1, -1], [-1, 1]])
    assert ours.interaction == pytest.approx(4 / 2)
    assert of_mixtures(ours, sample([[0, 0], [0, 0]])) == 0
    assert sample([[1, -1]]).interaction == 0  # one seed hides it


def test_an_oracle_has_no_seeds_and_what_nobody_knows_stays_unknown():
    oracle = Sample((0,), np.zeros((1, 4)), np.ones((1, 4)), is_oracle=True)
    ours = sample([[1.0, 2, 3, 2], [2.0, 3, 4, 3]])
    known = Deviation(0.5, 1.0, 1, "a kind")
    found = difference(ours, oracle, (known, None))
    assert found.parts[0] == (0.25, 1.0)
    assert len(found.parts) == 2
    unknown = difference(ours, oracle, (None, None))
    assert np.isnan([*unknown.interval(0.05), unknown.p(), unknown.detectable(0.05)]).all()
    assert unknown.mean == 2.5


def test_a_detectable_difference_is_found_with_the_power_that_it_says():
    found = Difference(0.0, ((0.09, 5.0), (0.01, 99.0)))
    size, edge = found.detectable(0.05), stats.t.ppf(0.975, found.freedom)
    assert stats.nct.sf(edge, found.freedom, size / found.error) == pytest.approx(0.8)
    # Of a known deviation it is that of the normal distribution: 1.96 + 0.8416.
    assert Difference(0.0, ((1.0, 1e9),)).detectable(0.05) == pytest.approx(2.8016, abs=1e-3)
    assert Difference(0.0, ((0.0, 5.0),)).detectable(0.05) == 0
    assert found.detectable(0.025) > size


def test_seeds_that_are_needed_are_the_fewest_that_do():
    one = Arm(Deviation(0.36, 4.0, 2, "a kind"), 3)
    needed = seeds_needed([one, one], 1e-4, 1000, 0.5, 0.05)

    def detectable(seeds):
        between = one.between._replace(freedom=2 * (seeds - 1))
        return expected([Arm(between, seeds)] * 2, 1e-4, 1000).detectable(0.05)

    assert detectable(needed) <= 0.5 < detectable(needed - 1)
    assert 20 < needed < 30  # 2 · 0.36 · (2.8 / 0.5)² = 23 for the normal distribution
    assert seeds_needed([one, one], 0.1, 100, 0.5, 0.05) == np.inf  # 2.8 √0.1 > 0.5
    assert np.isnan(seeds_needed([Arm(None, 3), one], 1e-4, 100, 0.5, 0.05))
    assert seeds_needed([one, one], 1e-4, 1000, 50.0, 0.05) == 3  # fewer decide nothing
    assert seeds_needed([one, one], 1e-4, 1000, 0.5, 0.05, power=0.9) > needed


def test_another_seed_of_one_experiment_buys_less_than_one_of_all():
    one = Arm(Deviation(0.36, 4.0, 2, "a kind"), 3)
    other = Arm(Deviation(0.36, 4.0, 2, "another kind"), 3)

    def freedom(arms):
        return expected(arms, 0.0, 1000).freedom

    assert freedom([one, one]) == pytest.approx(4)  # one estimate, not two
    assert freedom([one, other]) == pytest.approx(8)
    assert freedom(with_more([one, one], of_all=False)) == pytest.approx(5)
    assert freedom(with_more([one, one], of_all=True)) == pytest.approx(6)
    assert [arm.seeds for arm in with_more([one, other], of_all=False)] == [4, 3]
    none = Arm(Deviation(0.36, np.inf, 2, "a kind"), 0)
    assert with_more([none, none], of_all=True) == [none, none]
    sizes = [
        expected(arms, 0.0, 1000).detectable(0.05)
        for arms in ([one, one], with_more([one, one], of_all=False),
                     with_more([one, one], of_all=True))
    ]  # fmt: skip
    assert sizes == sorted(sizes, reverse=True)


ROUNDS = 250
SUPERIOR = Contrast(experiment="x", baseline="y", measure="si_snr_i", margin=0.5)


def simulated(seeds, scales, effect, pair=(-1, 0), alpha=0.05, rounds=ROUNDS, mixtures=60):
    """Shares of rounds in which 0 is left out, and in which a claim is not reproduced.

    And the mean detectable difference. `scales` are deviations of runs in dB: by kind, one for each
    experiment. `pair` are the places of the contrast's experiments.
    """
    generator = np.random.default_rng(seeds)
    excluded, refuted, sizes = 0, 0, []
    for _ in range(rounds):
        samples, kinds = {}, {}
        for kind, deviant in scales.items():
            for number, scale in enumerate(deviant):
                of_runs = generator.normal(0, scale, (seeds, 1))
                of_mixture = generator.normal(0, 1, mixtures)
                name = f"{kind} {number}"
                values = of_runs + of_mixture + generator.normal(0, 2, (seeds, mixtures))
                samples[name], kinds[name] = sample(values), Kind(kind)
        one, other = ([*samples][place] for place in pair)
        ours, theirs = samples[one], samples[other]
        ours = Sample(ours.seeds, ours.values + effect, ours.weights)
        pooled = deviations(samples, kinds)
        between = [of_experiment(n, samples[n], pooled[kinds[n]]) for n in (one, other)]
        found = difference(ours, theirs, tuple(between))
        low, high = found.interval(alpha)
        excluded += not low < 0 < high
        verdict = Finding(SUPERIOR, found, 0.5, (seeds, seeds), alpha).verdict(found.p())
        refuted += verdict == "not reproduced"
        sizes.append(found.detectable(alpha))
    return excluded / rounds, refuted / rounds, float(np.mean(sizes))


def above(nominal, rounds=ROUNDS):
    """Three standard errors above a nominal rate."""
    return nominal + 3 * np.sqrt(nominal * (1 - nominal) / rounds)


@pytest.mark.parametrize("seeds", [3, 8])
@pytest.mark.parametrize("alpha", [0.05, 0.025])
@pytest.mark.parametrize(
    ("scales", "pair"),
    [
        ({"L_PIT alone": (0.2, 0.2), "purely adversarial": (0.2,) * 4}, (-1, 0)),
        ({"L_PIT alone": (0.5, 0.5), "purely adversarial": (0.5,) * 4}, (-1, 0)),
        ({"L_PIT alone": (0.2, 0.2), "purely adversarial": (1.0,) * 4}, (-1, 0)),
        ({"L_PIT alone": (0.2,), "purely adversarial": (1.0,)}, (-1, 0)),
        ({"purely adversarial": (1.0,) * 5}, (0, 1)),
        ({"purely adversarial": (0.2, 0.2, 0.2, 0.2, 1.0)}, (4, 0)),  # unequally within a kind
        ({"purely adversarial": (0.2, 0.5, 0.5, 1.0, 1.0)}, (4, 3)),
        ({"purely adversarial": (0.2, 0.5, 0.5, 1.0, 1.0)}, (4, 0)),
    ],
)
def test_without_an_effect_intervals_are_wrong_as_rarely_as_they_say(seeds, alpha, scales, pair):
    wrong, _, _ = simulated(seeds, scales, 0.0, pair, alpha)
    assert wrong < above(alpha)


@pytest.mark.parametrize(("seeds", "effect"), [(3, 1.4), (8, 1.4), (8, 0.5)])
def test_power_is_what_is_printed(seeds, effect):
    """With a true difference as large as what is detectable, 8 of 10 tables show it."""
    scales = {"L_PIT alone": (0.2, 0.2), "purely adversarial": (0.5,) * 4}
    _, _, size = simulated(seeds, scales, 0.0)
    power, _, _ = simulated(seeds, scales, size)
    assert power == pytest.approx(0.8, abs=0.1)
    found, _, _ = simulated(seeds, scales, effect)
    assert (found > 0.7) == (effect > 0.9 * size)


@pytest.mark.parametrize("seeds", [3, 8])
def test_a_worthwhile_difference_is_rarely_called_not_reproduced(seeds):
    scales = {"L_PIT alone": (0.05, 0.05), "purely adversarial": (0.05,) * 4}
    _, wrongly, _ = simulated(seeds, scales, 0.5, mixtures=600)
    assert wrongly < above(0.025)
    _, rightly, _ = simulated(seeds, scales, 0.0, mixtures=600)
    assert rightly > 0.5
