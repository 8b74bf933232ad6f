"""How far a difference of two experiments varies by chance: with other seeds, other mixtures.

A run's mean over M mixtures is modelled as μ + a_s + (1/M) Σ_m (b_m + e_sm): of its seed, of each
mixture, and of both. The difference of two experiments with S and S' seeds has the variance

    σ²/S + σ'²/S' + σ_b²/M,   where σ² = σ_a² + σ_e²/M is that between runs,

with Satterthwaite's degrees of freedom. σ² is pooled over all experiments of one kind of training,
since three runs that happen to be alike say little. An experiment whose runs lie further apart than
those of its kind has its own, with its own degrees of freedom: else experiments of a kind that vary
by 0.2 and 1 dB are told apart wrongly two to five times as often as they should be.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

POWER = 0.8
FEWEST_SEEDS = 3  # fewer decide nothing
MOST_SEEDS = 1000  # more than that nobody trains

Floats = NDArray[np.float64]


class Kind(NamedTuple):
    """A kind of training, whose runs vary alike; forks vary around the run that they start from."""

    name: str
    parent: str | None = None


class Deviation(NamedTuple):
    """Between runs: variance σ², its degrees of freedom, and of what it is an estimate."""

    variance: float
    freedom: float
    per_seed: int  # degrees of freedom that another seed of all experiments adds
    of: str  # a kind, or an experiment; arms that share it share one estimate


@dataclass(frozen=True)
class Sample:
    """Runs of one experiment: values of mixtures, and of how many pairs each is [seed, mixture].

    What a run has no value for weighs nothing. A run's mean is over pairs. An oracle is one row,
    which no seed changes.
    """

    seeds: tuple[int, ...]
    values: Floats
    weights: Floats
    is_oracle: bool = False

    def of(self, seeds: Sequence[int]) -> "Sample":
        """The runs of some seeds."""
        rows = [self.seeds.index(seed) for seed in seeds]
        return replace(
            self, seeds=tuple(seeds), values=self.values[rows], weights=self.weights[rows]
        )

    @cached_property
    def means(self) -> Floats:
        """Of each run."""
        means: Floats = (self.weights * self.values).sum(1) / self.weights.sum(1)
        return means

    @cached_property
    def deviant(self) -> Floats:
        """How far each mixture moves its run's mean, times the number of mixtures: of mean 0."""
        usual = self.weights.mean(1, keepdims=True)
        deviant: Floats = self.weights * (self.values - self.means[:, None]) / usual
        return deviant

    @cached_property
    def interaction(self) -> float:
        """σ_e²/S: what other seeds would change of a mixture; 0 where one seed hides it."""
        count, mixtures = self.values.shape
        if count < 2 or mixtures < 2:
            return 0.0
        rest = self.deviant - self.deviant.mean(0)
        return float((rest**2).sum() / ((count - 1) * (mixtures - 1)) / count)


def deviations(samples: Mapping[str, Sample], kinds: Mapping[str, Kind]) -> dict[Kind, Deviation]:
    """Variance between runs, pooled within kinds; those without a second seed are left out.

    Of runs from scratch, around each experiment's mean. Of forks, around the means of experiment
    and seed, since all of one seed share the run that they start from.
    """
    pooled = {}
    for kind in dict.fromkeys(kinds[name] for name in samples if name in kinds):
        own = [s for name, s in samples.items() if kinds.get(name) == kind]
        means = np.concatenate([sample.means for sample in own])
        groups = [np.repeat(np.arange(len(own)), [len(s.seeds) for s in own])]
        if kind.parent is not None:
            seeds = np.concatenate([sample.seeds for sample in own])
            groups.append(np.unique(seeds, return_inverse=True)[1])
        design = np.hstack([np.eye(group.max() + 1)[group] for group in groups])
        freedom = len(means) - np.linalg.matrix_rank(design)
        if freedom:
            rest = means - design @ np.linalg.lstsq(design, means)[0]
            variance = float((rest**2).sum() / freedom)
            per_seed = len(own) - len(groups) + 1
            pooled[kind] = Deviation(variance, float(freedom), per_seed, kind.name)
    return pooled


def of_runs(name: str, means: Floats, pooled: Deviation | None = None) -> Deviation | None:
    """That of some runs' means, or of their kind, where that is larger; None of one run."""
    if len(means) < 2:
        return pooled
    own = Deviation(float(means.var(ddof=1)), len(means) - 1.0, 1, name)
    return own if pooled is None or own.variance > pooled.variance else pooled


def of_forks(name: str, pair: tuple[Sample, Sample], pooled: Deviation | None) -> Deviation | None:
    """The same of two forks of the same runs: what those share is no part of their difference."""
    return of_runs(name, (pair[0].means - pair[1].means) / np.sqrt(2), pooled)


