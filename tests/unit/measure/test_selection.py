import pandas as pd
import pytest

from apit.errors import UserError
from apit.measure.selection import Contrast, Label, contrast, select

PIT, BEST = Label("pit", 0), Label("ctx-stft-i3-m", 0)
BOTH = Contrast(BEST, PIT, "one less the other")
# example → SI-SNRi of its targets under pit, and under the other
VALUES = {
    "a": ([40.0], [10.0]),  # one target: its difference of −30 dB is no worst
    "b": ([1.0, 3.0], [2.0, 4.0]),  # +1
    "c": ([5.0, 5.0, 5.0], [5.0, 2.0, 14.0]),  # +2
    "d": ([0.0, 2.0], [-3.0, 0.0]),  # −2.5
    "e": ([0.0, 0.0], [0.5, 1.0]),  # +0.75
    "f": ([1.0, 2.0], [0.0, 3.0]),  # 0
}


def table(values):
    rows = []
    for number, label in enumerate((PIT, BEST)):
        for example, both in values.items():
            own = both[number]
            rows.append((*label, example, -1, "active_targets", len(own)))
            for source, value in enumerate(own):
                rows.append((*label, example, source, "si_snri", value))
                rows.append((*label, example, source, "si_snr", -value))
    columns = ["experiment", "seed", "example", "source", "metric", "value"]
    return pd.DataFrame(rows, columns=columns)


def test_best_median_and_worst_are_those_of_the_differences_and_the_first_follow():
    selection = select(table(VALUES), BOTH)
    assert [(c.example, c.reasons, c.value) for c in selection.chosen] == [
        ("c", ("best", "no. 3 of the split"), 2.0),
        ("e", ("median",), 0.75),
        ("d", ("worst",), -2.5),
        ("a", ("no. 1 of the split",), None),
        ("b", ("no. 2 of the split",), 1.0),
    ]
    assert "two or more active targets (5)" in selection.rule
    assert "silence counts as −80 dB" in selection.rule
    assert "one less the other" in selection.rule


def test_of_an_even_number_the_median_is_the_higher_of_the_two_in_the_middle():
    without = {name: both for name, both in VALUES.items() if name != "f"}
    chosen = {reason: c for c in select(table(without), BOTH).chosen for reason in c.reasons}
    assert chosen["median"].example == "b"  # of +2, +1, +0.75, −2.5


def test_a_run_alone_is_its_own_measure():
    selection = select(table(VALUES), Contrast(PIT, None, "pit's"), first=0)
    assert [(c.example, c.value) for c in selection.chosen] == [("c", 5.0), ("f", 1.5), ("e", 0.0)]


def test_no_mixture_is_chosen_twice():
    selection = select(table({"c": VALUES["c"]}), BOTH)
    assert [c.reasons for c in selection.chosen] == [
        ("best", "median", "worst", "no. 1 of the split")
    ]


def test_mixtures_with_one_target_are_chosen_by_their_place_alone():
    selection = select(table({"a": VALUES["a"]}), BOTH)
    assert [(c.reasons, c.value) for c in selection.chosen] == [(("no. 1 of the split",), None)]


def test_scores_of_other_mixtures_or_of_no_run_are_refused():
    scores = table(VALUES)
    fewer = scores[(scores["experiment"] == "pit") | (scores["example"] != "f")]
    with pytest.raises(UserError, match=r"ctx-stft-i3-m-s0 and pit-s0: .* of different mixtures"):
        select(fewer, BOTH)
    with pytest.raises(UserError, match="pit-s1: is not in the scores"):
        select(scores, Contrast(Label("pit", 1), None, ""))


def record(experiment, validation, seed=0):
    frozen = experiment == "pit-random"
    discriminators = [] if experiment == "pit" else [{"frozen": frozen}]
    run = {"experiment": experiment, "seed": seed, "discriminators": discriminators}
    return {"run": run, "validation": {"si_snri_all": validation}}


def test_the_contrast_is_the_best_adversarial_run_on_validation_less_the_first_baseline(tmp_path):
    runs = {
        tmp_path / str(number): record
        for number, record in enumerate(
            [record("ctx-stft-i0", 3.0), record("pit", 9.0, 1), record("ctx-wave-i0", 4.0),
             record("pit", 9.5, 2), record("pit-random", 8.0)]
        )
    }  # fmt: skip
    chosen = contrast(runs, "pit")
    assert (chosen.run, chosen.baseline) == (Label("ctx-wave-i0", 0), Label("pit", 1))
    assert chosen.words.endswith("less that of pit-s1")
    plain = contrast({tmp_path: record("pit", 1.0)}, "pit")
    assert (plain.run, plain.baseline) == (Label("pit", 0), None)
    assert "no adversarial run" in plain.words
    alone = contrast({tmp_path: record("ctx-wave-i0", 1.0)}, "pit")
    assert (alone.run, alone.baseline) == (Label("ctx-wave-i0", 0), None)
    assert "no run of pit" in alone.words
