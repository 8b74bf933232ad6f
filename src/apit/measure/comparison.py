"""Comparison: the same job done twice, told apart by the noise between seeds and not by bytes."""

import numpy as np
import pandas as pd
from scipy import stats

from apit.config import ORACLES
from apit.measure.statistics import CONFIDENCE, by_pair, samples_of

COMPARED = {  # aggregate: factor and digits with which it is told
    "si_snr_s": (1, 1),
    "si_snr_i": (1, 2),
    "si_snri_all/2-4": (1, 2),
    "buried": (100, 1),
}
SAME, WITHIN, UNKNOWN, DIFFERENT = (
    *("the same", "within the noise between seeds", "not known: one seed", "different"),
)


def seed_means(scores: pd.DataFrame) -> pd.DataFrame:
    """What each run has in the measures of `COMPARED`: experiment, seed, aggregate, mean."""
    table = by_pair(scores)
    rows = [
        (experiment, seed, aggregate, mean)
        for aggregate in COMPARED
        for experiment, sample in samples_of(table, aggregate).items()
        for seed, mean in zip(sample.seeds, sample.means, strict=True)
    ]
    return pd.DataFrame(rows, columns=["experiment", "seed", "aggregate", "mean"])


def compare(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """Compare two tables of `seed_means`, line by line.

    Columns: experiment, aggregate, before and after (means over seeds, in the unit and with the
    digits of `COMPARED`), margin (how far means of so many seeds lie apart by chance, 95 %, by the
    t-distribution and the deviation between the seeds of `before`), verdict. Lines that only one
    of them has are `different`.
    """
    keys = ["experiment", "aggregate"]
    rows = []
    lines = pd.concat([after[keys], before[keys]]).drop_duplicates()
    for experiment, aggregate in lines.itertuples(index=False):
        factor, digits = COMPARED[aggregate]
        old, new = (
            factor * table[table[keys].eq([experiment, aggregate]).all(axis=1)]["mean"]
            for table in (before, after)
        )
        margin = float("nan") if experiment in ORACLES else margin_of(old, new)
        means = float(old.mean()), float(new.mean())
        verdict = _verdict(*means, 10**-digits, margin, oracle=experiment in ORACLES)
        rows.append((experiment, aggregate, *(round(m, digits) for m in means), margin, verdict))
    return pd.DataFrame(rows, columns=[*keys, "before", "after", "margin", "verdict"])


def margin_of(before: "pd.Series[float]", after: "pd.Series[float]") -> float:
    """How far the means of two sets of seeds lie apart by chance; NaN where nobody knows."""
    if len(before) < 2 or not len(after):
        return float("nan")
    quantile = stats.t.ppf((1 + CONFIDENCE) / 2, len(before) - 1)
    deviation = before.std(ddof=1) * np.sqrt(1 / len(before) + 1 / len(after))
    return float(quantile * deviation)


def _verdict(before: float, after: float, unit: float, margin: float, *, oracle: bool) -> str:
    """`unit` is one of the last digit that is printed: mixtures differ in last bits elsewhere."""
    if abs(after - before) < unit or (np.isnan(before) and np.isnan(after)):
        return SAME
    if oracle or np.isnan(before) or np.isnan(after):
        return DIFFERENT
    if np.isnan(margin):
        return UNKNOWN
    return WITHIN if abs(after - before) <= margin else DIFFERENT
