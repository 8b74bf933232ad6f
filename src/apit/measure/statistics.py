"""Scores → aggregates: means with intervals over mixtures."""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from apit.config import HEADLINE_DB
from apit.errors import UserError
from apit.measure.score import ORACLES, RUN_COLUMNS, SCORE_COLUMNS, WHOLE_MIXTURE
from apit.provenance import array_generator

CONFIDENCE = 0.95
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Aggregate:
    """A number of the tables: which scores it takes, and how it reads them."""

    metric: str  # of the long table
    targets: tuple[int, ...]  # numbers of active targets
    counted_only: bool  # the FUSS evaluator's pairs, or all active targets
    median: bool = False


HOLES = f"hole_rate_{HEADLINE_DB}"
AGGREGATES = {
    "si_snr/1": Aggregate("si_snr", (1,), True),
    "si_snri/2": Aggregate("si_snri", (2,), True),
    "si_snri/3": Aggregate("si_snri", (3,), True),
    "si_snri/4": Aggregate("si_snri", (4,), True),
    "si_snri/2-4": Aggregate("si_snri", (2, 3, 4), True),
    "si_snri_all/2-4": Aggregate("si_snri", (2, 3, 4), False),
    "si_snri_all/2-4/median": Aggregate("si_snri", (2, 3, 4), False, median=True),
    "under_separation": Aggregate("under_separation", (1, 2, 3, 4), False),
    "equal_separation": Aggregate("equal_separation", (1, 2, 3, 4), False),
    "over_separation": Aggregate("over_separation", (1, 2, 3, 4), False),
    "hole_rate": Aggregate(HOLES, (1, 2, 3, 4), True),
    "excess_rate": Aggregate("excess_rate", (1, 2, 3, 4), True),
}
ALL_PAIRS = AGGREGATES["si_snri_all/2-4"]


def read_scores(files: Sequence[Path]) -> pd.DataFrame:
    """Read long tables of scores, as `apit evaluate` writes them, into one."""
    tables = []
    for file in files:
        try:
            table = pd.read_csv(file)
        except (ValueError, EOFError, zlib.error) as error:
            raise UserError(f"{file}: cannot be read as a table: {error}; make it again") from None
        missing = [c for c in (*RUN_COLUMNS, *SCORE_COLUMNS) if c not in table.columns]
        if missing:
            raise UserError(f"{file}: has no column {', '.join(missing)}; is it of apit evaluate?")
        tables.append(table)
    scores = pd.concat(tables, ignore_index=True)
    keys = ["experiment", "seed", "example", "source", "metric"]
    if (twice := scores.duplicated(keys)).any():
        experiment, seed = scores.loc[twice, ["experiment", "seed"]].iloc[0]
        raise UserError(
            f"{', '.join(map(str, files))}: {experiment}, seed {seed}, is in them twice"
        )
    return scores


def summarise(scores: pd.DataFrame, resamples: int) -> pd.DataFrame:
    """Aggregate every experiment's scores: columns experiment, aggregate, mean, lower, upper, n.

    Means are pooled over pairs and seeds. Intervals are 95 % bootstrap intervals over mixtures,
    resampled within each number of active targets; they say nothing about other seeds.
    """
    tables = []
    for experiment, rows in scores.groupby("experiment", sort=False):
        table = _by_pair(rows)
        for name, aggregate in AGGREGATES.items():
            values = _select(table, aggregate)
            tables.append(
                {"experiment": experiment, "aggregate": name}
                | interval(values, aggregate.median, resamples)
            )
    return pd.DataFrame(tables)


def differences(scores: pd.DataFrame, baseline: str, resamples: int) -> pd.DataFrame:
    """MSi(all) of every experiment less that of `baseline`, pair by pair and seed by seed.

    Columns experiment, seed (the string `all` for all seeds that both have), mean, lower, upper,
    n. Intervals are over mixtures, as in `summarise`. Oracles, and experiments that share no seed
    with the baseline, are left out; without a baseline there is no row.
    """
    keys = ["seed", "example", "source"]
    columns = ["experiment", "seed", "mean", "lower", "upper", "n"]
    if baseline not in scores["experiment"].unique():
        return pd.DataFrame(columns=columns)
    chosen = _select(_by_pair(scores[scores["experiment"] == baseline]), ALL_PAIRS, keys)
    rows = []
    for experiment, own in scores.groupby("experiment", sort=False):
        if experiment == baseline or experiment in ORACLES:
            continue
        both = _select(_by_pair(own), ALL_PAIRS, keys).merge(
            chosen, on=[*keys, "targets"], suffixes=("", "_baseline"), validate="one_to_one"
        )
        both["value"] -= both["value_baseline"]
        if both.empty:
            continue
        for seed, values in [("all", both), *both.groupby("seed")]:
            rows.append(
                {"experiment": experiment, "seed": str(seed)} | interval(values, False, resamples)
            )
    return pd.DataFrame(rows, columns=columns)


