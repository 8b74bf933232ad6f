"""Scores → how single mixtures came out: what lies behind a mean."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from apit.measure.statistics import ALL_PAIRS, by_run


@dataclass(frozen=True)
class Spread:
    """Values of single mixtures in dB [seed × mixture], and their quartiles."""

    values: NDArray[np.float64]
    lower: float
    median: float
    upper: float


def spreads(scores: pd.DataFrame) -> dict[str, Spread]:
    """Every experiment's spread of each mixture's mean SI-SNRi over its active targets, in dB.

    Of mixtures of two to four active targets, as MSi(all); all seeds together. Experiments without
    such a mixture are left out.
    """
    found: dict[str, list[pd.Series]] = {}
    for (experiment, _), pairs in by_run(scores).items():
        taken = pairs[pairs["targets"].isin(ALL_PAIRS.targets) & pairs[ALL_PAIRS.metric].notna()]
        found.setdefault(experiment, []).append(taken.groupby("example")[ALL_PAIRS.metric].mean())
    pooled = {name: np.concatenate(seeds) for name, seeds in found.items()}
    return {
        name: Spread(values, *map(float, np.quantile(values, (0.25, 0.5, 0.75))))
        for name, values in pooled.items()
        if len(values)
    }
