"""Tables of the runs themselves: what they cost, and what was tried for them."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import pandas as pd

from apit.present.table import Best, Column, Table, plain_cells
from apit.present.tables import COLUMNS

MODEL_COLUMNS = {
    "parameters": Column("parameters", "M", 3, 1e-6),
    "multiply_accumulates": Column("MMAC/s", "M", 2, 1e-6),
    "share": Column("of the separator's", "%", 1, 100),
}
COUNTED = ("parameters", "multiply_accumulates")
COST_COLUMNS = {
    "step_ms": Column("a step", "ms", 0),
    "relative": Column("relative", "×", 2),
    "gmac": Column("multiply-accumulates", "G", 2),
    "parameters_m": Column("parameters", "M", 3),
    "hours": Column("a run", "h", 2),
}


def models(records: Sequence[Mapping[str, Any]], caption: str) -> Table:
    """Size and cost of every network, once for all experiments that have it.

    Columns of the data: network, parameters, multiply_accumulates (per second of sound), share (of
    the separator's), experiments.
    """
    data = pd.DataFrame(
        {
            "network": name,
            **{key: counts[key] for key in COUNTED},
            "share": counts[COUNTED[1]] / record["networks"]["separator"][COUNTED[1]],
            "experiments": experiment,
        }
        for experiment, record in {r["run"]["experiment"]: r for r in records}.items()
        for name, counts in record["networks"].items()
    )
    data = data.groupby([*data.columns[:-1]], sort=False, as_index=False).agg(" ".join)
    alike = data["network"].value_counts()
    return Table(
        "models",
        ["network", "parameters (M)", "MMAC/s", "of the separator's (%)"],
        [
            (
                name if alike[name] == 1 else f"{name} of {row['experiments'].replace(' ', ', ')}",
                plain_cells(row, MODEL_COLUMNS),
            )
            for row in data.to_dict("records")
            for name in [row["network"]]
        ],
        f"{caption} MMAC/s: millions of multiply-accumulates of one forward pass per second of "
        "sound, without Fourier transforms.",
        data,
    )


def tuning(
    trials: Sequence[Mapping[str, Any]],
    records: Sequence[Mapping[str, Any]],
    grid: Mapping[str, Sequence[float]],
    caption: str,
) -> Table:
    """Trials of a grid: a row for each experiment, a column for each of its points.

    `records` are those of the runs, which say what they have. Columns of the data: experiment, the
    grid's keys (those of the adversary empty where there is none), si_snri_all (dB, best of the
    trial on validation), steps, seed.
    """
    data = pd.DataFrame(
        {
            "experiment": trial["run"]["experiment"],
            **{key: _set_to(trial["run"], key) for key in grid},
            "si_snri_all": trial["validation"]["si_snri_all"],
            "steps": trial["run"]["training"]["steps"],
            "seed": trial["run"]["seed"],
        }
        for trial in trials
    )
    points = list(product(*grid.values()))
    column = COLUMNS["si_snri_all/2-4"]
    rows: list[tuple[str, list[str]]] = []
    for experiment, own in data.groupby("experiment", sort=False):
        cells: list[str] = []
        for point in points:
            value = own.loc[_alike(own, grid, point), "si_snri_all"].max()  # NaN of none
            shown = column.number(value)
            cells.append(Best(shown) if value == own["si_snri_all"].max() else shown)
        run = next((r["run"] for r in records if r["run"]["experiment"] == experiment), None)
        of_run = _named([_set_to(run, key) for key in grid]) if run else "–"
        rows.append((str(experiment), [*cells, of_run]))
    steps = ", ".join(map(str, sorted(data["steps"].unique())))
    return Table(
        "tuning",
        ["experiment", *map(_named, points), "the runs' own"],
        rows,
        f"{caption} {column.title} in {column.unit} on the validation split by "
        f"{' × '.join(f'`{key}`' for key in grid)}, the best of each trial of {steps} steps with "
        "one seed, which is none of the runs'. The evaluation split took no part. Bold: the best "
        "of an experiment.",
        data,
    )


def _set_to(run: Mapping[str, Any], key: str) -> float | None:
    """What a run has for a key of the grid, in all of its domains; None where it has no such."""
    part, *path = key.split(".")
    values: list[Any] = [run[part]] if run[part] else []
    for name in path:
        domains = {one["domain"] for one in run["discriminators"]} if name == "*" else {name}
        values = [value[domain] for value in values for domain in sorted(domains)]
    return values[0] if len({*values}) == 1 else None


def _alike(
    trials: pd.DataFrame, grid: Mapping[str, Any], point: Sequence[float]
) -> "pd.Series[bool]":
    """Which trials are of a point; one without discriminators is of every adversary's."""
    own = trials[[*grid]]
    return (own.isna() | (own == [*point])).all(axis=1)


def _named(point: Sequence[float | None]) -> str:
    return " × ".join("–" if value is None else f"{value:g}" for value in point)


def cost(timed: pd.DataFrame, caption: str) -> Table:
    """What a step of each experiment takes, as `apit bench` timed them in one process."""
    (where,) = timed[["device", "threads", "rounds"]].drop_duplicates().to_dict("records")
    threads = f"{where['threads']} thread{'s' if where['threads'] > 1 else ''}"
    return Table(
        "cost",
        ["experiment", *(column.heading for column in COST_COLUMNS.values())],
        [(row["experiment"], plain_cells(row, COST_COLUMNS)) for row in timed.to_dict("records")],
        f"{caption} Time of a training step, and relative to that of {timed['experiment'][0]}: "
        f"medians of {where['rounds']} rounds, in which all took turns in one process on "
        f"{where['device']}, {threads}; multiply-accumulates of a step, parameters of all its "
        "networks, and hours of a run's steps, without validation.",
        timed,
    )
