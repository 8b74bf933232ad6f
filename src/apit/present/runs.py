"""Tables of the runs themselves: what they cost, and how their rate and batch were chosen."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from apit.present.table import Best, Cell, Column, Table, plain_cells
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
    trials: Sequence[Mapping[str, Any]], records: Sequence[Mapping[str, Any]], caption: str
) -> Table:
    """Trials of rate × batch: a row for each experiment, a column for each pair of them.

    `records` are those of the runs, which say what was chosen. Columns of the data: experiment,
    learning_rate, batch_size, si_snri_all (dB, best of the trial on validation), steps, seed,
    chosen.
    """
    chosen = {record["run"]["experiment"]: _tried(record) for record in records}
    data = pd.DataFrame(
        {
            "experiment": trial["run"]["experiment"],
            "learning_rate": trial["run"]["training"]["learning_rate"],
            "batch_size": trial["run"]["training"]["batch_size"],
            "si_snri_all": trial["validation"]["si_snri_all"],
            "steps": trial["run"]["training"]["steps"],
            "seed": trial["run"]["seed"],
            "chosen": chosen.get(trial["run"]["experiment"]) == _tried(trial),
        }
        for trial in trials
    )
    pairs = sorted({_tried(trial) for trial in trials})
    column = COLUMNS["si_snri_all/2-4"]
    rows: list[tuple[str, list[Cell]]] = []
    for experiment, own in data.groupby("experiment", sort=False):
        values = own.set_index(["learning_rate", "batch_size"])["si_snri_all"]
        cells: list[Cell] = [
            Best(shown) if values.get(pair) == values.max() else shown
            for pair in pairs
            for shown in [(column.number(values.get(pair)),)]
        ]
        of_runs = chosen.get(str(experiment))
        rows.append((str(experiment), [*cells, (_named(*of_runs) if of_runs else "–",)]))
    steps = ", ".join(map(str, sorted(data["steps"].unique())))
    return Table(
        "tuning",
        ["experiment", *(_named(*pair) for pair in pairs), "of the runs"],
        rows,
        f"{caption} {column.title} in {column.unit} on the validation split by learning rate × "
        f"batch, the best of each trial of {steps} steps with one seed, which is none of the "
        "runs'. The evaluation split took no part. Bold: the best of an experiment.",
        data,
    )


def _tried(record: Mapping[str, Any]) -> tuple[float, int]:
    training = record["run"]["training"]
    return training["learning_rate"], training["batch_size"]


def _named(learning_rate: float, batch_size: int) -> str:
    return f"{learning_rate:g} × {batch_size}"


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
