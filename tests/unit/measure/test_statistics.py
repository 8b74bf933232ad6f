import numpy as np
import pandas as pd
import pytest
from scipy import stats

from apit.config import Reported
from apit.errors import UserError
from apit.measure.statistics import (
    AGGREGATES,
    by_pair,
    differences,
    hole_correlation,
    hole_curve,
    interval,
    probability_of_improvement,
    published_differences,
    samples_of,
    summarise,
    summary,
)
from apit.measure.table import read_scores, write_scores
from apit.measure.variance import Sample


def test_means_pool_pairs_and_intervals_hold_mixtures_together():
    values = pd.DataFrame(
        {"example": ["a", "a", "b", "c"], "targets": [2, 2, 2, 3], "value": [1.0, 2.0, 6.0, 9.0]}
    )
    of_values = interval(values, resamples=4000)
    assert of_values["mean"] == pytest.approx(4.5)
    assert of_values["n"] == 4
    # Stratum 3 always gives 9. Stratum 2 draws aa, ab, ba or bb: means (1+2+1+2+9)/5 = 3,
    # (1+2+6+9)/4 = 4.5, and (6+6+9)/3 = 7.
    assert of_values["lower"] == pytest.approx(3)
    assert of_values["upper"] == pytest.approx(7)


def test_a_curve_of_holes_goes_by_depth_whatever_the_order_of_its_columns():
    rows = [("a", -1, "active_targets", 1.0), ("a", 0, "counted", 1.0)]
    rows += [("a", 0, f"hole_rate_{depth}", 1 / depth) for depth in (10, 20, 3, 6)]
    table = pd.DataFrame(rows, columns=["example", "source", "metric", "value"])
    curve = hole_curve(table.assign(experiment="x", seed=0), 50)
    assert curve["depth_db"].tolist() == [3, 6, 10, 20]
    assert curve["mean"].tolist() == pytest.approx([1 / 3, 1 / 6, 1 / 10, 1 / 20])


def test_holes_are_correlated_with_separation_over_targets_that_are_present():
    def rows(holes, improvements, missing):
        values = zip(holes, improvements, missing, strict=True)
        for source, (hole, improvement, gone) in enumerate(values):
            yield ("e", source, "hole_rate_15", hole)
            yield ("e", source, "si_snri_standard", improvement)
            yield ("e", source, "missing_rate", gone)

    systems = {
        # Ranks 1 2 4 3 against 1 2 3 4: ρ = 1 − 6 · 2 / (4 · 15).
        "one": ((0.1, 0.2, 0.5, 0.3, 0.0), (1.0, 2.0, 3.0, 9.0, 99.0), (0.4, 0.0, 0, 0, 0.5)),
        "two": ((0.1, 0.2), (1.0, 2.0), (0, 0)),
        "alike": ((0.1, 0.1, 0.1), (1.0, 2.0, 3.0), (0, 0, 0)),
        "alone": ((np.nan, np.nan), (1.0, 2.0), (np.nan, np.nan)),
    }
    tables = [
        pd.DataFrame(rows(*values), columns=["example", "source", "metric", "value"]).assign(
            experiment=name, seed=0
        )
        for name, values in systems.items()
    ]
    correlation = hole_correlation(pd.concat(tables))
    assert correlation.pop("one") == pytest.approx(0.8)
    assert list(correlation) == ["two", "alike", "alone"]
    assert np.isnan(list(correlation.values())).all()
    assert hole_correlation(tables[0][tables[0]["metric"] != "hole_rate_15"]) == {}


