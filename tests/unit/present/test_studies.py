import json

import pandas as pd
import pytest

from apit.config import ORACLES, Reported
from apit.layers import load_reported
from apit.measure.statistics import AGGREGATES
from apit.present import studies
from apit.present.table import Best


@pytest.fixture
def made(tiny):
    """Records, and a summary whose means are 10, 11, … in the order of the experiments."""

    def make(*experiments, **settings):
        rows = [
            (name, aggregate, 10.0 + n, 9.0 + n, 11.0 + n, 7)
            for n, name in enumerate(experiments)
            for aggregate in AGGREGATES
        ]
        columns = ["experiment", "aggregate", "mean", "lower", "upper", "n"]
        runs = [tiny(name, *settings.get(name.replace("-", "_"), ()))
                for name in experiments if name not in ORACLES]  # fmt: skip
        records = [{"run": json.loads(run.model_dump_json())} for run in runs]
        return pd.DataFrame(rows, columns=columns), records

    return make


def numbers(table):
    return {label: [cell.split(" ±")[0] for cell in cells] for label, cells in table.rows}


def test_contexts_are_domain_by_replaced_estimates_without_and_with_the_mixture(made):
    given = ("mixture", "pit", "ctx-wave-i3-m", "ctx-stft-i0", "ctx-stft-i0-m", "inst-mask", "six",
             "pit-ctx-mask-i0", "mixture-in-one-slot", "ideal-ratio-mask")  # fmt: skip
    table = studies.contexts(*made(*given), "caption")
    assert table.titles[1:5] == [
        "SI-SNR_S, m unseen (dB)", "SI-SNR_S, m seen (dB)",
        "SI-SNR_I, m unseen (dB)", "SI-SNR_I, m seen (dB)",
    ]  # fmt: skip
    shown = numbers(table)
    assert list(shown)[:5] == [*(f"wave, I = {i}" for i in range(4)), "stft, I = 0"]
    assert list(shown)[12:] == ["mixture", "mixture-in-one-slot", "ideal-ratio-mask"]
    assert shown["wave, I = 3"] == ["–", "12.0", "–", "12.00", "–", "12.00"]
    assert shown["stft, I = 0"] == ["13.0", "14.0", "13.00", "14.00", "13.00", "14.00"]
    assert set(shown["mask, I = 0"]) == {"–"}
    assert shown["ideal-ratio-mask"][2:4] == ["19.00", "–"]
    rows = table.data[table.data["aggregate"] == "si_snr_i"]
    assert rows[["domain", "mixture", "experiment", "mean"]].to_numpy().tolist() == [
        ["wave", True, "ctx-wave-i3-m", 12.0],
        ["stft", False, "ctx-stft-i0", 13.0],
        ["stft", True, "ctx-stft-i0-m", 14.0],
        ["", False, "mixture", 10.0],
        ["", False, "mixture-in-one-slot", 18.0],
        ["", False, "ideal-ratio-mask", 19.0],
    ]
    assert rows["replace"].tolist()[:3] == [3, 0, 0]
    bold = [label for label, cells in table.rows if any(isinstance(c, Best) for c in cells)]
    assert bold == ["stft, I = 0"]  # of those that were trained


def test_columns_that_would_have_nothing_but_bounds_are_left_out(made):
    summary, records = made("mixture", "ctx-wave-i3-m")
    table = studies.contexts(summary, records, "caption")
    assert table.titles[1:3] == ["SI-SNR_S, m seen (dB)", "SI-SNR_I, m seen (dB)"]
    assert numbers(table)["wave, I = 3"] == ["11.0", "11.00", "11.00"]
    assert numbers(table)["mixture"] == ["10.0", "10.00", "10.00"]
    assert not table.data["mixture"].all()  # the CSV says what is a bound
    beside = studies.combinations(summary, records, load_reported(), "caption")
    assert beside.titles[1:] == [
        *("SI-SNR_S, alone (dB)", "SI-SNR_I, alone (dB)", "MSi(all), alone (dB)"),
        "published SI-SNR_I, alone (dB)",
    ]
    assert numbers(beside)["mixture"] == ["10.0", "10.00", "10.00", "–"]


def test_of_two_experiments_alike_the_first_stands_among_the_contexts(made):
    summary, records = made("pit", "ctx-stft-i1", "ctx-stft-i2")
    records[2]["run"] = records[1]["run"] | {"experiment": "mine"}
    assert set(studies.contexts(summary, records, "caption").data["experiment"]) == {"ctx-stft-i1"}


