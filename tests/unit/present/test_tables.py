import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from apit.config import ORACLES
from apit.layers import experiment_names, load_reported
from apit.measure.statistics import AGGREGATES
from apit.measure.verdicts import COLUMNS, TEXTS
from apit.models.complexity import complexities, total_steps
from apit.present import runs, tables
from apit.present.table import Best

REPOSITORY = Path(__file__).parents[3]


def test_captions_tell_which_experiments_have_fewer_seeds(tiny):
    def caption(seeds):
        records = [
            record(tiny(name, seed=s)) for name, count in seeds.items() for s in range(count)
        ]
        return tables.caption(records, "note")

    assert " 4 steps, 1 seed; trained" in caption({"pit": 1})
    assert ", 3 seeds; trained" in caption({"pit": 3, "ctx-stft-i0": 3})
    told = ", 3 seeds, but 2 of pit-long and 1 of ctx-stft-i0, inst-stft; trained"
    assert told in caption({"pit": 3, "ctx-stft-i0": 1, "inst-stft": 1, "pit-long": 2})


def test_captions_tell_forks_apart(tiny):
    names = ("pit", "fork-pit", "fork-ctx-stft-i3-m", "ctx-stft-i3-m")
    records = [record(tiny(name, seed=seed)) for name in names for seed in (0, 1)]
    told = (
        ", 2 seeds; forked from the end of pit, to whose steps theirs are added: fork-pit, "
        "fork-ctx-stft-i3-m; trained"
    )
    assert told in tables.caption(records, "note")
    del records[0]["run"]["start_from"]  # as in records of before
    assert "forked" not in tables.caption(records[:2], "note")


def record(run):
    """What of a run's record tables read."""
    return {
        "run": json.loads(run.model_dump_json()),
        "networks": {name: counts._asdict() for name, counts in complexities(run).items()},
        "sounds": "beeps (sha256 abc)",
        "commit": "0123456789",
        "steps": total_steps(run),
    }


@pytest.fixture
def made(tiny):
    """Records, and a summary whose means are 10, 11, … in the order of the experiments."""

    def make(*experiments):
        rows = [
            {
                "experiment": name,
                "aggregate": aggregate,
                "mean": 10.0 + number,
                "lower": 9.0 + number,
                "upper": 11.0 + number,
                "n": 7,
            }
            for number, name in enumerate(experiments)
            for aggregate in AGGREGATES
        ]
        known = {"mine": "ctx-stft-i1"}
        trained = [name for name in experiments if name not in ORACLES]
        return pd.DataFrame(rows), [record(tiny(known.get(name, name))) for name in trained]

    return make


def test_every_network_is_listed_once_for_all_experiments_and_seeds(made, tiny):
    _, records = made("pit", "ctx-stft-i3-m", "pit-ctx-all", "pit-long")
    records.append(record(tiny("ctx-stft-i3-m", seed=1)))
    table = runs.models(records, "caption")
    assert table.data[["network", "experiments"]].to_numpy().tolist() == [
        ["separator", "pit ctx-stft-i3-m pit-ctx-all pit-long"],
        ["ctx-stft-i3-m", "ctx-stft-i3-m pit-ctx-all"],
        ["ctx-wave-i3-m", "pit-ctx-all"],
        ["ctx-mask-i3-m", "pit-ctx-all"],
    ]  # and none of those that pit-long is to cost as much as
    separator, discriminator = (table.data.iloc[i] for i in (0, 1))
    assert separator["share"] == 1
    ratio = discriminator["multiply_accumulates"] / separator["multiply_accumulates"]
    assert discriminator["share"] == ratio
    records.append(record(tiny("inst-wave", "experiment.separator={architecture: tdcnpp}")))
    labels = [label for label, _ in runs.models(records, "caption").rows]
    assert labels[0] == "separator of pit, ctx-stft-i3-m, pit-ctx-all, pit-long"
    assert "separator of inst-wave" in labels


def test_one_table_in_three_forms(made, tmp_path):
    summary, _ = made("pit", "ctx-stft-i1")
    tables.ablations(summary, "100 % of a_b~c").write(tmp_path)
    assert len(pd.read_csv(tmp_path / "ablations.csv")) == 2 * len(tables.COLUMNS)
    markdown = (tmp_path / "ablations.md").read_text().splitlines()
    widths = {line.count("|") for line in markdown if line.startswith("|")}
    assert widths == {len(tables.COLUMNS) + 2}
    latex = (tmp_path / "ablations.tex").read_text()
    assert r"100 \% of a\_b\textasciitilde{}c" in latex
    body = latex.split(r"\midrule")[1].split(r"\bottomrule")[0]
    assert body.count(r"\\") == 2
    assert body.count(r"$\pm$") == 2 * len(tables.COLUMNS)


