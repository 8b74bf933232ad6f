"""Tables of the runs themselves: what they cost, and how their λ was chosen."""

from collections.abc import Mapping, Sequence
from math import nan
from typing import Any

import pandas as pd

from apit.present.table import Best, Cell, Column, Table, number
from apit.present.tables import COLUMNS

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
    found: dict[tuple[str, int, int, float], list[str]] = {}
    for record in {r["run"]["experiment"]: r for r in records}.values():
        networks = record["networks"]
        for name, counts in networks.items():
            weights, macs = counts["parameters"], counts["multiply_accumulates"]
            share = macs / networks["separator"]["multiply_accumulates"]
            found.setdefault((name, weights, macs, share), []).append(record["run"]["experiment"])
    names = [name for name, *_ in found]
    rows: list[tuple[str, list[Cell]]] = [
        (
            name if names.count(name) == 1 else f"{name} of {', '.join(experiments)}",
            [(f"{weights / 1e6:.3f}",), (f"{macs / 1e6:.2f}",), (f"{100 * share:.1f}",)],
        )
        for (name, weights, macs, share), experiments in found.items()
    ]
    return Table(
        "models",
        ["network", "parameters (M)", "MMAC/s", "of the separator's (%)"],
        rows,
        f"{caption} MMAC/s: millions of multiply-accumulates of one forward pass per second of "
        "sound, without Fourier transforms.",
        pd.DataFrame(
            [(*counted, " ".join(experiments)) for counted, experiments in found.items()],
            columns=["network", "parameters", "multiply_accumulates", "share", "experiments"],
        ),
    )


def tuning(trials: Sequence[Mapping[str, Any]], tuned: Mapping[str, float], caption: str) -> Table:
    """Trials of λ: a row for each experiment, a column for each λ.

    `tuned` has the λ of the runs. Columns of the data: experiment, weight, si_snri_all (dB, best of
    the trial on validation), steps, seed, chosen.
    """
    data = pd.DataFrame(
        {
            "experiment": trial["run"]["experiment"],
            "weight": trial["run"]["adversary"]["weight"],
            "si_snri_all": trial["validation"]["si_snri_all"],
            "steps": trial["run"]["training"]["steps"],
            "seed": trial["run"]["seed"],
        }
        for trial in trials
    )
    data["chosen"] = data["weight"] == data["experiment"].map(tuned)
    weights = sorted(data["weight"].unique())
    column = COLUMNS["si_snri_all/2-4"]
    rows: list[tuple[str, list[Cell]]] = []
    for experiment, own in data.groupby("experiment", sort=False):
        by_weight = own.set_index("weight")["si_snri_all"]
        shown = [(number(by_weight.get(weight, nan), column),) for weight in weights]
        best_ones = [by_weight.get(weight) == by_weight.max() for weight in weights]
        cells = [Best(c) if is_best else c for c, is_best in zip(shown, best_ones, strict=True)]
        rows.append((str(experiment), [*cells, (f"{tuned[str(experiment)]:g}",)]))
    steps = ", ".join(map(str, sorted(data["steps"].unique())))
    return Table(
        "tuning",
        ["experiment", *(f"λ = {weight:g}" for weight in weights), "λ of the runs"],
        rows,
        f"{caption} {column.title} in {column.unit} on the validation split, the best of each "
        f"trial of {steps} steps with one seed, which is none of the runs'. The evaluation split "
        "took no part. Bold: the best λ of an experiment.",
        data,
    )


def cost(timed: pd.DataFrame, caption: str) -> Table:
    """What a step of each experiment takes, as `apit bench` timed them in one process."""
    (where,) = timed[["device", "threads", "rounds"]].drop_duplicates().to_dict("records")
    threads = f"{where['threads']} thread{'s' if where['threads'] > 1 else ''}"
    return Table(
        "cost",
        ["experiment", *(f"{c.title} ({c.unit})" for c in COST_COLUMNS.values())],
        [
            (str(row["experiment"]), [(number(row[k], c),) for k, c in COST_COLUMNS.items()])
            for row in timed.to_dict("records")
        ],
        f"{caption} Time of a training step, and relative to that of {timed['experiment'][0]}: "
        f"medians of {where['rounds']} rounds, in which all took turns in one process on "
        f"{where['device']}, {threads}; multiply-accumulates of a step, parameters of all its "
        "networks, and hours of a run's steps, without validation.",
        timed,
    )
