import numpy as np
import pandas as pd
import pytest

from apit.config import Claim, Contrast, Guard
from apit.errors import UserError
from apit.layers import load_claims
from apit.measure.contrasts import Finding, kind_of
from apit.measure.variance import Difference, Kind
from apit.measure.verdicts import TEXTS, decide, holm, undecided


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    adjusted = holm([np.nan, 0.01])  # what was not run is not tested
    assert np.isnan(adjusted[0])
    assert adjusted[1] == pytest.approx(0.01)


def found(test, low, high, seeds=3, margin=0.5):
    """A finding whose 95 % interval is [low, high], of a normal distribution."""
    error = (high - low) / 2 / 1.959964
    contrast = Contrast(experiment="x", baseline="y", measure="si_snr_i", test=test, margin=margin)
    gain = Difference((low + high) / 2, ((error**2, 1e12),))
    return Finding(contrast, gain, margin, (seeds, seeds + 1), 0.05)


@pytest.mark.parametrize(
    ("test", "low", "high", "seeds", "p_holm", "verdict"),
    [
        ("superior", 0.1, 0.4, 3, 0.04, "reproduced"),
        ("superior", 0.1, 1.0, 3, 0.06, "undecided"),  # not after Holm
        ("superior", 0.1, 0.4, 3, 0.06, "not reproduced"),  # and short of what is worthwhile
        ("superior", -0.2, 0.4, 3, 0.9, "not reproduced"),
        ("superior", -0.3, 0.6, 3, 0.9, "undecided"),
        ("superior", -2.0, -1.5, 3, 0.01, "not reproduced"),
        ("superior", -3.0, -1.0, 3, 0.01, "undecided"),  # so few could not have shown 0.5 dB
        ("superior", 0.1, 0.4, 2, 0.01, "undecided"),
        ("superior", np.nan, np.nan, 3, np.nan, "undecided"),
        ("noninferior", -0.4, 0.1, 3, 0.01, "reproduced"),
        ("noninferior", -0.6, 0.1, 3, 0.2, "undecided"),
        ("noninferior", -1.6, -0.6, 3, 1.0, "not reproduced"),
        ("equivalent", -0.4, 0.4, 3, 0.01, "reproduced"),
        ("equivalent", -0.4, 0.6, 3, 0.2, "undecided"),
        ("equivalent", 0.6, 1.2, 3, 1.0, "not reproduced"),
        ("equivalent", -1.2, -0.6, 3, 1.0, "not reproduced"),
    ],
)
def test_the_rule(test, low, high, seeds, p_holm, verdict):
    assert found(test, low, high, seeds).verdict(p_holm) == verdict


def test_what_p_is_of():
    # An interval that ends just at the boundary has a p of 5 %.
    assert found("superior", 0.0, 1.0).p == pytest.approx(0.05)
    assert found("noninferior", -0.5, 1.0).p == pytest.approx(0.05)
    assert found("noninferior", -2.0, -1.0).p == 1.0
    assert found("equivalent", -0.5, 0.1).p == pytest.approx(0.05)
    assert found("equivalent", -0.1, 0.5).p == pytest.approx(0.05)
    assert found("equivalent", 1.0, 2.0).p == 1.0


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


MORE = Contrast(experiment="pit-six", baseline="pit", measure="si_snr_i", margin=0.5)
HOLES = Contrast(
    experiment="pit-six", baseline="pit", measure="hole_rate", better="lower", margin=0.1,
    relative=True,
)  # fmt: skip
KINDS = {"pit": Kind("L_PIT alone"), "pit-six": Kind("with L_PIT")}


def judged(*contrasts, scores, looks=((),), kinds=KINDS):
    """Rows of contrasts, each a claim of its own."""
    claims = [Claim(claim=f"claim {n}", contrasts=(one,)) for n, one in enumerate(contrasts)]
    return decide(claims, scores, kinds, 50, looks)


