"""The paper's two studies as tables: one context-based discriminator, and combinations of several.

Both set the experiments that most runs are like side by side; what differs in more is no cell.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

import pandas as pd

from apit.config import Discriminator, Domain, Reported, Run
from apit.present.table import Cell, Table
from apit.present.tables import (
    AS_PRINTED,
    BOLD,
    COLUMNS,
    INTERVALS,
    PUBLISHED_COLUMNS,
    by_experiment,
    cells_of,
)

STUDIED = {key: COLUMNS[key] for key in ("si_snr_s", "si_snr_i", "si_snri_all/2-4")}
BOUNDS = ("mixture", "mixture-in-one-slot", "ideal-ratio-mask")
DATA = ["experiment", "aggregate", "mean", "lower", "upper", "n"]
LEGEND = (
    "SI-SNR_S, of mixtures of one source, and SI-SNR_I, the improvement of two to four: the "
    "paper's SI-SNR, under which silence has 0 dB; MSi(all): the FUSS evaluator's, where it has "
    "−80 dB."
)
PRINTED = "Published numbers are of the same data and metric. "

Pair = list[str | None]  # experiments, of which each measure has one beside the other


def contexts(summary: pd.DataFrame, records: Sequence[Mapping[str, Any]], caption: str) -> Table:
    """One context-based discriminator alone: domain by I, without and with the mixture.

    Columns of the data: domain, replace, mixture (whether it is seen), experiment, aggregate, mean,
    lower, upper, n. Domain and replace of the bounds are empty.
    """
    runs = _runs(records)
    names = {
        (judge.domain, judge.replace, judge.condition_on_mixture): run.experiment
        for run in reversed(runs)  # of two alike, the first that is listed
        if (judge := _context_alone(run, runs)) is not None
    }
    study = _Study(summary, [*names.values(), *BOUNDS])
    rows: list[tuple[str, Pair, dict[str, Any]]] = [
        (
            f"{domain}, I = {replace}",
            [names.get((domain, replace, seen)) for seen in (False, True)],
            {"domain": domain, "replace": replace},
        )
        for domain in get_args(Domain)
        for replace in range(runs[0].audio.sources)
    ]
    rows += [(name, [name, None], {"domain": "", "replace": None}) for name in study.bounds]
    data = [
        row
        for _, pair, place in rows
        for name, seen in zip(pair, (False, True), strict=True)
        for row in study.data(name, place | {"mixture": seen})
    ]
    return Table(
        "contexts",
        ["discriminator", *_paired("m unseen", "m seen")],
        [(label, study.cells(pair)) for label, pair, _ in rows],
        f"{caption} Purely adversarial, with one context-based discriminator, by its domain and "
        "the number I of replaced estimates; m seen: it is shown the mixture, too; – was not run. "
        f"Below: bounds. {LEGEND} {INTERVALS} {BOLD}",
        pd.DataFrame(data, columns=["domain", "replace", "mixture", *DATA]).astype(
            {"replace": "Int64"}
        ),
    )


def combinations(
    summary: pd.DataFrame,
    records: Sequence[Mapping[str, Any]],
    reported: Sequence[Reported],
    caption: str,
) -> Table:
    """Sets of discriminators, alone and complementing L_PIT; what differs in more by its name.

    `reported` are published numbers of the same data; those of the paper's metric stand beside
    ours. Of single context-based discriminators only those are here that see the mixture and have
    the largest I, or with which L_PIT was tried. Columns of the data: discriminators, pit (whether
    L_PIT is in the loss), experiment, aggregate, mean, lower, upper, n, published.
    """
    runs = list({run.experiment: run for run in _runs(records)}.values())
    study = _Study(summary, [*(run.experiment for run in runs), *BOUNDS])
    pairs = _combined(runs) | {name: [name, None] for name in study.bounds}
    printed = _printed(reported)
    any_printed = any(name in printed for pair in pairs.values() for name in pair)
    rows: list[tuple[str, list[Cell]]] = []
    data = []
    for label, pair in pairs.items():
        values = [printed.get(name, {}) for name in pair]
        beside = [(AS_PRINTED.number(value.get("si_snr_i")),) for value in values]
        rows.append((label, [*study.cells(pair), *(beside if any_printed else [])]))
        data += [
            row | {"published": value.get(row["aggregate"])}
            for name, value, with_pit in zip(pair, values, (False, True), strict=True)
            for row in study.data(name, {"discriminators": label, "pit": with_pit})
        ]
    titles = ["discriminators", *_paired("alone", "with L_PIT")]
    if any_printed:
        titles += ["published SI-SNR_I, alone (dB)", "published SI-SNR_I, with L_PIT (dB)"]
    return Table(
        "combinations",
        titles,
        rows,
        f"{caption} Sets of discriminators, purely adversarial (alone) and complementing L_PIT; "
        f"– was not run. Below: what differs in more, and bounds. {LEGEND} "
        f"{PRINTED if any_printed else ''}{INTERVALS} {BOLD}",
        pd.DataFrame(data, columns=["discriminators", "pit", *DATA, "published"]),
    )


class _Study:
    """Cells and data of a table whose columns are pairs."""

    def __init__(self, summary: pd.DataFrame, experiments: Iterable[str]):
        chosen = summary["experiment"].isin(list(experiments)) & summary["aggregate"].isin(STUDIED)
        self.aggregates = by_experiment(summary[chosen])
        self.shown = cells_of(summary[chosen], STUDIED)
        self.bounds = [name for name in BOUNDS if name in self.aggregates]

    def cells(self, pair: Sequence[str | None]) -> list[Cell]:
        """Cells of a pair of experiments; dashes for one that was not run."""
        absent: list[Cell] = [("–",)] * len(STUDIED)
        both = (self.shown.get(name or "", absent) for name in pair)
        return [cell for cells in zip(*both, strict=True) for cell in cells]

    def data(self, name: str | None, place: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Rows of the data of an experiment, with what `place` says of it."""
        own = self.aggregates.get(name or "", {})
        return [
            {**place, **{key: own[aggregate][key] for key in DATA}}
            for aggregate in STUDIED
            if aggregate in own
        ]


