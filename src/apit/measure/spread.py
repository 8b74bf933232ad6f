"""Scores → how single mixtures came out: what lies behind a mean."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from apit.measure.statistics import AGGREGATES, by_run


@dataclass(frozen=True)
class Spread:
    """Values of single mixtures in dB [seed × mixture], and their quartiles."""

    values: NDArray[np.float64]
    lower: float
    median: float
    upper: float


def spreads(scores: pd.DataFrame) -> dict[str, Spread]:
    """Every experiment's spread of the mixtures' SI-SNR_I, in dB.

    Of mixtures of two to four active targets; all seeds together. Experiments without such a
    mixture are left out.
    """
    measure = AGGREGATES["si_snr_i"]
    of_seeds: dict[str, list[pd.Series]] = {}
    for (experiment, _), table in by_run(scores).items():
        taken = table["targets"].isin(measure.targets) & table[measure.metric].notna()
        of_seeds.setdefault(experiment, []).append(table.loc[taken, measure.metric])
    pooled = {name: np.concatenate(seeds) for name, seeds in of_seeds.items()}
    return {
        name: Spread(values, *map(float, np.quantile(values, (0.25, 0.5, 0.75))))
        for name, values in pooled.items()
        if len(values)
    }
