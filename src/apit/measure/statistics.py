"""Scores → aggregates: means with intervals over mixtures."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from apit.config import HEADLINE_DB, ORACLES, Reported
from apit.measure.table import BSS_EVAL, WHOLE_MIXTURE
from apit.measure.variance import Sample
from apit.provenance import array_generator

CONFIDENCE = 0.95
CLIP_DB = (-10.0, 30.0)  # one value of −80 dB moves a mean by more than claims do [ours]
DEPTH = re.compile(r"hole_rate_[\d.]+")  # the points of the curve
MOSTLY_MISSING = 0.5  # of R: a target whose estimate is not present
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Aggregate:
    """A number of the tables: which scores it takes, and how it reads them.

    A metric has a value for each active target, or, with the source −1, for each mixture.
    """

    metric: str  # of the long table
    targets: tuple[int, ...]  # numbers of active targets
    counted_only: bool = False  # the FUSS evaluator's pairs alone, not all active targets
    centre: Literal["mean", "median", "iqm"] = "mean"  # iqm: mean of the middle half
    clip: tuple[float, float] | None = None  # to which each value is limited


ANY, SEVERAL = (1, 2, 3, 4, 5, 6), (2, 3, 4)
EVERY = (
    *("si_snr_s", "si_snr_i", "buried", "si_snr", "si_snri"),
    *("under_separation", "equal_separation", "over_separation"),
)
HOLES = f"hole_rate_{HEADLINE_DB}"
AGGREGATES = {
    # The paper's SI-SNR: one value for each mixture.
    "si_snr_s": Aggregate("si_snr_s", (1,)),
    "si_snr_i": Aggregate("si_snr_i", SEVERAL),
    **{f"si_snr_i/{count}": Aggregate("si_snr_i", (count,)) for count in SEVERAL},
    "si_snr_i/median": Aggregate("si_snr_i", SEVERAL, centre="median"),
    "si_snr_i/iqm": Aggregate("si_snr_i", SEVERAL, centre="iqm"),
    "si_snr_i/clipped": Aggregate("si_snr_i", SEVERAL, clip=CLIP_DB),
    "buried": Aggregate("buried", ANY),  # a share of active targets
    # The FUSS evaluator's: one value for each active target.
    "si_snr/1": Aggregate("si_snr", (1,), counted_only=True),
    **{f"si_snri/{count}": Aggregate("si_snri", (count,), counted_only=True) for count in SEVERAL},
    "si_snri/2-4": Aggregate("si_snri", SEVERAL, counted_only=True),
    "si_snri_all/2-4": Aggregate("si_snri", SEVERAL),
    "si_snri_all/2-4/median": Aggregate("si_snri", SEVERAL, centre="median"),
    **{f"{kind}_separation": Aggregate(f"{kind}_separation", ANY)
       for kind in ("under", "equal", "over")},
    "hole_rate": Aggregate(HOLES, ANY),
    **{metric: Aggregate(metric, ANY) for metric in ("missing_rate", "excess_rate")},
    **{f"{metric}{of}/2-4": Aggregate(f"{metric}{of}", SEVERAL)
       for of in ("", "_whole") for metric in BSS_EVAL},
    "log_spectral_distance/2-4": Aggregate("log_spectral_distance", SEVERAL),
}  # fmt: skip
# By which systems are compared: the paper's measure, and that under which silence is −80 dB.
COMPARED = ("si_snr_i", "si_snri_all/2-4")


def summarise(scores: pd.DataFrame, resamples: int) -> pd.DataFrame:
    """Aggregate every experiment's scores: columns experiment, aggregate, mean, lower, upper, n.

    Aggregates are those whose metric the scores hold. Means are over mixtures for the paper's
    SI-SNR, and over pairs for all others; seeds are pooled.
    Intervals are 95 % bootstrap intervals over mixtures, resampled within each number of active
    targets; they say nothing about other seeds.
    """
    return pd.DataFrame(
        [
            {"experiment": experiment, "aggregate": name} | values
            for experiment, rows in scores.groupby("experiment", sort=False)
            for name, values in _aggregated(rows, resamples).items()
        ]
    )


def _aggregated(rows: pd.DataFrame, resamples: int) -> dict[str, dict[str, float]]:
    """Aggregates of one experiment: name → mean, lower, upper, n."""
    table = by_pair(rows)
    return {
        name: interval(_select(table, aggregate), resamples, aggregate.centre)
        for name, aggregate in AGGREGATES.items()
        if aggregate.metric in table
    }


def summary(scores: pd.DataFrame, resamples: int) -> dict[str, Any]:
    """One system's aggregates: name → {mean, lower, upper, n}, as in `summarise`.

    Medians stand beside their means; `examples_scored` and `examples_skipped` count.
    What no pair has a value for is None, with n = 0.
    """
    skipped = scores.loc[scores["metric"] == "skipped", "example"].nunique()
    scored = scores["example"].nunique() - skipped
    clean: dict[str, Any] = {
        name: {key: None if np.isnan(value) else value for key, value in values.items()}
        for name, values in _aggregated(scores.assign(experiment="", seed=0), resamples).items()
    }
    for name in [name for name in clean if AGGREGATES[name].centre == "median"]:
        clean[name.removesuffix("/median")]["median"] = clean.pop(name)["mean"]
    return clean | {"examples_scored": scored, "examples_skipped": skipped}


def differences(scores: pd.DataFrame, baseline: str, resamples: int) -> pd.DataFrame:
    """What every experiment has more than `baseline` in the measures of `COMPARED`.

    Differences are taken value by value (of mixtures or pairs) and seed by seed. Columns
    experiment, aggregate, seed (the string `all` for all seeds that both have), mean, lower, upper,
    n. Intervals are over mixtures, as in `summarise`. Oracles, and experiments that share no seed
    with the baseline, are left out; without a baseline there is no row.
    """
    keys = ["seed", "example", "source"]
    columns = ["experiment", "aggregate", "seed", "mean", "lower", "upper", "n"]
    if baseline not in scores["experiment"].unique():
        return pd.DataFrame(columns=columns)
    of_baseline = by_pair(scores[scores["experiment"] == baseline])
    rows = []
    for experiment, own in scores.groupby("experiment", sort=False):
        if experiment == baseline or experiment in ORACLES:
            continue
        table = by_pair(own)
        for name in COMPARED:
            both = _select(table, AGGREGATES[name], keys).merge(
                _select(of_baseline, AGGREGATES[name], keys),
                on=[*keys, "targets"],
                suffixes=("", "_baseline"),
                validate="one_to_one",
            )
            both["value"] -= both["value_baseline"]
            if both.empty:
                continue
            for seed, values in [("all", both), *both.groupby("seed")]:
                rows.append(
                    {"experiment": experiment, "aggregate": name, "seed": str(seed)}
                    | interval(values, resamples)
                )
    return pd.DataFrame(rows, columns=columns)


def published_differences(reported: Sequence[Reported], baseline: str) -> dict[str, float]:
    """Published SI-SNR_I of each experiment less that of `baseline`, in dB.

    Only of the paper's metric, and of the same data as the baseline's.
    """
    rows = {line.experiment: line for line in reported if line.metric == "A"}
    if (base := rows.get(baseline)) is None or "2-4" not in base.values:
        return {}
    return {
        name: line.values["2-4"] - base.values["2-4"]
        for name, line in rows.items()
        if name is not None
        and name not in (baseline, *ORACLES)
        and line.data == base.data
        and "2-4" in line.values
    }


def samples_of(table: pd.DataFrame, aggregate: str) -> dict[str, Sample]:
    """An aggregate of all runs of a table of `by_pair`, by experiment, over the same mixtures.

    Experiments without a value are left out.
    """
    one = AGGREGATES[aggregate]
    if one.metric not in table:
        return {}
    keys = ["experiment", "seed", "example"]
    values = _select(table, one, keys).groupby(keys, sort=False)["value"].agg(["mean", "count"])
    by_mixture = values.unstack("example", fill_value=0.0)
    return {
        str(name): Sample(
            tuple(own.index.get_level_values("seed")),
            own["mean"].to_numpy(np.float64),
            own["count"].to_numpy(np.float64),
            name in ORACLES,
        )
        for name, own in by_mixture.groupby("experiment", sort=False)
    }


def probability_of_improvement(
    experiment: Sample, baseline: Sample, better: str, resamples: int
) -> dict[str, float]:
    """How probably a run of one experiment does better on a mixture than one of the other.

    Over all pairs of runs; the same value counts half. With an interval over mixtures.
    """
    both = (experiment.weights[:, None] > 0) & (baseline.weights > 0)  # [seed, seed, mixture]
    apart = experiment.values[:, None] - baseline.values
    wins = np.heaviside(apart if better == "higher" else -apart, 0.5)
    counts = both.sum((0, 1))
    share = (wins * both).sum((0, 1))[counts > 0] / counts[counts > 0]
    values = pd.DataFrame({"example": range(len(share)), "targets": 0, "value": share})
    return interval(values, resamples)


def hole_curve(scores: pd.DataFrame, resamples: int) -> pd.DataFrame:
    """Hole rate against depth over active targets: experiment, depth_db, mean, lower, upper, n."""
    metrics = filter(DEPTH.fullmatch, scores["metric"].unique())
    by_depth = {float(metric.removeprefix("hole_rate_")): metric for metric in metrics}
    rows = []
    for experiment, own in scores.groupby("experiment", sort=False):
        table = by_pair(own)
        for depth, metric in sorted(by_depth.items()):
            values = _select(table, Aggregate(metric, ANY))
            rows.append({"experiment": experiment, "depth_db": depth} | interval(values, resamples))
    return pd.DataFrame(rows, columns=["experiment", "depth_db", "mean", "lower", "upper", "n"])


def hole_correlation(scores: pd.DataFrame) -> dict[str, float]:
    """Spearman's rank correlation of hole rates with SI-SNR improvements, by experiment.

    Over the targets that are present (missing from less than half of where others sound about as
    loud), seeds pooled. NaN where fewer than three are, or all are alike; empty without hole rates.
    """
    if HOLES not in set(scores["metric"]):
        return {}
    correlations = {}
    for experiment, rows in scores.groupby("experiment", sort=False):
        table = by_pair(rows)
        present = table[(table["missing_rate"] < MOSTLY_MISSING) & table[HOLES].notna()]
        some = len(present) > 2 and present[[HOLES, "si_snri_standard"]].nunique().min() > 1
        rank = present[HOLES].corr(present["si_snri_standard"], "spearman") if some else np.nan
        correlations[str(experiment)] = float(rank)
    return correlations


def by_pair(rows: pd.DataFrame) -> pd.DataFrame:
    """One row for each experiment, seed, example and source; one column for each metric.

    Beside them `targets`, how many sound in the example.
    """
    keys = ["experiment", "seed", "example", "source"]
    wide = rows.pivot(index=keys, columns="metric", values="value").reset_index()
    for metric in (*EVERY, "counted", "active_targets"):
        if metric not in wide:  # no target sounds in any mixture
            wide[metric] = np.nan
    of_mixtures = wide[wide["source"] == WHOLE_MIXTURE].set_index(keys[:-1])["active_targets"]
    wide["targets"] = of_mixtures.reindex(pd.MultiIndex.from_frame(wide[keys[:-1]])).to_numpy()
    return wide


def _select(
    table: pd.DataFrame, aggregate: Aggregate, keys: Sequence[str] = ("example",)
) -> pd.DataFrame:
    """Columns example (or others), targets and value of what an aggregate takes."""
    taken = table["targets"].isin(aggregate.targets) & table[aggregate.metric].notna()
    if aggregate.counted_only:
        taken &= table["counted"] == 1
    chosen = table.loc[taken, [*keys, "targets", aggregate.metric]]
    chosen = chosen.rename(columns={aggregate.metric: "value"})
    if aggregate.clip is not None:
        chosen["value"] = chosen["value"].clip(*aggregate.clip)
    return chosen


def interval(
    values: pd.DataFrame, resamples: int, centre: Literal["mean", "median", "iqm"] = "mean"
) -> dict[str, float]:
    """Mean (or another centre) of `value`, its interval over mixtures, and the number of values.

    Whole mixtures are drawn (their pairs stay together), within strata of equal `targets`. An
    empty selection gives NaN and n = 0.
    """
    if values.empty:
        return {"mean": np.nan, "lower": np.nan, "upper": np.nan, "n": 0}
    numbers, names = pd.factorize(values["example"])
    strata = values.groupby(numbers)["targets"].first().to_numpy()
    value = values["value"].to_numpy(dtype=np.float64)
    weighted = CENTRES[centre](numbers, value)
    weights = _bootstrap_weights(strata, resamples)  # [resample, mixture]
    lower, upper = np.quantile(weighted(weights), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return {
        "mean": float(weighted(np.ones((1, len(names))))[0]),
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


def _interquartile_mean(numbers: NDArray[np.intp], value: Floats) -> Callable[[Floats], Floats]:
    """The mean of the middle half; a value on its edge counts in part (as in rliable)."""
    order = np.argsort(value, kind="stable")

    def weighted(weights: Floats) -> Floats:
        cumulative = weights[:, numbers[order]].cumsum(axis=1)
        total = cumulative[:, -1:]
        within = np.clip(
            cumulative, total / 4, 3 * total / 4
        )  # what lies below, in the middle half
        share = np.diff(within, axis=1, prepend=total / 4)
        middle: Floats = share @ value[order] / (total[:, 0] / 2)
        return middle

    return weighted


CENTRES = {"mean": _mean, "median": _median, "iqm": _interquartile_mean}