def _paired(*kinds: str) -> list[str]:
    return [f"{c.title}, {kind} ({c.unit})" for c in STUDIED.values() for kind in kinds]


def _runs(records: Sequence[Mapping[str, Any]]) -> list[Run]:
    return [Run.model_validate_json(json.dumps(record["run"])) for record in records]


def _combined(runs: Sequence[Run]) -> dict[str, Pair]:
    """Rows of `combinations`: label → experiments without and with L_PIT."""
    sets: dict[str, Pair] = {}
    others: dict[str, Pair] = {}
    usual = {run.experiment: _is_usual(run, runs) for run in runs}
    tried = {_label(r) for r in runs if usual[r.experiment] and r.reconstruction != "none"}
    for run in runs:
        judge = _context_alone(run, runs)
        elsewhere = judge is not None and not (
            judge.condition_on_mixture and judge.replace == run.audio.sources - 1
        )  # in the table `contexts`
        if elsewhere and _label(run) not in tried:
            continue
        with_pit = run.reconstruction != "none"
        pair = sets.setdefault(_label(run), [None, None])
        if usual[run.experiment] and pair[with_pit] is None:
            pair[with_pit] = run.experiment
        elif not elsewhere:
            others[run.experiment] = [None, run.experiment] if with_pit else [run.experiment, None]
    counts = {_label(run): len(run.discriminators) for run in runs}
    ordered = sorted(sets, key=lambda label: counts[label])
    return {label: sets[label] for label in ordered if any(sets[label])} | others


def _is_usual(run: Run, runs: Sequence[Run]) -> bool:
    """Whether a run has what most have beside its discriminators, and L_PIT as it is or none."""
    separators = [other.separator for other in runs]
    if run.separator != max(separators, key=separators.count) or run.as_costly_as:
        return False
    if run.reconstruction not in ("log_mse", "none"):
        return False
    if not run.discriminators:
        return True
    adversaries = [other.adversary for other in runs if other.discriminators]
    return run.adversary == max(adversaries, key=adversaries.count) and all(
        judge.weight == 1 and not judge.frozen for judge in run.discriminators
    )


def _context_alone(run: Run, runs: Sequence[Run]) -> Discriminator | None:
    """The one context-based discriminator that a run learns from, if from nothing else."""
    if run.reconstruction != "none" or len(run.discriminators) != 1 or not _is_usual(run, runs):
        return None
    (judge,) = run.discriminators
    return judge if judge.kind == "context" else None


def _label(run: Run) -> str:
    """A run's discriminators in short: `inst-all + ctx-wave-i3-m`."""
    domains: dict[str, list[str]] = {}
    for judge in run.discriminators:
        kind = judge.name.replace(judge.domain, "{}", 1)
        domains.setdefault(kind, []).append(judge.domain)
    parts = [
        kind.format(name)
        for kind, own in domains.items()
        for name in (["all"] if {*own} == {*get_args(Domain)} else own)
    ]
    return " + ".join(parts) or "none"


def _printed(reported: Sequence[Reported]) -> dict[str | None, dict[str, float]]:
    """Published numbers of the paper's metric: experiment → aggregate → value."""
    return {
        line.experiment: {PUBLISHED_COLUMNS["A"][key]: value for key, value in line.values.items()}
        for line in reported
        if line.experiment is not None and line.metric == "A"
    }
