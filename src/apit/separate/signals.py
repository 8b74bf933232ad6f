"""Signals of any length, read passage by passage, and their resampling."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil, gcd
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import firwin, resample_poly

BLOCK, MARGIN = 10, 1  # seconds; both ends of a block hear a margin more than is kept of it
TAPS = 10  # of the filter, at each side, in samples of the lower rate: as scipy has it


@dataclass(frozen=True)
class Signal:
    """Something [..., time] that is too long to be held: `read(start, stop)` gives a passage."""

    rate: int
    samples: int
    read: Callable[[int, int], NDArray[np.float32]]

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """The signal, in passages of `BLOCK` seconds."""
        step = BLOCK * self.rate
        for start in range(0, self.samples, step):
            yield self.read(start, min(start + step, self.samples))

    def resampled(self, rate: int) -> Iterator[NDArray[np.float32]]:
        """The signal at another rate, in passages of `BLOCK` seconds: as if resampled whole."""
        if rate == self.rate:
            yield from self.blocks()
            return
        common = gcd(rate, self.rate)
        up, down = rate // common, self.rate // common
        length = max(up, down)
        # scipy would design it anew for every block.
        taps = firwin(2 * TAPS * length + 1, 1 / length, window=("kaiser", 5.0))
        window: Any = taps.astype(np.float32)
        total = ceil(self.samples * rate / self.rate)
        for second in range(0, ceil(total / rate), BLOCK):
            first = max(second - MARGIN, 0)
            stop = min((second + BLOCK + MARGIN) * self.rate, self.samples)
            heard = self.read(first * self.rate, stop)
            resampled: NDArray[np.float32] = resample_poly(heard, up, down, axis=-1, window=window)
            skipped = (second - first) * rate
            wanted = min(BLOCK * rate, total - second * rate)
            yield resampled[..., skipped : skipped + wanted]


class Spool:
    """A signal [..., time] in a file, written piece by piece and then read as a `Signal`."""

    def __init__(self, file: IO[bytes], rate: int):
        self.file, self.rate = file, rate
        self.samples = 0
        self.shape: tuple[int, ...] = ()  # of one sample

    def append(self, piece: NDArray[np.float32]) -> None:
        """Write what follows."""
        self.shape = piece.shape[:-1]
        self.samples += piece.shape[-1]
        self.file.write(np.moveaxis(piece, -1, 0).tobytes())

    def signal(self, kept: Sequence[int]) -> Signal:
        """What was written, of the first axis only what is kept."""

        def read(start: int, stop: int) -> NDArray[np.float32]:
            width = int(np.prod(self.shape)) * 4
            self.file.seek(start * width)
            flat = np.frombuffer(self.file.read((stop - start) * width), np.float32)
            return np.moveaxis(flat.reshape(-1, *self.shape)[:, kept], 0, -1)

        return Signal(self.rate, self.samples, read)
