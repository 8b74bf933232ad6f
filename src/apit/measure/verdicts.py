"""Claims and verdicts: differences for each seed, a t-interval over seeds, Holm, and one rule.

The unit is the seed. Intervals over mixtures say nothing of what another seed would give, and never
decide (in a simulation without any effect, tests over mixtures were wrong seven times as often as
they said).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
import pandas as pd
from scipy import stats

from apit.config import Claim
from apit.errors import UserError
from apit.measure.statistics import AGGREGATES, CONFIDENCE, by_run, mean_of

Runs = Mapping[tuple[str, int], pd.DataFrame]  # tables of (experiment, seed)
Verdict = Literal["reproduced", "not reproduced", "undecided"]

FEWEST_SEEDS = 3
COLUMNS = ["claim", "experiment", "baseline", "measure", "better", "seeds", "differences",
           "mean", "lower", "upper", "p", "p_holm", "verdict", "note"]  # fmt: skip


@dataclass(frozen=True)
class Interval:
    """Mean difference over seeds, its 95 % t-interval, and the two-sided p of no difference.

    With a single seed only the mean is defined.
    """

    mean: float
    lower: float
    upper: float
    p: float


def over_seeds(differences: Sequence[float]) -> Interval:
    """The t-interval of differences, one for each seed; equal ones give an interval of a point."""
    if len(differences) == 0:
        return Interval(np.nan, np.nan, np.nan, np.nan)
    mean = float(np.mean(differences))
    if len(differences) == 1:
        return Interval(mean, np.nan, np.nan, np.nan)
    if np.ptp(differences) == 0:  # t is infinite, or 0 / 0
        return Interval(mean, mean, mean, 0.0 if mean else 1.0)
    test = stats.ttest_1samp(differences, 0.0)
    interval = test.confidence_interval(CONFIDENCE)
    return Interval(mean, float(interval.low), float(interval.high), float(test.pvalue))


def holm(values: Sequence[float]) -> list[float]:
    """p-values adjusted by Holm's step-down; an undefined one stays so, and counts as one of them.

    Holm 1979: the i-th smallest of m (from 0) is multiplied by m − i, and none may be below a
    smaller one's.
    """
    p = np.asarray(values, dtype=float)
    adjusted = np.full(len(p), np.nan)
    largest = 0.0
    for rank, place in enumerate(np.argsort(p)):  # NaN comes last
        if not np.isnan(p[place]):
            largest = max(largest, min(1.0, (len(p) - rank) * p[place]))
            adjusted[place] = largest
    return adjusted.tolist()


def judge(
    gain: Interval, seeds: int, p_holm: float, worthwhile: float, provided: bool = True
) -> Verdict:
    """The rule of `configs/claims.yaml`, for a difference whose better side is above 0."""
    if seeds < FEWEST_SEEDS:
        return "undecided"
    if gain.lower > 0 and p_holm < 1 - CONFIDENCE and provided:
        return "reproduced"
    return "not reproduced" if gain.upper < worthwhile else "undecided"


def decide(claims: Sequence[Claim], scores: pd.DataFrame) -> pd.DataFrame:
    """Judge every claim: a row for each, and rows that show the noise between seeds of a baseline.

    Columns as in `COLUMNS`; `differences` holds `seed: experiment − baseline` for every seed that
    both have. Raises UserError where the two were not scored on the same mixtures.
    """
    compared = {name for claim in claims for name in (claim.experiment, claim.baseline)}
    runs = by_run(scores[scores["experiment"].isin(compared)])
    for claim in claims:
        _check(claim, runs)
    by_seed = [_differences(claim, claim.measure, runs) for claim in claims]
    intervals = [over_seeds(list(differences.values())) for differences in by_seed]
    adjusted = holm([interval.p for interval in intervals])
    rows: list[tuple[object, ...]] = []
    for claim, differences, interval, p_holm in zip(
        claims, by_seed, intervals, adjusted, strict=True
    ):
        seeds = list(differences)
        objections = _objections(claim, runs) if seeds else []
        worthwhile = claim.worthwhile
        if claim.relative and seeds:
            baseline = [mean_of(runs[claim.baseline, seed], claim.measure) for seed in seeds]
            worthwhile *= float(np.mean(baseline))
        gain = interval
        if claim.better == "lower":
            gain = Interval(-interval.mean, -interval.upper, -interval.lower, interval.p)
        verdict = judge(gain, len(seeds), p_holm, worthwhile, not objections)
        notes = [] if seeds else [_absent(claim, runs)]
        if seeds and np.isnan(interval.mean):
            notes.append(f"{claim.measure} not measured")
        if 0 < len(seeds) < FEWEST_SEEDS:
            notes.append(f"fewer than {FEWEST_SEEDS} seeds")
        rows.append(
            (claim.claim, claim.experiment, claim.baseline, claim.measure, claim.better, len(seeds),
             _listed(differences), interval.mean, interval.lower, interval.upper, interval.p,
             p_holm, verdict, "; ".join(notes + objections))
        )  # fmt: skip
    return pd.DataFrame(rows + _noise(claims, runs), columns=COLUMNS)


def _seeds(runs: Runs, experiment: str) -> set[int]:
    return {seed for name, seed in runs if name == experiment}


def _common_seeds(claim: Claim, runs: Runs) -> list[int]:
    return sorted(_seeds(runs, claim.experiment) & _seeds(runs, claim.baseline))


def _check(claim: Claim, runs: Runs) -> None:
    for measure in (claim.measure, *(guard.measure for guard in claim.provided)):
        if measure not in AGGREGATES:
            raise UserError(
                f"claim {claim.claim!r}: no measure is called {measure!r}; there are "
                f"{', '.join(AGGREGATES)}"
            )
    for seed in _common_seeds(claim, runs):
        first, second = (_mixtures(runs[name, seed]) for name in (claim.experiment, claim.baseline))
        if odd := sorted(example for example, *_ in first ^ second):
            raise UserError(
                f"{claim.experiment} and {claim.baseline}, seed {seed}, were not scored on the "
                f"same mixtures ({odd[0]} differs, or is in one of them only); evaluate both on "
                "the same data"
            )


def _mixtures(run: pd.DataFrame) -> set[tuple[str, int, float]]:
    """Examples and sources, each with its SI-SNR before separation, which only data decide."""
    before = run["si_snr_mixture"] if "si_snr_mixture" in run else pd.Series(0.0, run.index)
    return set(zip(run["example"], run["source"], before.fillna(0).round(3), strict=True))


def _differences(claim: Claim, measure: str, runs: Runs) -> dict[int, float]:
    """Seed → experiment − baseline, for the seeds that both have."""
    return {
        seed: mean_of(runs[claim.experiment, seed], measure)
        - mean_of(runs[claim.baseline, seed], measure)
        for seed in _common_seeds(claim, runs)
    }


def _objections(claim: Claim, runs: Runs) -> list[str]:
    """What of `provided` does not hold of the mean differences."""
    objections = []
    for guard in claim.provided:
        change = float(np.mean(list(_differences(claim, guard.measure, runs).values())))
        if np.isnan(change):
            objections.append(f"{guard.measure} not measured")
            continue
        if guard.rises_at_most is not None and not change <= guard.rises_at_most:
            objections.append(f"{guard.measure} rises by {change:.3g}")
        if guard.falls_at_most is not None and not -change <= guard.falls_at_most:
            objections.append(f"{guard.measure} falls by {-change:.3g}")
    return objections


def _absent(claim: Claim, runs: Runs) -> str:
    absent = [n for n in (claim.experiment, claim.baseline) if not _seeds(runs, n)]
    return f"{' and '.join(absent)} not run" if absent else "no seed in common"


def _noise(claims: Sequence[Claim], runs: Runs) -> list[tuple[object, ...]]:
    """Baselines that were run, seed against seed: `mean` is that of the differences' sizes."""
    rows: list[tuple[object, ...]] = []
    for baseline, measure in dict.fromkeys((c.baseline, c.measure) for c in claims):
        means = {s: mean_of(runs[baseline, s], measure) for s in sorted(_seeds(runs, baseline))}
        if not means:
            continue
        pairs = {f"{b} − {a}": means[b] - means[a] for a, b in combinations(means, 2)}
        size = float(np.mean(np.abs(list(pairs.values())))) if pairs else np.nan
        rows.append(
            (f"noise: {baseline}, seed against seed", baseline, baseline, measure, "", len(means),
             _listed(pairs), size, np.nan, np.nan, np.nan, np.nan, "",
             "mean size of the differences between seeds" if pairs else "one seed has no noise")
        )  # fmt: skip
    return rows


def _listed(differences: dict[int, float] | dict[str, float]) -> str:
    return "; ".join(f"{name}: {value:.6g}" for name, value in differences.items())
