import pandas as pd
import pytest

from apit.measure.spread import spreads


def test_mixtures_of_several_targets_are_averaged_each_and_seeds_are_pooled():
    rows = [
        (experiment, seed, example, source, metric, value)
        for experiment, seed, improvements in (
            ("pit", 0, {"a": [1.0, 3.0], "b": [6.0, 6.0, 0.0], "one": [30.0]}),
            ("pit", 1, {"a": [-10.0, 0.0]}),
            ("alone", 0, {"one": [30.0]}),
        )
        for example, values in improvements.items()
        for source, metric, value in (
            (-1, "active_targets", float(len(values))),
            *((source, "si_snri", value) for source, value in enumerate(values)),
        )
    ]
    columns = ["experiment", "seed", "example", "source", "metric", "value"]
    found = spreads(pd.DataFrame(rows, columns=columns))
    assert list(found) == ["pit"]
    assert found["pit"].values.tolist() == [2.0, 4.0, -5.0]
    quartiles = found["pit"].lower, found["pit"].median, found["pit"].upper
    assert quartiles == pytest.approx((-1.5, 2.0, 3.0))