def test_differences_are_of_all_seeds_and_listed_where_both_have_one():
    scores = scores_of(
        {"pit": {0: 1.0, 1: 1.2, 2: 1.4}, "pit-six": {0: 3.1, 1: 3.2, 2: 3.3, 8: 3.4}}
    )
    row = judged(MORE, scores=scores).iloc[0]
    assert row["seeds"] == "4, 3"
    assert row["differences"] == "0: 2.1; 1: 2; 2: 1.9"
    assert row["mean"] == pytest.approx(3.25 - 1.2)
    assert row["lower"] < row["mean"] < row["upper"]
    assert row["verdict"] == "reproduced"
    assert row["improved"] == 1.0  # ±1 between mixtures, 2 between runs
    assert row["detectable"] < 1
    assert row["seeds_needed"] >= 1


def test_fewer_than_three_seeds_decide_nothing():
    scores = scores_of({"pit": {0: 1.0, 1: 1.1}, "pit-six": {0: 30.0, 1: 30.1}})
    row = judged(MORE, scores=scores).iloc[0]
    assert row["verdict"] == "undecided"
    assert "fewer than 3 seeds" in row["note"]
    assert np.isnan(row["p_holm"])
    absent = judged(MORE, scores=scores_of({"pit": {0: 1.0}})).iloc[0]
    assert (absent["verdict"], absent["note"]) == ("undecided", "pit-six not run")


def test_more_si_snr_i_is_none_where_more_targets_are_silenced():
    pit = {0: 1.0, 1: 1.1, 2: 1.2}
    means = {"pit": pit, "pit-six": {seed: mean + 2 for seed, mean in pit.items()}}
    for falls, verdict in ((0.25, "undecided"), (-0.25, "reproduced")):
        improvement = {"pit": 5.0, "pit-six": 5.0 - falls}
        row = judged(MORE, scores=scores_of(means, improvement=improvement)).iloc[0]
        assert row["verdict"] == verdict
        assert row["note"] == ("MSi(all) differs in sign: -0.25 dB" if falls > 0 else "")


def test_nothing_gained_in_si_snr_i_needs_no_sign_to_agree_in():
    pit = {0: 1.0, 1: 1.01, 2: 1.02}
    scores = scores_of({"pit": pit, "pit-six": pit}, improvement={"pit": 5.0, "pit-six": 4.9})
    assert judged(MORE, scores=scores).iloc[0]["verdict"] == "not reproduced"


def test_holes_must_fall_and_by_a_tenth():
    pit = {0: 0.20, 1: 0.201, 2: 0.202}
    for factor, verdict in ((0.8, "reproduced"), (0.97, "reproduced"), (1.01, "not reproduced")):
        scores = scores_of({"pit": pit, "pit-six": {s: factor * v for s, v in pit.items()}})
        row = judged(HOLES, scores=scores).iloc[0]
        assert row["verdict"] == verdict
        assert row["mean"] == pytest.approx((factor - 1) * 0.201)


@pytest.mark.parametrize(
    ("guard", "note"),
    [
        (Guard(measure="excess_rate", rises_less_than=0.11), ""),
        (Guard(measure="excess_rate", rises_less_than=0.09), "excess_rate may rise by 0.1"),
        (Guard(measure="si_snri_all/2-4", falls_less_than=0.31), ""),
        (Guard(measure="si_snri_all/2-4", falls_less_than=0.29),
         "si_snri_all/2-4 may fall by 0.3"),
        (Guard(measure="si_snr_s", falls_less_than=0.29), "si_snr_s not measured"),
    ],
)  # fmt: skip
def test_holes_that_shrink_by_leaking_or_by_worse_separation_do_not_count(guard, note):
    pit = {0: 0.20, 1: 0.201, 2: 0.202}
    means = {"pit": pit, "pit-six": {s: 0.5 * v for s, v in pit.items()}}
    scores = scores_of(means, improvement={"pit": 5.0, "pit-six": 4.7})
    row = judged(HOLES.model_copy(update={"provided": (guard,)}), scores=scores).iloc[0]
    assert (row["verdict"], row["note"]) == ("undecided" if note else "reproduced", note)


