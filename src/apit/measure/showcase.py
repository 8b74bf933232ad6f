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

ZOOM = (4, 6)  # into which parts of the band, and of the time, the passage is one


@dataclass(frozen=True)
class View:
    """A spectrogram [bin, frame] in dB below the loudest bin of the mixture and its targets.

    Its holes of 20 dB (bool) where it is an estimate.
    """

    title: str
    decibels: Tensor
    holes: Tensor | None = None


@dataclass(frozen=True)
class Zoom:
    """A passage to be looked at closely: in which row, and which bins and frames."""

    row: int
    bins: slice
    frames: slice


@dataclass(frozen=True)
class Showcase:
    """Rows of views, one row for each target: mixture, target, and one estimate per system."""

    example: str
    rows: list[list[View]]
    seconds: float
    kilohertz: float
    zoom: Zoom


def best_adversarial(runs: Mapping[Path, Mapping[str, Any]]) -> Path | None:
    """The run that is best on the validation split, of those with discriminators that learn.

    None if there is none.
    """
    return _best_on_validation(
        {
            folder: record
            for folder, record in runs.items()
            if any(not judge["frozen"] for judge in record["run"]["discriminators"])
        }
    )


def best_plain(runs: Mapping[Path, Mapping[str, Any]]) -> Path | None:
    """The same of those without discriminators."""
    return _best_on_validation(
        {folder: record for folder, record in runs.items() if not record["run"]["discriminators"]}
    )


def _best_on_validation(runs: Mapping[Path, Mapping[str, Any]]) -> Path | None:
    return max(runs, key=lambda folder: runs[folder]["validation"]["si_snri_all"], default=None)


def showcase(
    runs: Mapping[Path, Mapping[str, Any]],
    data: Path,
    estimates: Mapping[Path, Path],
    audio: Audio,
    stft: STFT,
) -> Showcase:
    """The first kept example with most active targets, under `pit` and the best adversarial run."""
    chosen = [folder for folder, record in runs.items() if record["run"]["experiment"] == "pit"][:1]
    if (best := best_adversarial(runs)) is not None:
        chosen.append(best)
    chosen = chosen or list(runs)[:1]
    kept = {p.name for p in estimates[chosen[0]].iterdir()}
    examples = open_examples(data, "eval", audio)
    shown = [number for number, name in enumerate(examples.names) if name in kept]
    if not shown:
        raise UserError(f"{estimates[chosen[0]]}: holds no estimate of {data}'s eval split")
    sources = {examples.names[number]: torch.from_numpy(examples.read(number)) for number in shown}
    name = max(sources, key=lambda n: int((~is_silent(sources[n])).sum()))
    references = sources[name]
    mixture = stft.analyse(references.sum(0)).abs()
    targets = stft.analyse(references).abs()
    loudest = torch.maximum(mixture.max(), targets.max())
    separated = {
        f"{run['experiment']}-s{run['seed']}": read_estimates(estimates[folder] / name, audio)
        for folder in chosen
        for run in [runs[folder]["run"]]
    }
    rows = []
    for slot in (~is_silent(references)).nonzero().flatten().tolist():
        row = [
            View("mixture", _decibels(mixture / loudest)),
            View(f"target {slot + 1}", _decibels(targets[slot] / loudest)),
        ]
        for run, signals in separated.items():
            passage = spectral_holes.passage(
                reference=references[slot], estimate=signals[slot], stft=stft
            )
            holes = passage.holes(HEADLINE_DB)
            row.append(View(run, _decibels(passage.estimate / loudest), holes))
        rows.append(row)
    in_first = torch.stack([row[2].holes for row in rows if row[2].holes is not None])
    return Showcase(name, rows, audio.seconds, audio.sample_rate / 2000, most_holes(in_first, ZOOM))


def most_holes(holes: Tensor, parts: tuple[int, int]) -> Zoom:
    """The window of a part of the bins and of the frames with most holes [row, bin, frame].

    Of several alike the first.
    """
    height, width = (
        max(1, size // part) for size, part in zip(holes.shape[1:], parts, strict=True)
    )
    shares = torch.nn.functional.avg_pool2d(holes.double(), (height, width), stride=1)
    row, low, start = map(int, torch.unravel_index(shares.argmax(), shares.shape))
    return Zoom(row, slice(low, low + height), slice(start, start + width))


def _decibels(magnitude: Tensor) -> Tensor:
    return 20 * torch.log10(magnitude + 1e-8)
