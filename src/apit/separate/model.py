"""A trained separator for waveforms of any rate, number of channels and length.

A signal is resampled to the model's rate and separated in chunks that overlap by half. Each chunk's
estimates are put into the order of the chunk before, by their inner products where the two overlap,
and faded over. Whatever the estimates that are kept do not hold (what lies above the model's band,
what was left out as silence) is shared out among them, so that they sum to the input.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import inf, pi
from pathlib import Path
from tempfile import SpooledTemporaryFile

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import uniform_filter1d
from scipy.optimize import linear_sum_assignment

from apit.config import Run
from apit.errors import UserError
from apit.models.separators import Separator
from apit.progress import bar
from apit.provenance import file_digest
from apit.separate.signals import Signal, Spool
from apit.training.record import load_separator, weights_of

IN_MEMORY = 2**26  # bytes of estimates, beyond which they lie in a temporary file
SHARED_OVER = 0.032  # seconds, over which power is averaged to share out what is left
SILENT = 0.01  # of the mixture's power: as for the FUSS evaluator, which has 1 % of a target's

Piece = NDArray[np.float32]


@dataclass(frozen=True)
class Separated:
    """Which slots were kept, and blocks [slot, channel, time] that sum to the input."""

    kept: list[int]
    blocks: Iterator[Piece]


class Model:
    """What `apit.load` gives: a finished run, to separate with."""

    def __init__(
        self,
        run: Run,
        separator: Separator,
        chunk_seconds: float | None = None,
        weights_sha256: str | None = None,
    ):
        self.run, self.separator = run, separator
        self.weights_sha256 = weights_sha256
        self.rate = run.audio.sample_rate
        seconds = run.audio.seconds if chunk_seconds is None else chunk_seconds
        if not 2 * run.stft.window <= seconds < inf:
            raise UserError(
                f"chunks of {seconds:g} s are too short or too long: {2 * run.stft.window:g} s or "
                f"more is needed, {run.audio.seconds:g} s is what the model was trained on"
            )
        self.hop = round(seconds * self.rate / 2)  # half a chunk, in samples
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.separator.to(self.device)

    @classmethod
    def load(cls, folder: Path | str, chunk_seconds: float | None = None) -> "Model":
        """The model of a run's folder, or of what was released of one.

        Chunks are as long as the mixtures that it was trained on. Raises UserError where the folder
        holds no finished run.
        """
        run, separator = load_separator(Path(folder))
        return cls(run, separator, chunk_seconds, file_digest(weights_of(Path(folder))))

    def separate(self, waveform: ArrayLike, rate: int, *, silent: bool = False) -> Piece:
        """Separate [time] → [source, time], or [channel, time] → [source, channel, time].

        At the rate of the waveform, in whole Hz; the sources sum to it. Slots that hold less than
        1 % of the mixture's power in every chunk are left out, unless `silent` is true. Raises
        UserError for a waveform that is empty, not finite, or of other axes, and for other rates.
        """
        if not isinstance(rate, int | np.integer) or rate < 1:
            raise UserError(f"a rate is a whole number of Hz; this one is {rate!r}")
        sound = np.asarray(waveform, np.float32)
        if sound.ndim not in (1, 2) or sound.size == 0:
            raise UserError(f"a waveform is [time] or [channel, time]; this one is {sound.shape}")
        if sound.ndim == 2 and len(sound) > sound.shape[-1]:
            raise UserError(
                f"a waveform of {len(sound)} channels and {sound.shape[-1]} samples: is it [time, "
                "channel]? Give its transpose"
            )
        if not np.isfinite(sound).all():
            raise UserError("the waveform holds values that are not finite")
        channels = np.atleast_2d(sound)
        signal = Signal(rate, sound.shape[-1], lambda start, stop: channels[:, start:stop])
        with SpooledTemporaryFile(IN_MEMORY) as file:
            separated = self.separated(signal, Spool(file, self.rate), silent=silent)
            sources = np.concatenate(list(separated.blocks), axis=-1)
        return sources if sound.ndim == 2 else sources[:, 0]

    def separated(
        self, signal: Signal, spool: Spool, *, silent: bool = False, label: str | None = None
    ) -> Separated:
        """Separate a signal [channel, time], with a spool at the model's rate for the estimates.

        A progress bar is shown where there is a `label`.
        """
        powers: list[Piece] = []  # of the mixture, then of each slot; for each chunk
        tail: Piece | None = None
        total = signal.samples / signal.rate
        with bar(total=total, desc=label, unit="s", quiet=label is None) as progress:
            for mixture in overlapping(signal.resampled(self.rate), self.hop):
                estimates = self._estimates(mixture)
                if tail is not None:
                    estimates = stitched(tail, estimates)
                powers.append(np.array([_power(mixture), *map(_power, estimates)]))
                spool.append(estimates[..., : self.hop])
                tail = estimates[..., self.hop :]
                progress.update(min(self.hop, mixture.shape[-1]) / self.rate)
            progress.update(total - progress.n)
        assert tail is not None, "a signal has samples"
        spool.append(tail)
        kept = list(range(self.run.audio.sources)) if silent else _sounding(np.array(powers))
        return Separated(kept, _completed(signal, spool.signal(kept)))

    def _estimates(self, channels: Piece) -> Piece:
        """[channel, time] → [slot, channel, time]; the downmix's masks serve all channels."""
        heard = torch.from_numpy(channels).to(self.device)
        mixture = heard.mean(0, keepdim=True)
        with torch.inference_mode():
            estimates = self.separator(mixture, heard if len(heard) > 1 else None).estimates
        by_slot: Piece = estimates.transpose(0, 1).cpu().numpy()
        return by_slot