def test_a_guard_holds_with_its_whole_interval():
    pit = {0: 0.20, 1: 0.201, 2: 0.202}
    means = {"pit": pit, "pit-six": {s: 0.5 * v for s, v in pit.items()}}
    scores = scores_of(means, improvement={"pit": 5.0, "pit-six": 5.0})
    loud = (scores["metric"] == "si_snri") & (scores["seed"] == 2)
    scores.loc[loud & (scores["experiment"] == "pit-six"), "value"] -= 3.0  # one run of three
    guard = Guard(measure="si_snri_all/2-4", falls_less_than=1.5)
    row = judged(HOLES.model_copy(update={"provided": (guard,)}), scores=scores).iloc[0]
    assert row["verdict"] == "undecided"  # a mean of −1 dB, and no one knows whether it is −1.5
    assert row["note"].startswith("si_snri_all/2-4 may fall by")


def test_an_oracle_is_a_baseline_without_seeds():
    """The standard context bypasses the mixture: what it gives is the mixture, more or less."""
    bypass = MORE.model_copy(
        update={"experiment": "ctx-wave-i0", "baseline": "mixture", "test": "equivalent",
                "margin": 1.0}
    )  # fmt: skip
    kinds = {"ctx-wave-i0": Kind("purely adversarial")}
    for mean, verdict in ((0.2, "reproduced"), (3.0, "not reproduced"), (1.0, "undecided")):
        runs = {seed: mean + 0.01 * seed for seed in range(3)}
        scores = scores_of({"mixture": {0: 0.0}, "ctx-wave-i0": runs})
        row = judged(bypass, scores=scores, kinds=kinds).iloc[0]
        assert (row["verdict"], row["seeds"]) == (verdict, "3")
    assert row["differences"] == "0: 1; 1: 1.01; 2: 1.02"


def test_a_claim_is_reproduced_where_all_of_its_contrasts_are_that_were_run():
    other = MORE.model_copy(update={"experiment": "pit-all"})
    absent = MORE.model_copy(update={"experiment": "six"})
    claim = Claim(claim="both", contrasts=(MORE, other, absent))
    kinds = {**KINDS, "pit-all": Kind("with L_PIT")}
    pit = {0: 1.0, 1: 1.01, 2: 1.02}
    for gain, verdict in ((2.0, "reproduced"), (0.0, "not reproduced")):
        means = {"pit": pit, "pit-six": {s: v + 2 for s, v in pit.items()},
                 "pit-all": {s: v + gain for s, v in pit.items()}}  # fmt: skip
        rows = decide([claim], scores_of(means), kinds, 50)
        whole = rows.iloc[0]
        assert (whole["test"], whole["verdict"], whole["seeds"]) == ("claim", verdict, "3")
        number = 2 if gain else 1
        assert whole["note"] == f"{number} of 3 contrasts reproduced; 1 not run"
        assert rows["experiment"].tolist()[:4] == ["", "pit-six", "pit-all", "six"]