@pytest.mark.parametrize(
    "setting",
    [
        "experiment.separator={architecture: tdcnpp}",
        "experiment.adversary={stft: {floor_db: -60}}",
        "experiment.reconstruction=si_snr",
        "experiment.discriminators=[{kind: context, domain: stft, replace: 1, weight: 2}]",
        "experiment.discriminators=[{kind: context, domain: stft, replace: 1, frozen: true}]",
    ],
)
def test_what_differs_in_more_is_no_context_and_stands_by_its_name_elsewhere(made, setting):
    given = made("pit", "ctx-wave-i0", "six", "ctx-stft-i1", ctx_stft_i1=[setting])
    table = studies.contexts(*given, "caption")
    assert set(table.data["experiment"]) == {"ctx-wave-i0"}
    shown = numbers(studies.combinations(*given, [], "caption"))
    assert list(shown) == ["none", "inst-all + ctx-all-i3-m", "ctx-stft-i1"]
    assert "13.00" in shown["ctx-stft-i1"]


def test_combinations_have_the_same_discriminators_without_and_with_pit_side_by_side(made):
    given = ("mixture", "pit", "pit-tdcnpp", "ctx-wave-i0", "ctx-wave-i3-m", "ctx-mask-i0",
             "inst-stft", "both-stft", "ctx-all", "six", "pit-ctx-all", "pit-six",
             "pit-ctx-mask-i0", "pit-long", "pit-random", "fork-ctx-stft-i3-m",
             "fork-pit-six")  # fmt: skip
    table = studies.combinations(*made(*given), [], "caption")
    shown = {label: cells[2:4] for label, cells in numbers(table).items()}  # SI-SNR_I
    assert shown == {
        "none": ["–", "11.00"],
        "ctx-wave-i3-m": ["14.00", "–"],
        "ctx-mask-i0": ["15.00", "22.00"],
        "inst-stft": ["16.00", "–"],
        "inst-stft + ctx-stft-i3-m": ["17.00", "–"],
        "ctx-all-i3-m": ["18.00", "20.00"],
        "inst-all + ctx-all-i3-m": ["19.00", "21.00"],
        "pit-tdcnpp": ["–", "12.00"],
        "pit-long": ["–", "23.00"],
        "pit-random": ["–", "24.00"],
        "fork-ctx-stft-i3-m": ["25.00", "–"],
        "fork-pit-six": ["–", "26.00"],
        "mixture": ["10.00", "–"],
    }
    assert len(table.titles) == 7
    rows = table.data[table.data["aggregate"] == "si_snr_i"]
    of_six = rows[rows["discriminators"] == "inst-all + ctx-all-i3-m"]
    assert of_six[["pit", "experiment"]].to_numpy().tolist() == [
        [False, "six"],
        [True, "pit-six"],
    ]
    assert rows["published"].isna().all()


def test_published_numbers_stand_beside_ours_only_of_the_papers_metric(made):
    given = made("pit", "pit-tdcnpp", "six", "pit-six", "ideal-ratio-mask")
    other = Reported(
        system="x", experiment="six", values={"2-4": 99.0}, data="d", metric="B", read_in="r"
    )
    table = studies.combinations(*given, [*load_reported(), other], "caption")
    assert table.titles[-2:] == [
        "published SI-SNR_I, alone (dB)", "published SI-SNR_I, with L_PIT (dB)",
    ]  # fmt: skip
    assert {label: cells[-2:] for label, cells in numbers(table).items()} == {
        "none": ["–", "12.4"],
        "inst-all + ctx-all-i3-m": ["12.9", "13.8"],
        "pit-tdcnpp": ["–", "12.8"],
        "ideal-ratio-mask": ["25.3", "–"],
    }
    printed = table.data.dropna(subset="published")
    assert printed[["experiment", "aggregate", "published"]].to_numpy().tolist() == [
        ["pit", "si_snr_i", 12.4],
        ["six", "si_snr_i", 12.9],
        ["pit-six", "si_snr_i", 13.8],
        ["pit-tdcnpp", "si_snr_i", 12.8],
        ["ideal-ratio-mask", "si_snr_s", 39.9],
        ["ideal-ratio-mask", "si_snr_i", 25.3],
    ]
