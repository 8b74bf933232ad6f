import numpy as np
import pandas as pd
import pytest

from apit.config import Claim, Contrast, Planning
from apit.measure.plan import hours_of, plan
from apit.measure.statistics import by_pair
from apit.measure.variance import Kind

ASSUMED = Planning(between_runs=0.6, between_mixtures=3.0)
KINDS = {"pit": Kind("L_PIT alone"), "six": Kind("purely adversarial")}
HOURS = {"pit": 1.0, "six": 3.0}


def contrast(**changed):
    return Contrast(
        **{"experiment": "six", "baseline": "pit", "measure": "si_snr_i", "margin": 0.5} | changed
    )


def planned(*contrasts, table=None, mixtures=10_000, alpha=0.05):
    claims = [Claim(claim=f"claim {n}", contrasts=(one,)) for n, one in enumerate(contrasts)]
    return plan(claims, table, KINDS, HOURS, ASSUMED, mixtures, alpha, {"pit": 6, "six": 3})


def test_before_any_run_it_says_what_it_assumes():
    (row,) = planned(contrast()).to_dict("records")
    assert row["assumed"] == "runs and mixtures"
    # 2 · 0.6² (2.8 / 0.5)² = 22.6 for the normal distribution, a little more with so few seeds.
    assert 23 <= row["needed"] <= 26
    # Seeds that are due: 0.6 √(1/6 + 1/3) · 2.8, and mixtures' 3 / √10,000.
    assert row["seeds"] == 3
    assert row["detectable"] == pytest.approx(2.8 * np.hypot(0.6 * 0.5**0.5, 0.03), rel=0.01)
    assert row["more_for_all"] < row["more_for_one"] < row["detectable"]
    assert row["hours"] == row["needed"] * (1 + 3)


def test_few_mixtures_are_told_from_few_seeds():
    (row,) = planned(contrast(), mixtures=200).to_dict("records")  # 2.8 · 3 / √200 = 0.6
    assert row["needed"] == np.inf


def test_what_is_known_takes_the_place_of_what_is_assumed():
    generator = np.random.default_rng(0)
    rows = []
    for name, seeds, deviation in (("pit", 4, 0.5), ("six", 3, 0.5)):
        for seed in range(seeds):
            mean = generator.normal(0, deviation)
            for example in range(400):
                rows.append((name, seed, f"{example}", -1, "active_targets", 2.0))
                value = mean + generator.normal(0, 0.5)
                rows.append((name, seed, f"{example}", -1, "si_snr_i", value))
    columns = ["experiment", "seed", "example", "source", "metric", "value"]
    table = by_pair(pd.DataFrame(rows, columns=columns))
    (row,) = planned(contrast(), table=table).to_dict("records")
    assert (row["seeds"], row["assumed"]) == (3, "")
    assert row["more_for_all"] < row["more_for_one"] < row["detectable"]
    assert row["hours"] == (row["needed"] - 4) * 1 + (row["needed"] - 3) * 3
    # Of two contrasts Holm halves the error of the first, as a look of two does.
    both = planned(contrast(), contrast(test="noninferior"), table=table)
    assert both["needed_holm"][0] > both["needed"][0]
    (look,) = planned(contrast(), table=table, alpha=0.025).to_dict("records")
    assert look["needed"] == both["needed_holm"][0]


def test_only_contrasts_of_the_scale_are_planned_and_never_fewer_than_three_seeds():
    absent = contrast(experiment="pit-six")
    bypass = contrast(baseline="mixture", test="equivalent", margin=30.0)
    table = planned(absent, bypass)
    assert table["baseline"].tolist() == ["mixture"]
    assert table["needed"].tolist() == [3]
    assert table["hours"].tolist() == [9.0]  # the mixture needs no training


def test_rates_have_no_assumed_noise():
    (row,) = planned(contrast(measure="hole_rate", better="lower")).to_dict("records")
    assert np.isnan([row["needed"], row["detectable"]]).all()
    assert row["assumed"] == ""


def test_hours_of_what_was_not_run_go_by_multiply_accumulates(tiny):
    runs = {name: tiny(name) for name in ("pit", "ctx-stft-i3-m")}
    record = {"run": {"experiment": "pit"}, "training_seconds": 1800}
    hours = hours_of(runs, [record, record | {"training_seconds": 5400}], {"pit": 7.0})
    assert hours["pit"] == 1.0
    assert hours["ctx-stft-i3-m"] > 1.0
    assert hours_of(runs, [], {"pit": 0.5})["ctx-stft-i3-m"] == hours["ctx-stft-i3-m"] / 2
    assert np.isnan(list(hours_of(runs, [], {}).values())).all()