def test_the_papers_si_snr_is_averaged_over_mixtures_by_their_number_of_sources():
    rows = []
    for example, targets, value in (
        ("a", 1, 30.0), ("b", 1, 40.0), ("c", 2, 4.0), ("d", 3, 6.0), ("e", 4, 1.0), ("f", 4, 9.0),
    ):  # fmt: skip
        rows.append((example, -1, "active_targets", float(targets)))
        rows.append((example, -1, "si_snr_s" if targets == 1 else "si_snr_i", value))
        for source in range(targets):  # that of single pairs plays no part
            rows.append((example, source, "si_snri_standard", -100.0))
            rows.append((example, source, "buried", float(example == "d" and source == 2)))
            rows.append((example, source, "counted", 0.0))
    table = pd.DataFrame(rows, columns=["example", "source", "metric", "value"])
    aggregates = summarise(table.assign(experiment="x", seed=0), 50).set_index("aggregate")
    assert {name: tuple(aggregates.loc[name, ["mean", "n"]]) for name in aggregates.index
            if name.startswith(("si_snr_s", "si_snr_i", "buried"))} == {
        "si_snr_s": (35.0, 2),
        "si_snr_i": (5.0, 4),
        "si_snr_i/2": (4.0, 1),
        "si_snr_i/3": (6.0, 1),
        "si_snr_i/4": (5.0, 2),
        "si_snr_i/median": (5.0, 4),
        "si_snr_i/iqm": (5.0, 4),  # of 4 and 6, the middle half
        "si_snr_i/clipped": (5.0, 4),
        "buried": (1 / 15, 15),
    }  # fmt: skip
    assert aggregates.loc["si_snr_s", ["lower", "upper"]].tolist() == [30, 40]
    alone = summary(table, 50)
    assert alone["si_snr_i"]["median"] == 5.0
    pairs = by_pair(table.assign(experiment="x", seed=0))
    assert samples_of(pairs, "si_snr_i")["x"].means.tolist() == [5.0]
    assert samples_of(pairs, "buried")["x"].means.tolist() == pytest.approx([1 / 15])
    assert samples_of(pairs, "hole_rate") == {}


def values_of(*values):
    examples = [f"e{number}" for number in range(len(values))]
    return pd.DataFrame({"example": examples, "targets": 2, "value": values})


def test_the_mean_of_the_middle_half_by_hand():
    def middle(*values):
        return interval(values_of(*values), 10, "iqm")["mean"]

    assert middle(-80.0, 4.0, 2.0, 90.0) == 3.0
    # Of five values 1.25 lie below and above: 0.75 · 2 + 3 + 0.75 · 4 over 2.5.
    assert middle(1.0, 2.0, 3.0, 4.0, 500.0) == pytest.approx((1.5 + 3 + 3) / 2.5)
    assert middle(7.0) == 7.0
    generator = np.random.default_rng(0)
    drawn = generator.normal(size=400)
    assert middle(*drawn) == pytest.approx(stats.trim_mean(drawn, 0.25))


def test_one_silent_estimate_moves_a_mean_and_not_the_clipped_one():
    rows = [("abcd"[n], -1, "active_targets", 2.0) for n in range(4)]
    rows += [("abcd"[n], -1, "si_snr_i", v) for n, v in enumerate((-80.0, 50.0, 4.0, 6.0))]
    table = pd.DataFrame(rows, columns=["example", "source", "metric", "value"])
    means = summarise(table.assign(experiment="x", seed=0), 50).set_index("aggregate")["mean"]
    assert means["si_snr_i"] == -5.0
    assert means["si_snr_i/clipped"] == (-10 + 30 + 4 + 6) / 4


def test_the_probability_of_improvement_counts_pairs_of_runs_and_halves_ties():
    def sample(*values):
        array = np.array(values, dtype=float)
        return Sample(tuple(range(len(values))), array, np.ones_like(array))

    # Mixture a: 2 and 0 against 1: one of two. Mixture b: 5 and 3 against 3: one and a half of two.
    ours, theirs = sample([2, 5], [0, 3]), sample([1, 3])
    found = probability_of_improvement(ours, theirs, "higher", 200)
    assert (found["mean"], found["n"]) == (0.625, 2)
    assert (found["lower"], found["upper"]) == (0.5, 0.75)
    assert probability_of_improvement(ours, theirs, "lower", 50)["mean"] == 0.375
    unheard = Sample((0,), np.array([[1.0, 0.0]]), np.array([[1.0, 0.0]]))
    assert probability_of_improvement(ours, unheard, "higher", 50)["n"] == 1