def test_more_seeds_are_for_what_the_first_look_does_not_decide():
    looks = ((0, 1, 2), (0, 1, 2, 3, 4, 5))
    clear, unclear = MORE, MORE.model_copy(update={"experiment": "pit-all"})
    kinds = {**KINDS, "pit-all": Kind("with L_PIT")}
    first = {"pit": {0: 1.0, 1: 1.3, 2: 1.1}, "pit-six": {0: 5.0, 1: 5.3, 2: 5.1},
             "pit-all": {0: 1.3, 1: 1.6, 2: 1.7}}  # fmt: skip
    seen = judged(clear, unclear, scores=scores_of(first), looks=looks, kinds=kinds)
    assert seen["verdict"].tolist()[:2] == ["reproduced", "undecided"]
    assert undecided(seen) == ["pit", "pit-all"]
    one_look = judged(clear, unclear, scores=scores_of(first), kinds=kinds)
    assert (seen["upper"] - seen["lower"])[0] > (one_look["upper"] - one_look["lower"])[0]
    more = {name: runs | {s + 3: v for s, v in runs.items()} for name, runs in first.items()}
    del more["pit-six"][3], more["pit-six"][4], more["pit-six"][5]
    after = judged(clear, unclear, scores=scores_of(more), looks=looks, kinds=kinds)
    assert after["look"].tolist()[:2] == [1, 2]
    assert after["seeds"].tolist()[:2] == ["3", "6"]
    # What was decided stands as it was; Holm is within a look.
    pd.testing.assert_series_equal(after.iloc[0], seen.iloc[0])
    assert after["p_holm"][1] == after["p"][1]


def test_other_mixtures_are_refused():
    scores = pd.concat(
        [
            scores_of({"pit": {0: 1.0}}),
            scores_of({"pit-six": {0: 1.0}}, examples=("a", "c")),
        ]
    )
    with pytest.raises(UserError, match=r"not scored on the same mixtures \(b differs"):
        judged(MORE, scores=scores)
    louder = scores_of({"pit": {0: 1.0}, "pit-six": {0: 1.0}})
    before = [
        ("pit", 0, "a", 0, "si_snr_mixture", 3.0),
        ("pit-six", 0, "a", 0, "si_snr_mixture", 4.0),
    ]
    rows = pd.DataFrame(before, columns=louder.columns[:6]).assign(note="")
    with pytest.raises(UserError, match=r"not scored on the same mixtures \(a differs"):
        judged(MORE, scores=pd.concat([louder, rows]))
    for measure in ("si_snrr", "si_snr_i/median"):
        with pytest.raises(UserError, match=f"'{measure}' is no measure of claims"):
            judged(MORE.model_copy(update={"measure": measure}), scores=louder)


def test_an_experiment_against_itself_comes_out_as_nothing():
    runs = {0: 1.0, 1: 1.4, 2: 1.1, 100: 1.2, 101: 1.0, 102: 1.5}
    rows = judged(MORE, scores=scores_of({"pit": runs, "pit-six": {0: 1.0}}))
    (row,) = rows[rows["test"] == "A/A"].to_dict("records")
    assert row["verdict"] == "nothing, as it must be"
    assert row["note"] == "0 1 2 against 100 101 102"
    assert row["mean"] == pytest.approx(3.5 / 3 - 3.7 / 3)
    apart = {seed: value + (3 if seed < 100 else 0) for seed, value in runs.items()}
    rows = judged(MORE, scores=scores_of({"pit": apart}), kinds={"pit": KINDS["pit"]})
    assert rows[rows["test"] == "A/A"].iloc[0]["verdict"] == "a difference where none can be"


def test_forks_are_compared_where_they_start_from_the_same_run():
    """Parents differ by 20 dB, and forks of each by 1 dB and a little."""
    fork = MORE.model_copy(update={"experiment": "fork-six", "baseline": "fork-pit"})
    parents = {0: 0.0, 1: 10.0, 2: 20.0, 3: 5.0}
    means = {"fork-pit": parents, "fork-six": {s: v + 1 + 0.01 * s for s, v in parents.items()}}
    del means["fork-six"][3]  # a run without its other half says nothing
    forks = dict.fromkeys(means, Kind("forks of pit", "pit"))
    row = judged(fork, scores=scores_of(means), kinds=forks).iloc[0]
    assert (row["seeds"], row["verdict"]) == ("3", "reproduced")
    assert row["mean"] == pytest.approx(1.01)
    scratch = dict.fromkeys(means, Kind("L_PIT alone"))
    row = judged(fork, scores=scores_of(means), kinds=scratch).iloc[0]
    assert row["verdict"] == "undecided"


