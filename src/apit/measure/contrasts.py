"""Contrasts: two experiments in one measure, with their evidence, and what it says of a claim."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from apit.config import ORACLES, Contrast, Run
from apit.measure.statistics import CONFIDENCE, samples_of
from apit.measure.variance import (
    FEWEST_SEEDS,
    POWER,
    Arm,
    Deviation,
    Difference,
    Kind,
    Sample,
    deviations,
    difference,
    of_forks,
    of_runs,
)

Verdict = Literal["reproduced", "not reproduced", "undecided"]

ALPHA = 1 - CONFIDENCE


def kind_of(run: Run) -> Kind:
    """The kind of training that a run is, by what it starts and learns from."""
    if run.start_from is not None:
        parent = run.start_from.experiment
        return Kind(f"forks of {parent}", parent)
    if run.discriminators:
        name = "purely adversarial" if run.reconstruction == "none" else "with L_PIT"
    else:
        name = "L_PIT alone"
    return Kind(name)


class Evidence:
    """Runs in one measure: samples by experiment, and how far runs of each kind lie apart."""

    def __init__(self, table: pd.DataFrame | None, kinds: Mapping[str, Kind], measure: str):
        self.samples = {} if table is None else samples_of(table, measure)
        self.kinds = kinds
        trained = {n: sample for n, sample in self.samples.items() if not sample.is_oracle}
        self.deviations = deviations(trained, kinds)

    def deviation(self, name: str, beside: str) -> Deviation | None:
        """Between runs of an experiment, beside another: that of its kind, or its own if larger.

        What forks share they share beside each other alone.
        """
        kind, sample = self.kinds.get(name), self.samples.get(name)
        if kind is None:
            return None
        pooled, is_fork = self.deviations.get(kind), kind.parent is not None
        if is_fork and self.kinds.get(beside) == kind:
            first, second = sorted((name, beside))
            pair = self.pair(first, second)
            return of_forks(f"{first} − {second}", pair, pooled) if pair else pooled
        return of_runs(name, sample.means, None if is_fork else pooled) if sample else pooled

    @property
    def mixtures(self) -> int:
        """How many there are."""
        return next((sample.values.shape[1] for sample in self.samples.values()), 0)

    def arms(self, contrast: Contrast) -> list[Arm]:
        """Both sides of a contrast, run or not."""
        pair = contrast.experiment, contrast.baseline
        return [
            Arm(self.deviation(name, beside), len(own.seeds) if own else 0, name in ORACLES)
            for name, beside in (pair, pair[::-1])
            for own in [self.samples.get(name)]
        ]

    def pair(self, experiment: str, baseline: str) -> tuple[Sample, Sample] | None:
        """Both samples of a contrast; of forks from the same runs those that both have."""
        if experiment not in self.samples or baseline not in self.samples:
            return None
        ours, theirs = self.samples[experiment], self.samples[baseline]
        kinds = self.kinds.get(experiment), self.kinds.get(baseline)
        if kinds[0] == kinds[1] and kinds[0] is not None and kinds[0].parent is not None:
            common = sorted({*ours.seeds} & {*theirs.seeds})
            return (ours.of(common), theirs.of(common)) if common else None
        return ours, theirs

    def difference(self, experiment: str, baseline: str) -> Difference | None:
        """That of a contrast; None where one of them was not run, or not measured."""
        pair = self.pair(experiment, baseline)
        if pair is None:
            return None
        between = self.deviation(experiment, baseline), self.deviation(baseline, experiment)
        return difference(*pair, between)


def power_of(contrast: Contrast) -> float:
    """What one interval has to be right with; of equivalence two of them, one for each boundary."""
    return (1 + POWER) / 2 if contrast.test == "equivalent" else POWER


@dataclass(frozen=True)
class Finding:
    """What was found of a contrast at one look; of its difference the better side is above 0."""

    contrast: Contrast
    gain: Difference
    margin: float  # in the measure's unit
    seeds: tuple[int, ...]  # how many each has
    alpha: float

    def holds(self, value: float) -> bool:
        """Whether a difference lies where the claim has it."""
        lowest, highest = {
            "superior": (0.0, np.inf),
            "noninferior": (-self.margin, np.inf),
            "equivalent": (-self.margin, self.margin),
        }[self.contrast.test]
        return bool(lowest < value < highest)

    @property
    def p(self) -> float:
        """Two-sided p of no difference; for the other tests of the boundary that is nearer."""
        if self.contrast.test == "superior":
            return self.gain.p()
        edges = (-self.margin, self.margin)[: 1 + (self.contrast.test == "equivalent")]
        return max(map(self.gain.p, edges)) if self.holds(self.gain.mean) else 1.0

    @property
    def detectable(self) -> float:
        """The smallest true difference that would be seen; of equivalence, the smallest margin."""
        return self.gain.detectable(self.alpha, power_of(self.contrast))

    def verdict(self, p_holm: float) -> Verdict:
        """By the rule, but for what it is provided by."""
        lower, upper = self.gain.interval(self.alpha)
        if min(self.seeds) < FEWEST_SEEDS or np.isnan(lower):
            return "undecided"
        if self.holds(lower) and self.holds(upper) and p_holm < self.alpha:
            return "reproduced"
        if self.contrast.test == "superior":
            would_be_seen = self.detectable <= self.margin
            return "not reproduced" if upper < self.margin and would_be_seen else "undecided"
        too_high = self.contrast.test == "equivalent" and lower > self.margin
        return "not reproduced" if upper < -self.margin or too_high else "undecided"

    def contradicts(self, other: float) -> bool:
        """Whether the same difference in another measure denies what this one says.

        Where this interval holds no boundary of the claim, the other must lie on the same side.
        """
        sides = {self.holds(value) for value in (*self.gain.interval(self.alpha), self.gain.mean)}
        return len(sides) == 1 and self.holds(other) not in sides
