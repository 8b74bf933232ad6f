"""The paper's two studies as tables: one context-based discriminator, and combinations of several.

Both set the experiments that most runs are like side by side; what differs in more is no cell.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any, TypeVar, get_args

import pandas as pd

from apit.config import Discriminator, Domain, Reported, Run
from apit.present.table import Table
from apit.present.tables import (
    AS_PRINTED,
    BOLD,
    COLUMNS,
    INTERVALS,
    PUBLISHED_COLUMNS,
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

T = TypeVar("T")
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
    own = _of(summary, [*names.values(), *BOUNDS])
    shown = cells_of(own, STUDIED)
    bounds = [name for name in BOUNDS if name in shown]
    grid = list(product(get_args(Domain), range(runs[0].audio.sources)))
    pairs = {f"{d}, I = {i}": [names.get((d, i, seen)) for seen in (False, True)] for d, i in grid}
    kept = _kept(pairs.values())
    places: list[tuple[Any, ...]] = [
        (names.get((*place, seen)), *place, seen) for place in grid for seen in (False, True)
    ]
    places += [(name, "", None, False) for name in bounds]
    return Table(
        "contexts",
        ["discriminator", *_paired(*_of_places(["m unseen", "m seen"], kept))],
        [(label, _beside(shown, _of_places(pair, kept))) for label, pair in pairs.items()]
        + [(name, _beside(shown, _bound(name, kept))) for name in bounds],
        f"{caption} Purely adversarial, with one context-based discriminator, by its domain and "
        "the number I of replaced estimates; m seen: it is shown the mixture, too; – was not run. "
        f"Below: bounds. {LEGEND} {INTERVALS} {BOLD}",
        pd.DataFrame(places, columns=["experiment", "domain", "replace", "mixture"])
        .astype({"replace": "Int64"})
        .merge(own)[["domain", "replace", "mixture", *DATA]],
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
    own = _of(summary, [*(run.experiment for run in runs), *BOUNDS])
    shown = cells_of(own, STUDIED)
    pairs = _combined(runs)
    kept = _kept(pairs.values())
    pairs |= {name: [name, None] for name in BOUNDS if name in shown}
    printed = _printed(reported)
    any_printed = any(name in printed for pair in pairs.values() for name in pair)
    rows: list[tuple[str, list[str]]] = []
    for label, pair in pairs.items():
        beside = _bound(label, kept) if label in BOUNDS else _of_places(pair, kept)
        values = [printed.get(name, {}).get("si_snr_i") for name in beside]
        as_printed = map(AS_PRINTED.number, values) if any_printed else ()
        rows.append((label, [*_beside(shown, beside), *as_printed]))
    places = [
        (name, label, with_pit)
        for label, pair in pairs.items()
        for name, with_pit in zip(pair, (False, True), strict=True)
    ]
    data = pd.DataFrame(places, columns=["experiment", "discriminators", "pit"]).merge(own)
    keys = zip(data["experiment"], data["aggregate"], strict=True)
    data["published"] = [printed.get(name, {}).get(aggregate) for name, aggregate in keys]
    kinds = _of_places(["alone", "with L_PIT"], kept)
    titles = ["discriminators", *_paired(*kinds)]
    if any_printed:
        titles += [f"published SI-SNR_I, {kind} (dB)" for kind in kinds]
    return Table(
        "combinations",
        titles,
        rows,
        f"{caption} Sets of discriminators, purely adversarial (alone) and complementing L_PIT; "
        f"– was not run. Below: what differs in more, and bounds. {LEGEND} "
        f"{PRINTED if any_printed else ''}{INTERVALS} {BOLD}",
        data[["discriminators", "pit", *DATA, "published"]],
    )


def _kept(pairs: Iterable[Pair]) -> list[int]:
    """Places of a pair that some row has an experiment in; the first, where none has."""
    used = {place for pair in pairs for place, name in enumerate(pair) if name is not None}
    return sorted(used) or [0]


def _of_places(pair: Sequence[T], kept: Sequence[int]) -> list[T]:
    return [pair[place] for place in kept]


def _bound(name: str, kept: Sequence[int]) -> Pair:
    """A bound, which stands in the first of the columns that are kept."""
    return [name, *[None] * (len(kept) - 1)]


def _of(summary: pd.DataFrame, experiments: Sequence[str]) -> pd.DataFrame:
    """What the studies show of a summary."""
    return summary[summary["experiment"].isin(experiments) & summary["aggregate"].isin(STUDIED)]


def _beside(shown: Mapping[str, list[str]], pair: Pair) -> list[str]:
    """Cells of a pair of experiments, by measure; dashes for one that was not run."""
    absent = ["–"] * len(STUDIED)
    both = (shown.get(name or "", absent) for name in pair)
    return [cell for cells in zip(*both, strict=True) for cell in cells]


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
    if run.separator != max(separators, key=separators.count):
        return False
    if run.as_costly_as or run.start_from:
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