def test_the_deviation_between_runs_is_shown_for_each_kind():
    rows = judged(MORE, scores=scores_of({"pit": {0: 1.0, 1: 2.0, 2: 3.0}, "pit-six": {0: 1.0}}))
    (noise,) = rows[rows["test"] == "noise"].to_dict("records")
    assert noise["claim"] == "deviation between runs: L_PIT alone"
    assert (noise["mean"], noise["note"]) == (1.0, "2 degrees of freedom")
    assert [noise[text] for text in TEXTS[:3]] == ["", "", ""]
    assert noise["verdict"] == ""


def test_kinds_go_by_what_is_learnt_from(tiny):
    kinds = {
        name: kind_of(tiny(name)).name
        for name in ("pit", "pit-tdcnpp", "pit-ctx-all", "ctx-wave-i3-m", "six")
    }
    assert kinds == {
        "pit": "L_PIT alone", "pit-tdcnpp": "L_PIT alone", "pit-ctx-all": "with L_PIT",
        "ctx-wave-i3-m": "purely adversarial", "six": "purely adversarial",
    }  # fmt: skip
    assert kind_of(tiny("fork-pit")) == ("forks of pit", "pit")


def test_the_shipped_claims_are_those_of_the_paper():
    claims = load_claims()
    assert len({claim.claim for claim in claims}) == len(claims)
    contrasts = {(c.experiment, c.baseline, c.test) for claim in claims for c in claim.contrasts}
    for domain in ("wave", "stft", "mask"):
        context = f"ctx-{domain}-i3-m"
        assert {
            (context, f"ctx-{domain}-i0-m", "superior"),
            (f"ctx-{domain}-i3", f"ctx-{domain}-i0", "superior"),
            (context, f"ctx-{domain}-i3", "superior"),
            (context, f"inst-{domain}", "superior"),
            (f"both-{domain}", context, "superior"),
            (f"ctx-{domain}-i0", "mixture", "equivalent"),
        } <= contrasts
    assert {("pit-six", "pit", "superior"), ("pit-six", "pit-tdcnpp", "superior"),
            ("six", "pit", "noninferior"), ("pit-six", "six", "superior"),
            ("six", "ctx-wave-i3-m", "superior")} <= contrasts  # fmt: skip
    for contrast in (c for claim in claims for c in claim.contrasts):
        if contrast.measure == "si_snr_i" and contrast.test != "equivalent":
            assert (contrast.better, contrast.margin, contrast.relative) == ("higher", 0.5, False)


def test_claims_without_any_effect_are_rarely_reproduced():
    """Whole tables: contrasts that share runs, a kind that varies unequally, two looks, Holm."""
    generator = np.random.default_rng(1)
    deviant = {"pit": 0.2, "a": 0.2, "b": 0.2, "c": 0.2, "d": 0.2, "e": 1.0}
    kinds = dict.fromkeys(deviant, Kind("purely adversarial")) | {"pit": Kind("L_PIT alone")}
    pairs = [("e", "a"), ("d", "a"), ("c", "b"), ("e", "pit"), ("b", "pit")]
    contrasts = [MORE.model_copy(update={"experiment": x, "baseline": y}) for x, y in pairs]
    rounds, wrong = 150, 0
    for _ in range(rounds):
        means = {n: dict(enumerate(s * generator.normal(size=6))) for n, s in deviant.items()}
        decided = judged(*contrasts, scores=scores_of(means), kinds=kinds,
                         looks=((0, 1, 2), (0, 1, 2, 3, 4, 5)))  # fmt: skip
        wrong += "reproduced" in decided["verdict"].tolist()
    assert wrong <= 10  # nominally 2.5 %, of all together: more than 10 of 150 in 1 of 1000 cases