def test_the_best_of_those_that_were_trained_is_bold(made, tmp_path):
    summary, _ = made("pit", "ctx-stft-i0", "ctx-stft-i1")
    summary.loc[summary["experiment"] == "ctx-stft-i0", "mean"] = 11.999  # printed like the best
    better, *_ = made("pit")
    outside = [
        better.assign(experiment=name, mean=mean)
        for name, mean in (("mixture", 1.0), ("ideal-ratio-mask", 99.0))
    ]
    table = tables.ablations(pd.concat([outside[0], summary, outside[1]]), "caption")
    bold = {
        label: [title for title, cell in zip(table.titles[1:], cells, strict=True)
                if isinstance(cell, Best)]
        for label, cells in table.rows
    }  # fmt: skip
    higher = ["SI-SNR_S (dB)", "SI-SNR_I (dB)", "I(2) (dB)", "I(3) (dB)", "I(4) (dB)",
              "I(median) (dB)", "I(iqm) (dB)", "I(clipped) (dB)", "MSi(all) (dB)", "1S (dB)",
              "2 (dB)", "3 (dB)", "4 (dB)", "MSi (dB)", "equal (%)"]  # fmt: skip
    assert bold == {
        "mixture": [],
        "pit": ["buried (%)", "holes (%)", "missing (%)", "excess (%)"],
        "ctx-stft-i0": higher,
        "ctx-stft-i1": higher,
        "ideal-ratio-mask": [],
    }
    table.write(tmp_path)
    latex = (tmp_path / "ablations.tex").read_text().splitlines()
    (line,) = (line for line in latex if line.startswith("ctx-stft-i1"))
    assert line.count(r"\bfseries 12.0") == 14
    assert line.count(r"\bfseries 1200") == 1
    markdown = (tmp_path / "ablations.md").read_text()
    assert "| **12.00 ± 1.00** |" in markdown
    assert "| 99.0 ± " in markdown
    (_, alone), *_ = tables.ablations(summary[summary["experiment"] == "pit"], "caption").rows
    assert not any(isinstance(cell, Best) for cell in alone)


def test_verdicts_say_what_they_rest_on(tmp_path):
    empty = dict.fromkeys(TEXTS, "") | {"verdict": "undecided", "looks": 1}
    judged = {
        "experiment": "pit-six", "baseline": "pit", "seeds": "3", "test": "superior", "look": 1,
    }  # fmt: skip
    rows = [
        {"claim": "better", "test": "claim", "verdict": "reproduced", "note": "all"},
        judged | {"claim": "better", "of": "wave", "measure": "hole_rate", "mean": -0.02,
                  "lower": -0.03, "upper": -0.01, "p_holm": 0.016, "detectable": 0.015,
                  "seeds_needed": 7.0, "improved": 0.6, "improved_lower": 0.5,
                  "improved_upper": 0.7, "verdict": "reproduced"},
        judged | {"claim": "more", "measure": "si_snr_i", "note": "pit-six not run",
                  "seeds_needed": np.inf},
        {"claim": "deviation", "measure": "si_snri_all/2-4", "mean": 0.3, "verdict": ""},
    ]  # fmt: skip
    decisions = pd.DataFrame([empty | row for row in rows], columns=COLUMNS)
    table = tables.verdicts(decisions, "caption")
    (claim, whole), (part, holes), (_, more), (_, noise) = table.rows
    assert (claim, part) == ("better", "– wave")
    assert whole[0] == whole[2] == ""
    assert whole[-1] == "reproduced: all"
    assert holes == [
        "pit-six − pit", "holes", "3", "−2.0 points [−3.0, −1.0]", "0.016", "1.5 points", "7",
        "60 [50, 70]", "reproduced",
    ]  # fmt: skip
    assert more[3:] == ["–", "–", "–", "no number", "–", "undecided: pit-six not run"]
    assert noise[3] == "0.30 dB"
    assert noise[-1] == "–"
    assert "One look" in table.caption
    table.write(tmp_path)
    assert "reproduced" in (tmp_path / "verdicts.tex").read_text()
    twice = tables.verdicts(decisions.assign(looks=2), "caption")
    assert "97.5 %" in twice.caption
    assert twice.rows[1][1][2] == "3 (look 1)"


def test_published_numbers_stand_above_ours_with_data_and_metric(made):
    summary, records = made("pit")
    table = tables.published(summary, records, load_reported(), "caption")
    *published, (first, of_paper), (second, of_evaluator) = table.rows
    assert len(published) == len(load_reported())
    for _, cells in published:
        assert all(cells[-3:])
    metrics = {cells[-2] for _, cells in published}
    assert metrics == {
        "A", "B", "B, low-energy pairs left out", "standard SI-SNR", "zero-mean SI-SDR",
    }  # fmt: skip
    assert first == second == "pit"
    assert of_paper[-3:] == ["beeps", "A", "ours"]
    assert of_evaluator[-3:] == ["beeps", "B", "ours"]
    records[0]["sounds"] = "recordings of beeps 1.0, boops 2.0"
    *_, (_, ours) = tables.published(summary, records, load_reported(), "caption").rows
    assert ours[-3] == "recordings (scale tiny)"
    assert ours[0] == "10.0 ± 1.0"
    assert table.data[table.data["read_in"] != "ours"]["lower"].isna().all()


