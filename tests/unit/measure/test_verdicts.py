import numpy as np
import pandas as pd
import pytest

from apit.config import Claim, Guard
from apit.errors import UserError
from apit.layers import load_claims
from apit.measure.verdicts import Interval, decide, holm, judge, over_seeds


def test_the_t_interval_by_hand():
    # mean 2, deviation 1, three seeds: t(0.975; 2) = 4.302653, so 2 ± 4.302653 / √3.
    interval = over_seeds([1.0, 2.0, 3.0])
    half = 4.302653 / np.sqrt(3)
    assert (interval.mean, interval.lower, interval.upper) == pytest.approx((2, 2 - half, 2 + half))
    # For two degrees of freedom the distribution has a closed form: p = 1 − t / √(2 + t²).
    t = 2 * np.sqrt(3)
    assert interval.p == pytest.approx(1 - t / np.sqrt(2 + t**2))


def test_too_few_or_equal_differences_have_an_interval_where_there_can_be_one():
    assert np.isnan(over_seeds([]).mean)
    one = over_seeds([0.7])
    assert one.mean == 0.7
    assert np.isnan([one.lower, one.upper, one.p]).all()
    assert over_seeds([0.5, 0.5, 0.5]) == Interval(0.5, 0.5, 0.5, 0.0)
    assert over_seeds([0.0, 0.0, 0.0]) == Interval(0.0, 0.0, 0.0, 1.0)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    adjusted = holm([np.nan, 0.01])  # an undefined one still counts
    assert np.isnan(adjusted[0])
    assert adjusted[1] == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("interval", "seeds", "p_holm", "verdict"),
    [
        ((0.1, 1.0), 3, 0.04, "reproduced"),
        ((0.1, 1.0), 3, 0.06, "undecided"),  # not after Holm
        ((0.1, 0.4), 3, 0.06, "not reproduced"),  # and short of what is worthwhile
        ((0.1, 0.4), 3, 0.04, "reproduced"),  # the order of the rule
        ((-0.3, 0.4), 3, 0.9, "not reproduced"),
        ((-0.3, 0.6), 3, 0.9, "undecided"),
        ((-2.0, -1.0), 3, 0.01, "not reproduced"),
        ((0.1, 1.0), 2, 0.01, "undecided"),
        ((np.nan, np.nan), 3, np.nan, "undecided"),
    ],
)
def test_the_rule(interval, seeds, p_holm, verdict):
    low, high = interval
    assert judge(Interval((low + high) / 2, low, high, 0.01), seeds, p_holm, 0.5) == verdict


def test_what_is_provided_can_only_withhold():
    gain = Interval(0.7, 0.4, 1.0, 0.01)
    assert judge(gain, 3, 0.01, 0.5, provided=True) == "reproduced"
    assert judge(gain, 3, 0.01, 0.5, provided=False) == "undecided"


def scores_of(means, examples=("a", "b"), excess=0.1, improvement=None):
    """A long table in which every experiment and seed has its mean: {experiment: {seed: mean}}.

    `improvement` is MSi(all) by experiment, where it is another.
    """
    rows = []
    for experiment, seeds in means.items():
        for seed, mean in seeds.items():
            for example, offset in zip(examples, (-1.0, 1.0), strict=True):
                rows.append((experiment, seed, example, -1, "active_targets", 2.0))
                rows.append((experiment, seed, example, -1, "si_snr_i", mean + offset))
                own = mean if improvement is None else improvement[experiment]
                values = {
                    "si_snri": own + offset, "counted": 1.0, "si_snr": 0.0,
                    "hole_rate_15": mean, "excess_rate": excess * (1 + (experiment != "pit")),
                }  # fmt: skip
                rows += [(experiment, seed, example, 0, k, v) for k, v in values.items()]
    columns = ["experiment", "seed", "example", "source", "metric", "value"]
    return pd.DataFrame(rows, columns=columns).assign(note="")


MORE = Claim(
    claim="more", experiment="pit-six", baseline="pit", measure="si_snr_i", better="higher",
    worthwhile=0.5, provided=(Guard(measure="si_snri_all/2-4", falls_at_most=0.0),),
)  # fmt: skip
HOLES = Claim(
    claim="holes", experiment="pit-six", baseline="pit", measure="hole_rate", better="lower",
    worthwhile=0.1, relative=True,
)  # fmt: skip