def hole_curve(scores: pd.DataFrame, resamples: int) -> pd.DataFrame:
    """Hole rate against depth over counted pairs: experiment, depth_db, mean, lower, upper, n."""
    metrics = [m for m in scores["metric"].unique() if m.startswith("hole_rate_")]
    rows = []
    for experiment, own in scores.groupby("experiment", sort=False):
        table = _by_pair(own)
        for metric in metrics:
            values = _select(table, Aggregate(metric, (1, 2, 3, 4), True))
            depth = float(metric.removeprefix("hole_rate_"))
            rows.append(
                {"experiment": experiment, "depth_db": depth} | interval(values, False, resamples)
            )
    return pd.DataFrame(rows)


def _by_pair(rows: pd.DataFrame) -> pd.DataFrame:
    """One row for each seed, example and source; one column for each metric."""
    keys = ["seed", "example", "source"]
    wide = rows.pivot(index=keys, columns="metric", values="value").reset_index()
    counts = wide[wide["source"] == WHOLE_MIXTURE].set_index(["seed", "example"])["active_targets"]
    wide["targets"] = counts.reindex(pd.MultiIndex.from_frame(wide[["seed", "example"]])).to_numpy()
    return wide


def _select(
    table: pd.DataFrame, aggregate: Aggregate, keys: Sequence[str] = ("example",)
) -> pd.DataFrame:
    """Columns example (or others), targets and value of what an aggregate takes."""
    taken = table["targets"].isin(aggregate.targets) & table[aggregate.metric].notna()
    if aggregate.counted_only:
        taken &= table["counted"] == 1
    return table.loc[taken, [*keys, "targets", aggregate.metric]].rename(
        columns={aggregate.metric: "value"}
    )


def interval(values: pd.DataFrame, median: bool, resamples: int) -> dict[str, float]:
    """Mean (or median) of `value` with its interval over mixtures, and the number of values.

    Whole mixtures are drawn (their pairs stay together), within strata of equal `targets`. An
    empty selection gives NaN and n = 0.
    """
    if values.empty:
        return {"mean": np.nan, "lower": np.nan, "upper": np.nan, "n": 0}
    numbers, names = pd.factorize(values["example"])
    strata = values.groupby(numbers)["targets"].first().to_numpy()
    value = values["value"].to_numpy(dtype=np.float64)
    centre = _median(numbers, value) if median else _mean(numbers, value)
    weights = _bootstrap_weights(strata, resamples)  # [resample, mixture]
    lower, upper = np.quantile(centre(weights), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return {
        "mean": float(centre(np.ones((1, len(names))))[0]),
        "lower": float(lower),
        "upper": float(upper),
        "n": len(value),
    }


def _bootstrap_weights(strata: NDArray[np.generic], resamples: int) -> Floats:
    """How often each mixture is drawn in each resample [resample, mixture]."""
    generator = array_generator("bootstrap")
    weights = np.zeros((resamples, len(strata)))
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        share = np.full(len(members), 1 / len(members))
        weights[:, members] = generator.multinomial(len(members), share, resamples)
    return weights


def _mean(numbers: NDArray[np.intp], value: Floats) -> Callable[[Floats], Floats]:
    sums, counts = np.bincount(numbers, value), np.bincount(numbers)
    return lambda weights: (weights @ sums) / (weights @ counts)


def _median(numbers: NDArray[np.intp], value: Floats) -> Callable[[Floats], Floats]:
    order = np.argsort(value, kind="stable")

    def weighted(weights: Floats) -> Floats:
        # The mean of the two middle values where the drawn values are even in number.
        cumulative = weights[:, numbers[order]].cumsum(axis=1)
        total = cumulative[:, -1:]
        low = (cumulative < np.floor((total + 1) / 2)).sum(axis=1)
        high = (cumulative < np.floor(total / 2) + 1).sum(axis=1)
        middle: Floats = (value[order][low] + value[order][high]) / 2
        return middle

    return weighted
