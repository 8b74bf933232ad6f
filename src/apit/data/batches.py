"""Batches: random crops of examples, the same for every ablation of one seed."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from apit.data import fuss
from apit.data.examples import Examples
from apit.errors import UserError


@dataclass(frozen=True)
class Batch:
    """References [batch, source, time], and the examples' names."""

    references: Tensor
    names: tuple[str, ...]

    @cached_property
    def mixture(self) -> Tensor:
        """The references' sum [batch, time], made where they are, when it is asked for."""
        return fuss.mixture_of(self.references)

    def to(self, device: torch.device) -> "Batch":
        """Move to a device."""
        if device.type == self.references.device.type:
            return self
        # From pinned memory, copies do not keep the CPU waiting.
        references = self.references.pin_memory().to(device, non_blocking=True)
        return Batch(references, self.names)

    def split(self, parts: int) -> list["Batch"]:
        """Parts of equal size."""
        size = len(self.references) // parts
        pieces = [slice(start, start + size) for start in range(0, size * parts, size)]
        return [Batch(self.references[p], self.names[p]) for p in pieces]


class Batches(Iterator[Batch]):
    """Endless batches; how many examples were `made` is the position to take up again.

    It holds for batches of any size.
    """

    batch_size: int
    made = 0

    def state_dict(self) -> dict[str, Any]:
        """The position."""
        return {"made": self.made}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave, before any batch is taken."""
        self.made = state["made"]


def own_share(batch_size: int, share: tuple[int, int]) -> range:
    """Which of a batch's examples the a-th of n processes makes, for a `share` of (a, n)."""
    part, parts = share
    if batch_size % parts:
        raise UserError(
            f"training.batch_size: {batch_size} cannot be shared out among {parts} processes"
        )
    size = batch_size // parts
    return range(size * part, size * (part + 1))


class RandomCrops(Batches):
    """Endless batches of random crops; every epoch is a new order of all examples.

    Whether a source is silent is judged on the crop, by whoever looks at the batch. Crops and the
    order of examples have a generator each, so that batches of another size hold the same examples
    in the same order. With a `share` (a, n), all of n processes draw the same batches, and this one
    reads the a-th part of each.
    """

    def __init__(
        self,
        examples: Examples,
        length: int,
        batch_size: int,
        generator: np.random.Generator,
        share: tuple[int, int] = (0, 1),
    ):
        self.examples, self.length, self.batch_size = examples, length, batch_size
        self.own = own_share(batch_size, share)
        self.order, self.starts = generator.spawn(2)
        self.left: list[int] = []  # of this epoch, the next one last

    def __next__(self) -> Batch:
        audio = self.examples.audio
        references = np.empty((len(self.own), audio.sources, self.length), np.float32)
        drawn = self._draw(self.batch_size)[self.own.start : self.own.stop]
        for into, (chosen, start) in zip(references, drawn, strict=True):
            self.examples.read_into(into, chosen, start)
        names = tuple(self.examples.names[chosen] for chosen, _ in drawn)
        return Batch(torch.from_numpy(references), names)

    def _draw(self, count: int) -> list[tuple[int, int]]:
        """The next examples, and where in them their crops start."""
        latest = self.examples.audio.samples - self.length
        starts = self.starts.integers(latest + 1, size=count).tolist()
        chosen = []
        for _ in starts:
            if not self.left:
                self.left = self.order.permutation(len(self.examples))[::-1].tolist()
            chosen.append(self.left.pop())
        self.made += count
        return list(zip(chosen, starts, strict=True))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Draw again what was drawn, in less than a minute for the longest run; read none of it."""
        while self.made < state["made"]:
            self._draw(min(self.batch_size, state["made"] - self.made))


class Prefetched(Batches):
    """Batches of which a thread makes the next one while the last is computed with."""

    def __init__(self, batches: Batches):
        self.batches, self.batch_size = batches, batches.batch_size
        self._thread = ThreadPoolExecutor(1, "batches")
        self._next: Future[Batch] | None = None

    def __next__(self) -> Batch:
        batch = (self._next or self._read()).result()
        self._next = self._read()
        self.made += self.batch_size  # what is read ahead does not count
        return batch

    def _read(self) -> Future[Batch]:
        return self._thread.submit(next, self.batches)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See Batches."""
        super().load_state_dict(state)
        self.batches.load_state_dict(state)


def whole_examples(
    examples: Examples, batch_size: int, chosen: Sequence[int] | None = None
) -> Iterator[Batch]:
    """The chosen examples (all) once, whole and in order."""
    numbers = range(len(examples)) if chosen is None else chosen
    for first in range(0, len(numbers), batch_size):
        some = numbers[first : first + batch_size]
        references = np.stack([examples.read(number) for number in some])
        yield Batch(torch.from_numpy(references), tuple(examples.names[n] for n in some))