def test_differences_are_per_seed_and_only_of_seeds_that_both_have():
    scores = scores_of(
        {"pit": {0: 1.0, 1: 2.0, 2: 3.0, 9: 0.0}, "pit-six": {0: 3.1, 1: 4.0, 2: 4.9, 8: 0}}
    )
    row = decide([MORE], scores).iloc[0]
    assert row["seeds"] == 3
    assert row["differences"] == "0: 2.1; 1: 2; 2: 1.9"
    assert row["mean"] == pytest.approx(2)
    assert row["verdict"] == "reproduced"


def test_fewer_than_three_seeds_decide_nothing():
    scores = scores_of({"pit": {0: 1.0, 1: 2.0}, "pit-six": {0: 30.0, 1: 31.0}})
    row = decide([MORE], scores).iloc[0]
    assert row["verdict"] == "undecided"
    assert "fewer than 3 seeds" in row["note"]
    absent = decide([MORE], scores_of({"pit": {0: 1.0}})).iloc[0]
    assert (absent["verdict"], absent["note"]) == ("undecided", "pit-six not run")


def test_more_si_snr_i_is_none_where_more_targets_are_silenced():
    pit = {0: 1.0, 1: 2.0, 2: 3.0}
    means = {"pit": pit, "pit-six": {seed: mean + 2 for seed, mean in pit.items()}}
    for falls, verdict in ((0.25, "undecided"), (-0.25, "reproduced"), (0.0, "reproduced")):
        improvement = {"pit": 5.0, "pit-six": 5.0 - falls}
        row = decide([MORE], scores_of(means, improvement=improvement)).iloc[0]
        assert row["verdict"] == verdict
        assert row["note"] == ("si_snri_all/2-4 falls by 0.25" if falls > 0 else "")


def test_holes_must_fall_and_by_a_tenth():
    pit = {0: 0.20, 1: 0.21, 2: 0.22}
    for factor, verdict in ((0.8, "reproduced"), (0.93, "reproduced"), (1.01, "not reproduced")):
        scores = scores_of({"pit": pit, "pit-six": {s: factor * v for s, v in pit.items()}})
        assert decide([HOLES], scores).iloc[0]["verdict"] == verdict
    # −5 %, with seeds so far apart that 0 is not excluded, and a tenth less is.
    near = {0: 0.193, 1: 0.2, 2: 0.205}
    row = decide([HOLES], scores_of({"pit": dict.fromkeys(near, 0.2), "pit-six": near})).iloc[0]
    assert row["lower"] > -0.02
    assert row["verdict"] == "not reproduced"


def test_holes_that_shrink_by_leaking_or_by_worse_separation_do_not_count():
    pit = {0: 0.20, 1: 0.21, 2: 0.22}
    means = {"pit": pit, "pit-six": {s: 0.5 * v for s, v in pit.items()}}
    leaking = HOLES.model_copy(
        update={"provided": (Guard(measure="excess_rate", rises_at_most=0.0),)}
    )
    row = decide([leaking], scores_of(means)).iloc[0]
    assert (row["verdict"], row["note"]) == ("undecided", "excess_rate rises by 0.1")
    worse = HOLES.model_copy(
        update={"provided": (Guard(measure="si_snri_all/2-4", falls_at_most=0.2),)}
    )
    improvement = {"pit": 5.0, "pit-six": 4.7}
    row = decide([worse], scores_of(means, improvement=improvement)).iloc[0]
    assert (row["verdict"], row["note"]) == ("undecided", "si_snri_all/2-4 falls by 0.3")


def test_other_mixtures_are_refused():
    scores = pd.concat(
        [
            scores_of({"pit": {0: 1.0}}),
            scores_of({"pit-six": {0: 1.0}}, examples=("a", "c")),
        ]
    )
    with pytest.raises(UserError, match=r"not scored on the same mixtures \(b differs"):
        decide([MORE], scores)
    louder = scores_of({"pit": {0: 1.0}, "pit-six": {0: 1.0}})
    before = [
        ("pit", 0, "a", 0, "si_snr_mixture", 3.0),
        ("pit-six", 0, "a", 0, "si_snr_mixture", 4.0),
    ]
    rows = pd.DataFrame(before, columns=louder.columns[:6]).assign(note="")
    with pytest.raises(UserError, match=r"not scored on the same mixtures \(a differs"):
        decide([MORE], pd.concat([louder, rows]))
    with pytest.raises(UserError, match="no measure is called 'si_snrr'"):
        decide([MORE.model_copy(update={"measure": "si_snrr"})], scores)


