"""Which evaluation mixtures are listened to, chosen by a rule from the scores."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from apit.config import ORACLES
from apit.errors import UserError
from apit.measure.showcase import best_adversarial

FIRST = 3  # of the split, whatever their scores


class Label(NamedTuple):
    """How a system's scores are labelled."""

    experiment: str
    seed: int

    def __str__(self) -> str:
        return self.experiment if self.experiment in ORACLES else f"{self.experiment}-s{self.seed}"


@dataclass(frozen=True)
class Chosen:
    """An evaluation mixture, and why it was chosen."""

    example: str
    reasons: tuple[str, ...]
    value: float | None  # dB, by which it was chosen; None with fewer than two active targets


@dataclass(frozen=True)
class Selection:
    """Mixtures, none of them twice, and the rule that chose them, for readers."""

    chosen: list[Chosen]
    rule: str


@dataclass(frozen=True)
class Contrast:
    """What mixtures are chosen by: a run, or its difference to another, and in words."""

    run: Label
    baseline: Label | None
    words: str


def contrast(runs: Mapping[Path, Mapping[str, Any]], baseline: str) -> Contrast:
    """The best adversarial run on validation less the first run of `baseline`.

    Where one of them is missing, the other, or the first run, alone.
    """
    labels = {folder: Label(r["run"]["experiment"], r["run"]["seed"]) for folder, r in runs.items()}
    plain = next((label for label in labels.values() if label.experiment == baseline), None)
    best = best_adversarial(runs)
    if best is None:
        alone = plain or next(iter(labels.values()))
        return Contrast(alone, None, f"that of {alone}, as there is no adversarial run")
    said = f"{labels[best]} (of the adversarial runs here the best on the validation split)"
    if plain is None:
        return Contrast(labels[best], None, f"that of {said}, as there is no run of {baseline}")
    return Contrast(labels[best], plain, f"that of {said} less that of {plain}")


def select(scores: pd.DataFrame, by: Contrast, first: int = FIRST) -> Selection:
    """Best, median and worst by the mean SI-SNRi over all active targets, and the first few.

    SI-SNRi is the FUSS evaluator's, as in MSi(all), by which checkpoints are chosen, too.

    Only mixtures with two or more active targets are best, median or worst; of an even number the
    higher of the two in the middle is the median. `scores` as `read_scores` gives them, in the
    order of the split. Raises UserError where they lack a run, or the two were scored over other
    mixtures.
    """
    targets = _of(scores, by.run, "active_targets")
    values = _improvements(scores, by.run)
    if by.baseline is not None:
        others = _improvements(scores, by.baseline)
        if set(others.index) != set(values.index):
            raise UserError(f"{by.run} and {by.baseline}: their scores are of different mixtures")
        values = values - others.reindex(values.index)
    ordered = values.sort_values(ascending=False, kind="stable")
    reasons: dict[str, list[str]] = {}
    if len(ordered):
        for reason, place in (("best", 0), ("median", (len(ordered) - 1) // 2), ("worst", -1)):
            reasons.setdefault(str(ordered.index[place]), []).append(reason)
    for number, example in enumerate(map(str, targets.index[:first])):
        reasons.setdefault(example, []).append(f"no. {number + 1} of the split")
    rule = (
        "Best, median and worst of the evaluation mixtures with two or more active targets "
        f"({len(ordered)}) by the mean SI-SNRi over all active targets, in which silence counts as "
        f"−80 dB: {by.words}. "
        f"Then the first {min(first, len(targets))} mixtures of the split that sound, whatever "
        "their scores. No mixture stands here twice."
    )
    chosen = [
        Chosen(example, tuple(why), float(values[example]) if example in values.index else None)
        for example, why in reasons.items()
    ]
    if not chosen:
        raise UserError(f"{by.run}: its scores hold no mixture that sounds")
    return Selection(chosen, rule)


def _of(scores: pd.DataFrame, label: Label, metric: str) -> "pd.Series[float]":
    """A run's values of one metric, by example."""
    is_own = (scores["experiment"] == label.experiment) & (scores["seed"] == label.seed)
    if not is_own.any():
        raise UserError(f"{label}: is not in the scores; give its file with --scores")
    own = scores[is_own & (scores["metric"] == metric)]
    return own.set_index("example")["value"]


def _improvements(scores: pd.DataFrame, label: Label) -> "pd.Series[float]":
    """Mean SI-SNRi over all active targets, of mixtures with two or more, by example."""
    targets = _of(scores, label, "active_targets")
    means = _of(scores, label, "si_snri").groupby(level=0).mean()
    return means.reindex(targets.index[targets >= 2])