def test_each_metric_takes_its_own_aggregates(made):
    summary, records = made("pit")
    evaluator = summary["aggregate"].isin(tables.PUBLISHED_COLUMNS["B"].values())
    summary.loc[evaluator, "mean"] = 3.0
    data = tables.published(summary, records, [], "caption").data
    assert {metric: set(own["mean"]) for metric, own in data.groupby("metric")} == {
        "A": {10.0},
        "B": {3.0},
    }


def test_what_stands_for_a_published_number_is_an_experiment_or_an_oracle():
    known = {*experiment_names(), *ORACLES, None}
    assert {line.experiment for line in load_reported()} <= known


@pytest.mark.parametrize("value", [23.744998, 23.745003, -0.1234565, 12345.678])
def test_a_number_is_printed_as_that_of_its_csv_is(value):
    column = tables.COLUMNS["si_snr_i"]
    row = {"mean": value, "lower": value - 1.005, "upper": value + 0.0000013, "n": 3}
    of_csv = {key: float(f"{number:.6g}") for key, number in row.items()}
    assert column.cell(row) == column.cell(of_csv)
    assert column.bounds(row) == column.bounds(of_csv)


def test_what_was_not_measured_is_a_dash(made):
    summary, _ = made("pit")
    without = summary[~summary["aggregate"].str.contains("sdr|isr|sir|sar")]
    table = tables.bss_eval(without, 40, "caption")
    assert "first 40 evaluation mixtures" in table.caption
    ((_, cells),) = table.rows
    assert cells == ["–"] * 8 + ["10.00 ± 1.00"]


def test_the_table_of_holes_tells_how_they_go_with_separation(made):
    summary, _ = made("pit")
    table = tables.holes(summary, {"pit": -0.254, "mixture": float("nan")}, "caption")
    assert table.titles == ["experiment", "holes (%)", "missing (%)", "excess (%)"]
    assert "(missing from less than half): pit −0.25." in table.caption
    assert table.data["rank_correlation"].tolist() == [-0.254] * 3
    assert "not known." in tables.holes(summary, {}, "caption").caption


def test_trials_of_rate_and_batch_show_the_best_and_what_runs_have(tiny):
    grid = {"training.learning_rate": (1e-4, 1e-3), "adversary.*.learning_rate": (1e-3, 3e-3)}

    def trial(experiment, rate, critics, value):
        settings = (
            f"training.learning_rate={rate}",
            *(f"adversary.{domain}.learning_rate={critics}" for domain in ("wave", "stft", "mask")),
        )
        run = tiny(experiment, *settings, "training.steps=2", seed=100)
        return record(run) | {"validation": {"si_snri_all": value}}

    trials = [
        trial("pit", 1e-3, 1e-3, 3.0),  # nothing of its critics, as it has none
        trial("pit", 1e-4, 1e-3, 4.125),
        trial("six", 1e-3, 1e-3, 2.5),
        trial("six", 1e-4, 3e-3, 2.25),
    ]
    ran = [
        record(tiny("pit", "training.learning_rate=1e-4")),
        record(tiny("six", "adversary.wave.learning_rate=1e-2")),
    ]
    table = runs.tuning(trials, ran, grid, "caption")
    points = ["0.0001 × 0.001", "0.0001 × 0.003", "0.001 × 0.001", "0.001 × 0.003"]
    assert table.titles == ["experiment", *points, "the runs' own"]
    rate = ran[1]["run"]["training"]["learning_rate"]
    assert table.rows == [
        ("pit", ["4.12", "4.12", "3.00", "3.00", "0.0001 × –"]),
        ("six", ["–", "2.25", "2.50", "–", f"{rate:g} × –"]),  # several rates
    ]
    assert [isinstance(cell, Best) for _, cells in table.rows for cell in cells] == [
        *(True, True, False, False, False), *(False, False, True, False, False),
    ]  # fmt: skip
    assert table.data["adversary.*.learning_rate"].isna().tolist() == [True, True, False, False]
    assert set(table.data["steps"]) == {2}
    assert "2 steps" in table.caption


def test_the_cost_of_a_step_is_as_it_was_timed():
    timed = pd.DataFrame(
        {
            "experiment": ["pit", "ctx-stft-i0"],
            "step_ms": [250.0, 312.5],
            "relative": [1.0, 1.25],
            "parameters_m": [0.3234, 0.3301],
            "gmac": [1.204, 1.24],
            "hours": [0.208, 0.26],
            "device": "Z80",
            "threads": 1,
            "rounds": 9,
        }
    )
    table = runs.cost(timed, "caption")
    assert table.titles[1:3] == ["a step (ms)", "relative (×)"]
    assert table.rows == [
        ("pit", ["250", "1.00", "1.20", "0.323", "0.21"]),
        ("ctx-stft-i0", ["312", "1.25", "1.24", "0.330", "0.26"]),
    ]
    assert "medians of 9 rounds" in table.caption
    assert "on Z80, 1 thread;" in table.caption