def test_the_noise_between_seeds_of_the_baseline_is_shown():
    scores = scores_of({"pit": {0: 1.0, 1: 2.0, 2: 4.0}, "pit-six": {0: 1.0}})
    noise = decide([MORE], scores).iloc[-1]
    assert noise["differences"] == "1 − 0: 1; 2 − 0: 3; 2 − 1: 2"
    assert noise["mean"] == pytest.approx(2)
    assert noise["verdict"] == ""
    assert len(decide([MORE], scores_of({"pit-six": {0: 1.0}}))) == 1  # of a baseline that was run


def test_verdicts_are_wrong_as_rarely_as_they_say():
    """Three seeds, a run-to-run deviation of 0.2 dB, four claims, no effect at all."""
    generator = np.random.default_rng(0)
    rounds, excluded, any_reproduced, wrongly_not = 1500, 0, 0, 0
    for _ in range(rounds):
        runs = generator.normal(0, 0.2, (5, 3))  # four adversarial systems and the baseline
        gains = [over_seeds((system - runs[4]).tolist()) for system in runs[:4]]
        adjusted = holm([gain.p for gain in gains])
        excluded += sum(not gain.lower < 0 < gain.upper for gain in gains)
        verdicts = [judge(g, 3, p, 0.5) for g, p in zip(gains, adjusted, strict=True)]
        any_reproduced += "reproduced" in verdicts
        # A true improvement of just the worthwhile 0.5 dB.
        worthwhile = over_seeds((runs[0] + 0.5 - runs[4]).tolist())
        wrongly_not += judge(worthwhile, 3, 1.0, 0.5) == "not reproduced"
    assert excluded / (4 * rounds) == pytest.approx(0.05, abs=0.01)
    assert 0.005 < any_reproduced / rounds < 0.04  # of all four together, on one side: 2.5 %
    assert wrongly_not / rounds == pytest.approx(0.025, abs=0.01)


def test_the_shipped_claims_are_those_of_the_paper():
    claims = load_claims()
    contrasts = {(claim.experiment, claim.baseline) for claim in claims}
    assert len(contrasts) == len(claims) - 1 == 19  # holes are of a pair that another has, too
    by_domain = [
        (f"ctx-{domain}-i3-m", f"ctx-{domain}-i0-m") for domain in ("wave", "stft", "mask")
    ]
    assert contrasts >= {("pit-six", "pit"), ("pit-six", "pit-tdcnpp"), *by_domain}
    *separation, holes = claims
    for claim in separation:
        assert (claim.measure, claim.better, claim.worthwhile) == ("si_snr_i", "higher", 0.5)
        # Silence is an improvement in SI-SNR_I, and a loss of 80 dB in MSi(all).
        assert claim.provided == (Guard(measure="si_snri_all/2-4", falls_at_most=0.0),)
    assert holes.measure == "hole_rate"
    assert {guard.measure for guard in holes.provided} == {"excess_rate", "si_snri_all/2-4"}
    assert len({claim.claim for claim in claims}) == len(claims)


def test_the_shipped_claims_on_runs_without_any_effect_are_rarely_reproduced():
    """Whole tables through `decide`: contrasts that share runs, holes with what they require."""
    generator = np.random.default_rng(1)
    claims = load_claims()
    names = sorted({name for claim in claims for name in (claim.experiment, claim.baseline)})
    rounds, any_reproduced = 20, 0
    for _ in range(rounds):
        means = {name: dict(enumerate(0.2 * generator.normal(size=3))) for name in names}
        holes = {name: dict(enumerate(0.2 + 0.01 * generator.normal(size=3))) for name in names}
        improvements = scores_of(means).query("metric != 'hole_rate_15'")
        rates = scores_of(holes).query("metric == 'hole_rate_15'")
        decided = decide(claims, pd.concat([improvements, rates]))
        any_reproduced += "reproduced" in decided["verdict"].tolist()
    assert any_reproduced <= 2  # nominally 2.5 %, of all together


def test_what_was_not_measured_decides_nothing():
    scores = scores_of({"pit": {0: 1, 1: 2, 2: 3}, "pit-six": {0: 0, 1: 0, 2: 0}})
    without = scores[~scores["metric"].isin(["hole_rate_15", "excess_rate"])]
    row = decide([HOLES], without).iloc[0]
    assert (row["verdict"], row["note"]) == ("undecided", "hole_rate not measured")
    dry = Guard(measure="excess_rate", rises_at_most=0.0)
    guarded = MORE.model_copy(update={"provided": (dry,)})
    assert "excess_rate not measured" in decide([guarded], without).iloc[0]["note"]
