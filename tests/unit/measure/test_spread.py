import pandas as pd
import pytest

from apit.measure.spread import spreads


def test_mixtures_of_several_targets_are_taken_and_seeds_are_pooled():
    rows = [
        (experiment, seed, example, -1, metric, value)
        for experiment, seed, improvements in (
            ("pit", 0, {"a": (2, 2.0), "b": (3, 4.0), "one": (1, None)}),
            ("pit", 1, {"a": (2, -5.0)}),
            ("alone", 0, {"one": (1, None)}),
        )
        for example, (targets, improvement) in improvements.items()
        for metric, value in (
            ("active_targets", float(targets)),
            *((("si_snr_i", improvement),) if improvement is not None else ()),
        )
    ]
    columns = ["experiment", "seed", "example", "source", "metric", "value"]
    by_experiment = spreads(pd.DataFrame(rows, columns=columns))
    assert list(by_experiment) == ["pit"]
    assert by_experiment["pit"].values.tolist() == [2.0, 4.0, -5.0]
    quartiles = by_experiment["pit"].lower, by_experiment["pit"].median, by_experiment["pit"].upper
    assert quartiles == pytest.approx((-1.5, 2.0, 3.0))
