"""Scores → how single mixtures came out: what lies behind a mean."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from apit.measure.statistics import AGGREGATES, by_pair


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
    measure, table = AGGREGATES["si_snr_i"], by_pair(scores)
    taken = table[table["targets"].isin(measure.targets) & table[measure.metric].notna()]
    return {
        str(name): Spread(values, *map(float, np.quantile(values, (0.25, 0.5, 0.75))))
        for name, own in taken.groupby("experiment", sort=False)
        for values in [own[measure.metric].to_numpy()]
    }