@dataclass(frozen=True)
class Difference:
    """A difference of two means, the parts of its variance, each with its degrees of freedom."""

    mean: float
    parts: tuple[tuple[float, float], ...]  # (variance, degrees of freedom)

    @property
    def error(self) -> float:
        """Its standard error."""
        return float(np.sqrt(sum(variance for variance, _ in self.parts)))

    @property
    def freedom(self) -> float:
        """Satterthwaite's degrees of freedom."""
        whole = sum(variance for variance, _ in self.parts)
        terms = sum(v**2 / f for v, f in self.parts if f)
        return whole**2 / terms if terms else np.inf

    def interval(self, alpha: float) -> tuple[float, float]:
        """The t-interval that holds 1 − α."""
        half = self.error * float(stats.t.ppf(1 - alpha / 2, self.freedom))
        return self.mean - half, self.mean + half

    def p(self, beyond: float = 0.0) -> float:
        """Two-sided p of the mean being `beyond`; 0 or 1 where nothing varies."""
        distance = abs(self.mean - beyond)
        if not self.error:
            return float(distance == 0)
        return float(2 * stats.t.sf(distance / self.error, self.freedom))

    def detectable(self, alpha: float, power: float = POWER) -> float:
        """The smallest true difference whose interval leaves 0 out with a power of 80 %."""
        if not self.error > 0:
            return self.error  # nothing varies, or nobody knows how much
        edge = stats.t.ppf(1 - alpha / 2, self.freedom)

        def lacks(size: float) -> float:  # beyond the other edge next to nothing lies
            return float(stats.nct.sf(edge, self.freedom, size) - power)

        return self.error * float(optimize.brentq(lacks, 0.0, 1.7 * edge + 2))


class Arm(NamedTuple):
    """One side of a difference: how far its runs lie apart, and how many there are."""

    between: Deviation | None  # None: nobody knows
    seeds: int
    is_oracle: bool = False  # which no seed changes


def with_more(arms: Sequence[Arm], *, of_all: bool) -> list[Arm]:
    """Arms with another seed of all experiments, or of the first arm's alone."""
    first = arms[0].between
    more = []
    for place, arm in enumerate(arms):
        between = arm.between
        if arm.is_oracle or between is None or not arm.seeds:
            more.append(arm)
            continue
        shared = first is not None and between.of == first.of
        added = between.per_seed if of_all else int(shared)
        between = between._replace(freedom=between.freedom + added)
        more.append(Arm(between, arm.seeds + (of_all or place == 0)))
    return more


def difference(
    experiment: Sample, baseline: Sample, between: tuple[Deviation | None, Deviation | None]
) -> Difference:
    """The difference of two experiments on the same mixtures, with the deviations between runs.

    Where one of these is not known, the variance is not, either (NaN).
    """
    mean = float(experiment.means.mean() - baseline.means.mean())
    arms = [
        Arm(one, len(sample.seeds), sample.is_oracle)
        for one, sample in zip(between, (experiment, baseline), strict=True)
    ]
    count = experiment.values.shape[1]
    return expected(arms, of_mixtures(experiment, baseline), count, mean)


def of_mixtures(experiment: Sample, baseline: Sample) -> float:
    """σ_b²/M: what other mixtures would change of the difference."""
    apart = experiment.deviant.mean(0) - baseline.deviant.mean(0)
    count = len(apart)
    if count < 2:
        return np.nan
    spread = float((apart**2).sum() / (count - 1))
    return max(0.0, spread - experiment.interaction - baseline.interaction) / count


def expected(arms: Sequence[Arm], mixtures: float, count: int, mean: float = 0.0) -> Difference:
    """A difference of two arms over `count` mixtures, which add `mixtures` (σ_b²/M)."""
    parts: dict[str, tuple[float, float]] = {}  # two of one kind share one estimate
    for arm in (arm for arm in arms if not arm.is_oracle):
        variance, freedom, _, of = arm.between or Deviation(np.nan, 0.0, 0, "unknown")
        before, _ = parts.get(of, (0.0, 0.0))
        parts[of] = before + variance / arm.seeds, freedom
    return Difference(mean, (*parts.values(), (mixtures, count - 1)))


def seeds_needed(
    arms: Sequence[Arm],
    mixtures: float,
    count: int,
    worthwhile: float,
    alpha: float,
    power: float = POWER,
) -> float:
    """With how many seeds of each, at least three, a worthwhile difference is detectable.

    All experiments of their kinds are taken to have as many. Infinite where the mixtures are too
    few for any number of seeds; NaN where it is not known how far runs lie apart.
    """

    def planned(arm: Arm, seeds: int) -> Arm:
        if (between := arm.between) is None:
            return arm._replace(seeds=seeds)
        # Whichever is larger counts, the kind's variance or the runs' own, which is a χ² of theirs.
        own = seeds - 1
        larger = 1 + stats.chi2.sf(own, own + 2) - stats.chi2.sf(own, own)
        variance = between.variance * (larger if between.per_seed > 1 else 1)
        freedom = between.per_seed * own
        return Arm(between._replace(variance=variance, freedom=freedom), seeds, arm.is_oracle)

    def detectable(seeds: int) -> float:
        both = [planned(arm, seeds) for arm in arms]
        return expected(both, mixtures, count).detectable(alpha, power)

    if not detectable(MOST_SEEDS) <= worthwhile:
        return np.inf if detectable(MOST_SEEDS) > worthwhile else np.nan
    low, high = FEWEST_SEEDS - 1, MOST_SEEDS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if detectable(middle) <= worthwhile else (middle, high)
    return float(high)