def test_the_headline_takes_all_active_targets_and_the_counted_mean_does_not():
    rows = []
    for source, (value, counted) in enumerate([(10.0, 1.0), (-80.0, 0.0), (4.0, 1.0)]):
        rows += [("e", source, "si_snri", value), ("e", source, "counted", counted)]
        for metric in ("si_snr", "hole_rate_15", "excess_rate"):
            rows.append(("e", source, metric, 0.0))
    rows.append(("e", -1, "active_targets", 3.0))
    for metric in ("under_separation", "equal_separation", "over_separation"):
        rows.append(("e", -1, metric, 0.0))
    table = pd.DataFrame(rows, columns=["example", "source", "metric", "value"])
    summary = summarise(table.assign(experiment="x", seed=0), 10).set_index("aggregate")
    assert summary.loc["si_snri/2-4", "mean"] == pytest.approx(7)
    assert summary.loc["si_snri/3", "n"] == 2
    assert summary.loc["si_snri_all/2-4", "mean"] == pytest.approx(-22)
    assert summary.loc["si_snri_all/2-4", "n"] == 3
    assert summary.loc["si_snri_all/2-4/median", "mean"] == pytest.approx(4)
    assert summary.loc["si_snri/2", "n"] == 0


def table_of(*rows):
    return pd.DataFrame(rows, columns=["example", "source", "metric", "value", "note"])


def test_in_a_file_a_metric_is_a_column_and_equal_scores_are_equal_bytes(tmp_path):
    scores = table_of(
        ("01", -1, "equal_separation", 1.0, ""),
        ("01", 0, "si_snr", 1 / 3, ""),
        ("01", 0, "sdr", np.nan, "no: inverse"),
        ("01", 0, "sir", np.nan, "no: inverse"),
        ("01", 0, "counted", 0.0, "quiet"),
    )
    for name in ("one.csv", "other.csv"):
        write_scores(scores, tmp_path / name)
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "other.csv").read_bytes()
    assert (tmp_path / "one.csv").read_text() == (
        "example,source,equal_separation,si_snr,sdr,sir,counted,note\n"
        "01,-1,1,,,,,\n"
        "01,0,,0.333333,,,0,sdr sir: no: inverse | counted: quiet\n"
    )


def test_scores_are_read_as_they_were_written(tmp_path):
    scores = table_of(
        ("01", -1, "equal_separation", 1.0, ""),
        ("01", 0, "si_snr", 0.25, ""),
        ("01", 0, "sdr", np.nan, "no: inverse"),
        ("01", 0, "counted", 0.0, "quiet"),
        ("02", -1, "skipped", 1.0, "all sources are silent"),
        ("02", 0, "sdr", np.inf, ""),
        ("NA", 0, "si_snr", 0.5, ""),
        ("null", 0, "si_snr", 0.75, ""),
    )
    for position, (column, value) in enumerate((("scale", "s"), ("experiment", "x"), ("seed", 0))):
        scores.insert(position, column, value)
    write_scores(scores, tmp_path / "scores.csv")
    read = read_scores([tmp_path / "scores.csv"])
    keys = ["example", "source", "metric"]
    pd.testing.assert_frame_equal(
        read.sort_values(keys, ignore_index=True), scores.sort_values(keys, ignore_index=True),
        check_like=True,
    )  # fmt: skip


def test_the_same_scores_twice_and_broken_ones_are_refused(tmp_path):
    file = tmp_path / "mixture.csv.gz"
    rows = table_of(("01", 0, "si_snr", 1.0, ""), ("1", 0, "sir", np.nan, "alone"))
    write_scores(rows.assign(scale="tiny", experiment="mixture", seed=0), file)
    again = read_scores([file])
    assert again["note"].tolist() == ["", "alone"]
    assert again["example"].tolist() == ["01", "1"]
    assert again["value"].isna().tolist() == [False, True]
    with pytest.raises(UserError, match=r"mixture, seed 0, is in them twice"):
        read_scores([file, file])
    other = tmp_path / "other.csv.gz"
    write_scores(rows.assign(scale="mini", experiment="pit", seed=0), other)
    with pytest.raises(UserError, match="are of the scales tiny and mini"):
        read_scores([file, other])
    broken = tmp_path / "broken.csv.gz"
    broken.write_bytes(file.read_bytes()[:50])
    with pytest.raises(UserError, match="cannot be read as a table"):
        read_scores([broken])


def test_medians_are_numpys(generator):
    for count in (5, 6):
        values = pd.DataFrame(
            {"example": range(count), "targets": 2, "value": np.arange(count) ** 2}
        )
        of_values = interval(values.astype({"value": float}), resamples=10, centre="median")
        assert of_values["mean"] == np.median(values["value"])


def test_an_interval_covers_the_truth_as_often_as_it_says():
    generator = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        values = pd.DataFrame(
            {"example": range(60), "targets": 2, "value": generator.normal(1.0, 2.0, 60)}
        )
        of_values = interval(values, resamples=400)
        hits += of_values["lower"] <= 1.0 <= of_values["upper"]
    assert 0.89 <= hits / 200 <= 0.99


