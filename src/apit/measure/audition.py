"""Chosen mixtures under every system, as they are to be heard and seen: stimuli of equal level."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from apit.config import HEADLINE_DB
from apit.data.batches import Batch, whole_examples
from apit.data.examples import Examples
from apit.errors import UserError
from apit.losses.permutation import SILENT_RMS
from apit.measure import si_snr, spectral_holes
from apit.measure.score import System
from apit.measure.selection import Chosen, Label
from apit.models.stft import STFT

LEVEL_DB = -26.0  # RMS of every stimulus, relative to full scale, or less where a peak asks for it
PEAK = 0.98  # of full scale, which no stimulus exceeds
FULL_SCALE = 32767
AGREE_DB = 0.5  # between scores from one device and sounds from another

MIXTURE, TARGET = "mixture", "target"


@dataclass(frozen=True)
class Stimulus:
    """A sound, its spectrogram, and what the table of scores says of it."""

    name: str  # mixture, target, or the system that it is an estimate of
    samples: NDArray[np.int16]  # [time], level-matched
    gain_db: float | None  # by which it was level-matched; None: it is silent
    decibels: Tensor  # [bin, frame], of the samples
    holes: Tensor | None = None  # bool [bin, frame], of the depth that tables show
    si_snr: float | None = None  # dB
    si_snri: float | None = None  # dB; None beside a single active target
    hole_rate: float | None = None  # None: there is none, as when the target is missing
    missing_rate: float | None = None


@dataclass(frozen=True)
class Scene:
    """A chosen mixture: for every active target, its slot and stimuli, mixture and target first."""

    chosen: Chosen
    sources: list[tuple[int, list[Stimulus]]]


def audition(
    examples: Examples,
    chosen: Sequence[Chosen],
    systems: Iterable[System],
    scores: pd.DataFrame,
    stft: STFT,
) -> Iterator[Scene]:
    """Separate the chosen examples by one system after the other, and show them one by one.

    Estimates are aligned with their targets as `apit evaluate` aligns them. Raises UserError where
    `scores` lack a number, or what is heard has another SI-SNR than they say.
    """
    if unknown := [one.example for one in chosen if one.example not in examples.names]:
        raise UserError(
            f"{unknown[0]}: is in the scores, but not in the evaluation split of --data"
        )
    numbers = [examples.names.index(one.example) for one in chosen]
    batches = list(whole_examples(examples, 1, numbers))
    separated = {Label(s.experiment, s.seed): [_aligned(s, b) for b in batches] for s in systems}
    table = _Table(scores, [one.example for one in chosen])
    for place, (one, batch) in enumerate(zip(chosen, batches, strict=True)):
        sources = []
        active = (batch.references[0].square().mean(-1).sqrt() > SILENT_RMS).nonzero()
        for slot in active.flatten().tolist():
            estimates = {label: own[place][0][slot] for label, own in separated.items()}
            for label, own in separated.items():
                table.check(label, one.example, slot, float(own[place][1][slot]))
            sources.append(
                (slot, _stimuli(one.example, slot, batch.references[0, slot], batch.mixture[0],
                                estimates, table, stft, examples.audio.sample_rate,
                                alone=len(active) == 1))
            )  # fmt: skip
        yield Scene(one, sources)


def _aligned(system: System, batch: Batch) -> tuple[Tensor, Tensor]:
    """Aligned estimates [source, time] of a batch of one example, and their SI-SNR [source]."""
    with torch.inference_mode():
        estimates = system.separate(batch)
    scores = si_snr.score(references=batch.references, estimates=estimates, mixture=batch.mixture)
    return estimates[0, scores.permutation[0]], scores.si_snr[0]


def _stimuli(
    example: str,
    slot: int,
    target: Tensor,
    mixture: Tensor,
    estimates: dict[Label, Tensor],
    table: "_Table",
    stft: STFT,
    rate: int,
    *,
    alone: bool,
) -> list[Stimulus]:
    signals = torch.stack([mixture, target, *estimates.values()])
    matched, gains = level_matched(signals)
    spectra = 20 * torch.log10(stft.analyse(matched.float()).abs() + 1e-8)
    samples = (matched * FULL_SCALE).round().to(torch.int16).numpy()
    gains_db = [20 * float(gain.log10()) if gain > 0 else None for gain in gains]
    some = next(iter(estimates))
    of_mixture = table.value(some, example, slot, "si_snr_mixture")
    stimuli = [
        Stimulus(
            MIXTURE, samples[0], gains_db[0], spectra[0], si_snr=None if alone else of_mixture
        ),
        Stimulus(TARGET, samples[1], gains_db[1], spectra[1]),
    ]
    for number, (label, estimate) in enumerate(estimates.items(), 2):
        passage = spectral_holes.passage(
            reference=target, estimate=estimate, mixture=mixture, stft=stft, rate=rate
        )
        stimuli.append(
            Stimulus(
                str(label),
                samples[number],
                gains_db[number],
                spectra[number],
                passage.holes(HEADLINE_DB),
                table.value(label, example, slot, "si_snr"),
                None if alone else table.value(label, example, slot, "si_snri"),
                _defined(table.value(label, example, slot, f"hole_rate_{HEADLINE_DB}")),
                _defined(table.value(label, example, slot, "missing_rate")),
            )
        )
    return stimuli


def _defined(value: float) -> float | None:
    return None if isnan(value) else value


def level_matched(signals: Tensor) -> tuple[Tensor, Tensor]:
    """Scale signals [signal, time] to one RMS → the same in float64, and their gains [signal].

    It is −26 dB relative to full scale, or as much less as keeps the highest of all their peaks at
    0.98; silence stays silent, with a gain of 0.
    """
    rms = signals.double().square().mean(-1).sqrt()
    gains = torch.where(rms > SILENT_RMS, 10 ** (LEVEL_DB / 20) / rms, 0.0)
    loudest = (gains * signals.double().abs().amax(-1)).max()
    gains = gains * min(1.0, PEAK / float(loudest)) if loudest > 0 else gains
    return gains[:, None] * signals.double(), gains


class _Table:
    """Numbers of the chosen examples, from the table of scores."""

    def __init__(self, scores: pd.DataFrame, examples: Sequence[str]):
        own = scores[scores["example"].isin(examples)]
        keys = own[["experiment", "seed", "example", "source", "metric"]]
        self.values: dict[tuple[Any, ...], float] = dict(
            zip(keys.itertuples(index=False, name=None), own["value"], strict=True)
        )

    def value(self, label: Label, example: str, slot: int, metric: str) -> float:
        """A number of a system's estimate; raises UserError where there is none."""
        value = self.values.get((*label, example, slot, metric))
        if value is None:
            raise UserError(
                f"{label}: --scores hold no {metric} of source {slot} of {example}; evaluate it "
                "with --spectral-holes, and give the file"
            )
        return value

    def check(self, label: Label, example: str, slot: int, heard_db: float) -> None:
        """Raise UserError unless what is heard is what was scored."""
        scored_db = self.value(label, example, slot, "si_snr")
        if abs(scored_db - heard_db) > AGREE_DB:
            raise UserError(
                f"{label}: SI-SNR of source {slot} of {example} is {scored_db:.2f} dB in the "
                f"scores, and {heard_db:.2f} dB here: they are of other weights or other data; "
                "evaluate it anew"
            )
