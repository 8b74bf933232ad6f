"""One target of the evaluation under several systems, chosen by rule, to be looked at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from apit.config import HEADLINE_DB, Audio
from apit.data.examples import open_examples
from apit.errors import UserError
from apit.losses.reconstruction import is_silent
from apit.measure import si_snr, spectral_holes
from apit.measure.estimates import read_estimates
from apit.models.stft import STFT

BASELINE, DCASE = "pit", "pit-tdcnpp"  # the paper's, and that of DCASE
ZOOM = (4, 6)  # into which parts of the band, and of the time, the passage is one


@dataclass(frozen=True)
class View:
    """A spectrogram [bin, frame] in dB re the loudest bin of the target.

    An estimate stands at the target's level, with its holes (bool) of the depth of the tables.
    """

    title: str
    decibels: Tensor
    holes: Tensor | None = None


@dataclass(frozen=True)
class Zoom:
    """A passage to be looked at closely: of which target, and which bins and frames."""

    target: int
    bins: slice
    frames: slice


@dataclass(frozen=True)
class Showcase:
    """One target side by side: mixture, target, and one estimate for each system."""

    example: str
    views: list[View]
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


@dataclass(frozen=True)
class _Target:
    """A target of a kept example, and its estimates [system, time]."""

    example: str
    slot: int
    signal: Tensor
    mixture: Tensor
    estimates: Tensor


def showcase(
    runs: Mapping[Path, Mapping[str, Any]],
    data: Path,
    estimates: Mapping[Path, Path],
    audio: Audio,
    stft: STFT,
) -> Showcase:
    """The passage with most holes among estimates that are present, of targets of kept examples.

    Under `pit`, `pit-tdcnpp` and the best adversarial run, those that were run; present is what
    has an SI-SNR improvement above the median in all of them.
    """
    named = {record["run"]["experiment"]: folder for folder, record in runs.items()}
    shown = [named.get(BASELINE), named.get(DCASE), best_adversarial(runs)]
    systems = [folder for folder in shown if folder is not None] or list(runs)[:1]
    targets = _targets([estimates[folder] for folder in systems], data, audio)
    present = [targets[number] for number in above_median(torch.stack(
        [_improvements(target) for target in targets], dim=1
    ))]  # fmt: skip
    passages = [
        spectral_holes.passage(
            reference=target.signal.expand_as(target.estimates),
            estimate=target.estimates,
            mixture=target.mixture,
            stft=stft,
            rate=audio.sample_rate,
        )
        for target in present
    ]
    holes = [passage.holes(HEADLINE_DB) for passage in passages]
    zoom = most_holes(torch.stack([own.double().mean(0) for own in holes]), ZOOM)
    target, passage = present[zoom.target], passages[zoom.target]
    reference = passage.reference[0]
    mixture = stft.analyse(target.mixture / target.signal.abs().max()).abs()
    loudest = reference.max()
    views = [
        View("mixture", _decibels(mixture / loudest)),
        View(f"target {target.slot + 1}", _decibels(reference / loudest)),
    ]
    for number, folder in enumerate(systems):
        run = runs[folder]["run"]
        estimate = passage.estimate[number].nan_to_num(0.0, posinf=0.0)
        views.append(View(f"{run['experiment']}-s{run['seed']}", _decibels(estimate / loudest),
                          holes[zoom.target][number]))  # fmt: skip
    return Showcase(target.example, views, audio.seconds, audio.sample_rate / 2000, zoom)


def _targets(kept: Sequence[Path], data: Path, audio: Audio) -> list[_Target]:
    """Active targets of the examples that all systems kept; of mixtures, if there is one."""
    examples = open_examples(data, "eval", audio)
    alone: list[_Target] = []
    mixed: list[_Target] = []
    for number, name in enumerate(examples.names):
        if not all((folder / name).is_dir() for folder in kept):
            continue
        references = torch.from_numpy(examples.read(number))
        estimates = torch.stack([read_estimates(folder / name, audio) for folder in kept])
        active = (~is_silent(references)).nonzero().flatten().tolist()
        (mixed if len(active) > 1 else alone).extend(
            _Target(name, slot, references[slot], references.sum(0), estimates[:, slot])
            for slot in active
        )
    if not alone + mixed:
        raise UserError(f"{kept[0]}: holds no estimate of {data}'s eval split")
    return mixed or alone


def _improvements(target: _Target) -> Tensor:
    """SI-SNR improvements [system], in dB."""
    before = si_snr.si_snr(reference=target.signal, estimate=target.mixture)
    return si_snr.si_snr(reference=target.signal, estimate=target.estimates) - before


def above_median(values: Tensor) -> list[int]:
    """Columns that lie above the median of every row; if none does, the one with the best rank.

    Its rank is the lowest that it has in any row.
    """
    ranks = values.argsort(1).argsort(1).amin(0)  # from 0, the lowest
    above = (2 * ranks >= values.shape[1]).nonzero().flatten().tolist()
    return above or [int(ranks.argmax())]


def most_holes(holes: Tensor, parts: tuple[int, int]) -> Zoom:
    """The window of a part of the bins and of the frames with most holes [target, bin, frame].

    Of several alike the first.
    """
    height, width = (
        max(1, size // part) for size, part in zip(holes.shape[1:], parts, strict=True)
    )
    shares = torch.nn.functional.avg_pool2d(holes.double(), (height, width), stride=1)
    target, low, start = map(int, torch.unravel_index(shares.argmax(), shares.shape))
    return Zoom(target, slice(low, low + height), slice(start, start + width))


def _decibels(magnitude: Tensor) -> Tensor:
    return 20 * torch.log10(magnitude + 1e-8)
