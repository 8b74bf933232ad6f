"""Batches: random crops of examples, the same for every ablation of one seed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from apit.config import Audio
from apit.data import fuss


@dataclass(frozen=True)
class Batch:
    """References [batch, source, time], their mixture [batch, time], and the examples' names."""

    references: Tensor
    mixture: Tensor
    names: tuple[str, ...]

    @classmethod
    def of(cls, sources: Sequence[np.ndarray], names: Sequence[str]) -> "Batch":
        """Stack examples [source, time]."""
        references = np.stack(sources)
        mixture = torch.from_numpy(fuss.mixture_of(references))
        return cls(torch.from_numpy(references), mixture, tuple(names))

    def to(self, device: torch.device) -> "Batch":
        """Move to a device."""
        return Batch(
            self.references.to(device, non_blocking=True),
            self.mixture.to(device, non_blocking=True),
            self.names,
        )


def random_crops(
    entries: Sequence[fuss.Entry],
    audio: Audio,
    crop_seconds: float,
    batch_size: int,
    generator: np.random.Generator,
) -> Iterator[Batch]:
    """Endless batches of random crops; every epoch is a new order of all examples.

    Whether a source is silent is judged on the crop, by whoever looks at the batch.
    """
    length = round(crop_seconds * audio.sample_rate)
    names, sources = [], []
    while True:
        for position in generator.permutation(len(entries)):
            entry = entries[position]
            start = int(generator.integers(audio.samples - length + 1))
            sources.append(fuss.read_sources(entry, audio, start, length))
            names.append(entry.name)
            if len(sources) == batch_size:
                yield Batch.of(sources, names)
                names, sources = [], []


def whole_examples(entries: Sequence[fuss.Entry], audio: Audio, batch_size: int) -> Iterator[Batch]:
    """Every example once, whole and in order."""
    for first in range(0, len(entries), batch_size):
        chosen = entries[first : first + batch_size]
        yield Batch.of(
            [fuss.read_sources(entry, audio) for entry in chosen], [e.name for e in chosen]
        )