def test_holm_s_count_at_the_second_look_has_what_the_first_refuted():
    pit = {seed: 1.0 + 0.01 * (seed % 3) for seed in range(6)}
    means = {"pit": pit, "null": dict(pit),
             "some": {seed: 1.3 + 0.25 * (seed % 3 - 1) for seed in range(6)}}  # fmt: skip
    kinds = {"pit": Kind("L_PIT alone"), "null": Kind("L_PIT alone"), "some": Kind("with L_PIT")}
    null, some = (MORE.model_copy(update={"experiment": name}) for name in ("null", "some"))
    looks = ((0, 1, 2), (0, 1, 2, 3, 4, 5))
    rows = judged(null, some, scores=scores_of(means), kinds=kinds, looks=looks)
    assert rows["verdict"].tolist()[0] == "not reproduced"
    assert rows["look"].tolist()[:2] == [1, 2]
    assert rows["p_holm"][1] == pytest.approx(2 * rows["p"][1])


def test_a_fork_beside_what_is_none_varies_as_its_runs_do():
    means = {"fork-pit": {0: 0.0, 1: 2.0, 2: 4.0}, "fork-six": {0: 0.1, 1: 2.1, 2: 4.1},
             "mixture": {0: 0.0}}  # fmt: skip
    forks = dict.fromkeys(("fork-pit", "fork-six"), Kind("forks of pit", "pit"))
    beside = MORE.model_copy(update={"experiment": "fork-six", "baseline": "mixture"})
    row = judged(beside, scores=scores_of(means), kinds=forks).iloc[0]
    assert row["lower"] < 2.1 - 2 < 2.1 + 2 < row["upper"]  # of 0.1, 2.1 and 4.1: 2.1 ± 5


def test_a_contrast_of_too_few_seeds_does_not_hold_its_claim_back():
    other = MORE.model_copy(update={"experiment": "pit-all"})
    pit = {0: 1.0, 1: 1.01, 2: 1.02}
    means = {"pit": pit, "pit-six": {s: v + 2 for s, v in pit.items()}, "pit-all": {0: 1.0}}
    kinds = {**KINDS, "pit-all": Kind("with L_PIT")}
    rows = decide([Claim(claim="both", contrasts=(MORE, other))], scores_of(means), kinds, 50)
    assert rows["verdict"].tolist()[:3] == ["reproduced", "reproduced", "undecided"]
    assert rows["note"][0] == "1 of 2 contrasts reproduced; 1 with fewer than 3 seeds"


def test_a_part_that_was_not_measured_leaves_its_claim_open():
    other = MORE.model_copy(update={"measure": "si_snr_s"})
    pit = {0: 1.0, 1: 1.01, 2: 1.02}
    scores = scores_of({"pit": pit, "pit-six": {s: v + 2 for s, v in pit.items()}})
    rows = decide([Claim(claim="both", contrasts=(MORE, other))], scores, KINDS, 50)
    assert rows["verdict"].tolist()[:3] == ["undecided", "reproduced", "undecided"]
    assert rows["note"][2] == "si_snr_s not measured"


def test_what_has_too_few_seeds_of_its_own_gets_no_more():
    looks = ((0, 1, 2), (0, 1, 2, 3, 4, 5))
    scores = scores_of({"pit": {0: 1.0, 1: 1.3, 2: 1.1}, "pit-six": {0: 1.2}})
    seen = judged(MORE, scores=scores, looks=looks)
    assert seen["verdict"][0] == "undecided"
    assert undecided(seen) == []


def test_what_was_not_measured_decides_nothing():
    scores = scores_of({"pit": {0: 1, 1: 2, 2: 3}, "pit-six": {0: 0, 1: 0, 2: 0}})
    without = scores[~scores["metric"].isin(["hole_rate_15", "excess_rate"])]
    row = judged(HOLES, scores=without).iloc[0]
    assert (row["verdict"], row["note"]) == ("undecided", "hole_rate not measured")
