"""Plan: how many seeds each claim needs, and what they cost, by the noise that is known so far."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from apit.config import ORACLES, Claim, Contrast, Planning, Run
from apit.measure.contrasts import Evidence, power_of
from apit.measure.statistics import AGGREGATES
from apit.measure.variance import (
    Arm,
    Deviation,
    Kind,
    expected,
    of_mixtures,
    seeds_needed,
    with_more,
)
from apit.models.complexity import step_macs, total_steps

FUSS_EVAL = 1000  # mixtures [fuss]
COLUMNS = ["claim", "of", "experiment", "baseline", "measure", "margin", "seeds", "detectable",
           "more_for_all", "more_for_one", "needed", "needed_holm", "hours", "assumed"]  # fmt: skip


def plan(
    claims: Sequence[Claim],
    table: pd.DataFrame | None,
    kinds: Mapping[str, Kind],
    hours: Mapping[str, float],
    assumed: Planning,
    mixtures: int,
    alpha: float,
    due: Mapping[str, int],
) -> pd.DataFrame:
    """A row for each contrast of experiments in `kinds`: what is seen, and what it would take.

    `table` is of the runs that are there (of `by_pair`); `hours` of one run, by experiment; an
    experiment that was not run yet counts with the seeds that are `due`.
    Columns: margin; seeds, the fewer of both; detectable, the smallest true difference that they
    show with a power of 80 %, with another seed of all and of this experiment alone; needed seeds
    for the margin, of a claim alone and under Holm's correction over all contrasts here; hours of
    the seeds that are missing; assumed, what stands for noise that nobody has measured. NaN is not
    known.
    """
    contrasts = [
        (claim.claim, contrast)
        for claim in claims
        for contrast in claim.contrasts
        if {contrast.experiment, contrast.baseline} <= {*kinds, *ORACLES}
    ]
    rows = []
    evidences: dict[str, Evidence] = {}
    for claim, contrast in contrasts:
        measure = contrast.measure
        evidence = evidences.setdefault(measure, Evidence(table, kinds, measure))
        arms, between_mixtures, assumes = _known(contrast, evidence, assumed, mixtures)
        names = contrast.experiment, contrast.baseline
        seen = [
            arm if arm.seeds or arm.is_oracle else arm._replace(seeds=due[name])
            for name, arm in zip(names, arms, strict=True)
        ]
        count = evidence.mixtures or mixtures
        margin = _margin(contrast, evidence)

        def detectable(planned: Sequence[Arm]) -> float:
            return expected(planned, between_mixtures, count).detectable(alpha, power)  # noqa: B023

        power = power_of(contrast)
        needed, by_holm = (
            seeds_needed(arms, between_mixtures, count, margin, level, power)
            for level in (alpha, alpha / len(contrasts))
        )
        rows.append(
            (claim, contrast.of, contrast.experiment, contrast.baseline, measure, margin,
             min(arm.seeds for arm in seen if not arm.is_oracle), detectable(seen),
             detectable(with_more(seen, of_all=True)), detectable(with_more(seen, of_all=False)),
             needed, by_holm,
             sum(hours.get(name, np.nan) * max(needed - arm.seeds, 0)
                 for name, arm in zip(names, arms, strict=True) if not arm.is_oracle),
             assumes)
        )  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def _known(
    contrast: Contrast, evidence: Evidence, assumed: Planning, mixtures: int
) -> tuple[list[Arm], float, str]:
    """Arms and variance over mixtures of a contrast, and in words what of them is assumed.

    Of rates nothing is: their noise is not known before there are runs.
    """
    arms, names = evidence.arms(contrast), (contrast.experiment, contrast.baseline)
    pair = evidence.pair(*names)
    spread = of_mixtures(*pair) if pair else np.nan
    if not AGGREGATES[contrast.measure].metric.startswith("si_snr"):
        return arms, spread, ""
    assumes = []
    if any(arm.between is None and not arm.is_oracle for arm in arms):
        assumes.append("runs")
        arms = [
            arm if arm.between or arm.is_oracle
            else arm._replace(between=_usual(name, evidence.kinds, assumed))
            for name, arm in zip(names, arms, strict=True)
        ]  # fmt: skip
    if pair is None:
        assumes.append("mixtures")
        spread = assumed.between_mixtures**2 / mixtures
    return arms, spread, " and ".join(assumes)


def _usual(name: str, kinds: Mapping[str, Kind], assumed: Planning) -> Deviation | None:
    """What is assumed of runs of an experiment's kind."""
    if name not in kinds:
        return None
    kind = kinds[name]
    per_seed = sum(other == kind for other in kinds.values()) - (kind.parent is not None)
    return Deviation(assumed.between_runs**2, np.inf, per_seed, kind.name)


def _margin(contrast: Contrast, evidence: Evidence) -> float:
    """In the measure's unit; NaN for a share of a mean that is not known."""
    if not contrast.relative:
        return contrast.margin
    baseline = evidence.samples.get(contrast.baseline)
    return contrast.margin * float(baseline.means.mean()) if baseline else np.nan


def hours_of(
    runs: Mapping[str, Run], records: Sequence[Mapping[str, Any]], cost: Mapping[str, float]
) -> dict[str, float]:
    """Hours that a run takes here, by experiment: what its records say, or else `cost`.

    Of what neither knows, by its multiply-accumulates, at the speed of what they do; NaN where they
    know nothing.
    """
    timed: dict[str, list[float]] = {}
    for record in records:
        timed.setdefault(record["run"]["experiment"], []).append(record["training_seconds"] / 3600)
    hours = {**cost, **{name: float(np.mean(own)) for name, own in timed.items()}}
    unknown = [name for name in runs if name not in hours]
    known = [name for name in hours if name in runs]
    if not known or not unknown:
        return dict.fromkeys(unknown, np.nan) | hours
    macs = {n: total_steps(run) * step_macs(run) for n, run in runs.items()}
    speed = sum(macs[name] for name in known) / sum(hours[name] for name in known)
    return hours | {name: macs[name] / speed for name in unknown}
