"""One evaluation mixture under several systems, chosen by rule, to be looked at."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from apit.config import HEADLINE_DB, Audio
from apit.data.examples import open_examples
from apit.errors import UserError
from apit.losses.reconstruction import is_silent
from apit.measure import spectral_holes
from apit.measure.estimates import read_estimates
from apit.models.stft import STFT


@dataclass(frozen=True)
class View:
    """A spectrogram in dB [bin, frame], and its holes of 20 dB (bool) where it is an estimate."""

    title: str
    decibels: Tensor
    holes: Tensor | None = None


@dataclass(frozen=True)
class Showcase:
    """Rows of views, one row for each target: mixture, target, and one estimate per system."""

    example: str
    rows: list[list[View]]
    seconds: float
    kilohertz: float


def best_adversarial(runs: Mapping[Path, Mapping[str, Any]]) -> Path | None:
    """The run with discriminators that is best on the validation split; None if there is none."""
    adversarial = [f for f, record in runs.items() if record["run"]["discriminators"]]
    return max(adversarial, key=lambda f: runs[f]["validation"]["si_snri_all"], default=None)


def showcase(
    runs: Mapping[Path, Mapping[str, Any]], data: Path, estimates: Path, audio: Audio, stft: STFT
) -> Showcase:
    """The first kept example with most active targets, under `pit` and the best adversarial run."""
    chosen = [folder for folder, record in runs.items() if record["run"]["experiment"] == "pit"][:1]
    if (best := best_adversarial(runs)) is not None:
        chosen.append(best)
    chosen = chosen or list(runs)[:1]
    kept = {p.name for p in (estimates / chosen[0].name).iterdir()}
    examples = open_examples(data, "eval", audio)
    shown = [number for number, name in enumerate(examples.names) if name in kept]
    if not shown:
        raise UserError(f"{estimates / chosen[0].name}: holds no estimate of {data}'s eval split")
    sources = {examples.names[number]: torch.from_numpy(examples.read(number)) for number in shown}
    name = max(sources, key=lambda n: int((~is_silent(sources[n])).sum()))
    references = sources[name]
    mixture = references.sum(0)
    separated = {f.name: read_estimates(estimates / f.name / name, audio) for f in chosen}
    rows = []
    for slot in (~is_silent(references)).nonzero().flatten().tolist():
        row = [
            View("mixture", _decibels(stft.analyse(mixture).abs())),
            View(f"target {slot + 1}", _decibels(stft.analyse(references[slot]).abs())),
        ]
        for run, signals in separated.items():
            passage = spectral_holes.passage(
                reference=references[slot], estimate=signals[slot], stft=stft
            )
            holes = passage.holes(HEADLINE_DB)
            row.append(View(run, _decibels(passage.estimate), holes))
        rows.append(row)
    return Showcase(name, rows, audio.seconds, audio.sample_rate / 2000)


def _decibels(magnitude: Tensor) -> Tensor:
    return 20 * torch.log10(magnitude + 1e-8)