def overlapping(blocks: Iterable[Piece], hop: int) -> Iterator[Piece]:
    """Blocks [channel, time] → chunks of 2 hops that begin a hop apart; the last may be shorter.

    It is never shorter than a hop, unless it is the only one.
    """
    left: Piece | None = None
    for block in blocks:
        left = block if left is None else np.concatenate([left, block], axis=-1)
        while left.shape[-1] > 2 * hop:
            yield left[:, : 2 * hop]
            left = left[:, hop:]
    if left is not None:
        yield left


def stitched(tail: Piece, estimates: Piece) -> Piece:
    """Estimates [slot, channel, time] in the order of those before, and faded over from them.

    `tail` [slot, channel, hop] is the end of those before, which covers the same time as the
    beginning of these. Pairs are those of the largest sum of inner products.
    """
    hop = tail.shape[-1]
    head = estimates[..., :hop]
    alike = np.einsum("ict,jct->ij", tail, head, dtype=np.float64)  # [slot before, slot]
    _, order = linear_sum_assignment(alike, maximize=True)
    fade = np.sin(np.linspace(0, pi / 2, hop, endpoint=False, dtype=np.float32)) ** 2
    ordered = estimates[order]
    ordered[..., :hop] = (1 - fade) * tail + fade * ordered[..., :hop]
    return ordered


def _power(signal: Piece) -> float:
    return float(np.square(signal, dtype=np.float64).sum())


def _sounding(powers: NDArray[np.float64]) -> list[int]:
    """Slots that hold enough of a chunk's power [chunk, mixture and slots]; one at the least.

    Chunks 60 dB below the loudest are not asked: what sounds there is noise.
    """
    mixture, slots = powers[:, 0], powers[:, 1:]
    asked = (mixture > 0) & (mixture >= 1e-6 * mixture.max())
    if not asked.any():
        return [0]
    shares = (slots[asked] / mixture[asked, None]).max(0)  # [slot]
    return np.flatnonzero(shares >= SILENT).tolist() or [int(shares.argmax())]


def _completed(signal: Signal, estimates: Signal) -> Iterator[Piece]:
    """Blocks of estimates [slot, channel, time] at the signal's rate, which sum to it.

    What is left goes to each by its share of the power at that moment.
    """
    window = max(round(SHARED_OVER * signal.rate), 1)
    for heard, block in zip(signal.blocks(), estimates.resampled(signal.rate), strict=True):
        own = block[..., : heard.shape[-1]]
        power = np.square(own, dtype=np.float64).mean(1)  # [slot, time]
        power = uniform_filter1d(power, window, axis=-1).clip(min=0) + 1e-12
        share = (power / power.sum(0)).astype(np.float32)
        yield own + share[:, None] * (heard - own.sum(0))