def test_nothing_to_average_is_said():
    one = long_table("x", 0, {"a": [1.0, 2.0]})
    aggregates = summarise(one, 10).set_index("aggregate")
    assert aggregates.loc["si_snri/2-4", "n"] == 2
    absent = [name for name in aggregates.index if aggregates.loc[name, "n"] == 0]
    assert "si_snri/3" in absent
    assert aggregates.loc[absent, ["mean", "lower", "upper"]].isna().all(axis=None)
    assert "hole_rate" not in aggregates.index  # nobody measured it
    alone = summary(one.drop(columns=["experiment", "seed"]), 10)
    assert alone["si_snri/3"] == {"mean": None, "lower": None, "upper": None, "n": 0}
    assert alone["si_snri_all/2-4"]["median"] == 1.5
    assert set(alone) <= {*AGGREGATES, "examples_scored", "examples_skipped"}


def test_a_list_of_silence_has_a_summary():
    aggregates = summary(table_of(("a", -1, "skipped", 1.0, "all sources are silent")), 10)
    assert (aggregates["examples_scored"], aggregates["examples_skipped"]) == (0, 1)
    assert aggregates["si_snr/1"]["n"] == 0


def long_table(experiment, seed, improvements):
    """A long table: {example: improvements of its active targets}; SI-SNR_I is 1 dB less."""
    rows = []
    for example, values in improvements.items():
        rows.append((example, -1, "active_targets", float(len(values))))
        if len(values) > 1:
            rows.append((example, -1, "si_snr_i", sum(values) / len(values) - 1))
        for source, value in enumerate(values):
            rows += [(example, source, "si_snri", value), (example, source, "counted", 1.0)]
    table = pd.DataFrame(rows, columns=["example", "source", "metric", "value"])
    return table.assign(experiment=experiment, seed=seed)


def test_differences_are_taken_value_by_value_on_seeds_that_both_have():
    scores = pd.concat(
        [
            long_table("mixture", 0, {"a": [0.0, 0.0], "b": [0.0, 0.0]}),
            long_table("base", 0, {"a": [1.0, 2.0], "b": [3.0, 4.0], "one": [30.0]}),
            long_table("base", 1, {"a": [1.0, 1.0], "b": [1.0, 1.0, 1.0], "one": [30.0]}),
            long_table("new", 1, {"a": [2.0, 4.0], "b": [1.0, 1.0, 1.0], "one": [50.0]}),
            long_table("new", 2, {"a": [9.0, 9.0], "b": [9.0, 9.0], "one": [50.0]}),
            long_table("elsewhere", 5, {"a": [9.0, 9.0], "b": [9.0, 9.0]}),
        ]
    )
    gains = differences(scores, "base", 500)
    assert gains[["experiment", "aggregate", "seed", "n"]].to_numpy().tolist() == [
        ["new", "si_snr_i", "all", 2],
        ["new", "si_snr_i", "1", 2],
        ["new", "si_snri_all/2-4", "all", 5],
        ["new", "si_snri_all/2-4", "1", 5],
    ]
    # Mixtures a and b: 2 and 0. Pairs: (1 + 3 + 0 + 0 + 0) / 5.
    assert gains["mean"].tolist() == pytest.approx([1.0, 1.0, 0.8, 0.8])
    # Both are alone with their number of targets, so that each is drawn once.
    assert gains["lower"].tolist() == gains["mean"].tolist() == gains["upper"].tolist()
    assert differences(scores, "nothing", 10).empty


def test_published_differences_are_of_the_papers_metric_and_of_the_same_data():
    def line(experiment, value, **other):
        wanted = {"system": "x", "data": "FUSS", "metric": "A", "read_in": "a paper"}
        return Reported(experiment=experiment, values={"2-4": value}, **wanted | other)

    rows = [
        line("pit", 12.5), line("six", 13.0), line("ctx-all", 14.0, data="dry FUSS"),
        line("pit-six", 9.0, metric="B"), line(None, 1.0), line("ideal-ratio-mask", 25.0),
    ]  # fmt: skip
    assert published_differences(rows, "pit") == {"six": 0.5}
    assert published_differences(rows[1:], "pit") == {}
