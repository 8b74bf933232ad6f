"""Remixing: new mixtures in every step, of examples' sources or of a bank's clips and rooms."""

from abc import abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from apit.config import Audio, Recipe, Run
from apit.data.bank import Stock, open_stock
from apit.data.batches import Batch, Batches, RandomCrops, own_share
from apit.data.examples import Examples
from apit.data.recipe import PEAK, draft, dry
from apit.errors import UserError
from apit.provenance import array_generator, seed_of

FULL_SCALE = PEAK + 1


class Remixed(Batches):
    """Endless batches of new mixtures, each a function of the seed and its number alone.

    With a `share` (a, n), all of n processes count the same mixtures, and this one makes the a-th
    part of each batch.
    """

    def __init__(
        self, audio: Audio, length: int, batch_size: int, seed: int, share: tuple[int, int] = (0, 1)
    ):
        self.audio, self.length, self.batch_size, self.seed = audio, length, batch_size, seed
        self.own = own_share(batch_size, share)

    def __next__(self) -> Batch:
        numbers = [self.made + position for position in self.own]
        self.made += self.batch_size
        generators = [array_generator("remix", self.seed, number) for number in numbers]
        sources = fitted(self.mixed(numbers, generators))
        starts = [int(g.integers(self.audio.samples - self.length + 1)) for g in generators]
        crops = [one[:, s : s + self.length] for one, s in zip(sources, starts, strict=True)]
        return Batch(torch.stack(crops), tuple(f"remix{number}" for number in numbers))

    @abstractmethod
    def mixed(self, numbers: list[int], generators: list[np.random.Generator]) -> Tensor:
        """Sources of mixtures with these numbers [batch, source, time], before the joint gain."""


class RemixedSources(Remixed):
    """New mixtures of the sources of other examples, as loud as they were, wherever they sounded.

    Backgrounds (the first source of a line) stay backgrounds, and the numbers of sources stay as
    frequent as they are; only rooms are no longer shared by the sources of a mixture.
    """

    def __init__(self, examples: Examples, *arguments: Any):
        super().__init__(examples.audio, *arguments)
        self.examples = examples
        counts = np.array(examples.counts)
        self.with_slot = [np.flatnonzero(counts > slot) for slot in range(examples.audio.sources)]

    def mixed(self, numbers: list[int], generators: list[np.random.Generator]) -> Tensor:
        """See Remixed."""
        audio = self.audio
        sources = np.zeros((len(numbers), audio.sources, audio.samples), np.float32)
        for slots, generator in zip(sources, generators, strict=True):
            count = self.examples.counts[int(generator.integers(len(self.examples)))]
            for slot in range(count):
                pool = self.with_slot[slot]
                chosen = int(pool[generator.integers(len(pool))])
                self.examples.read_source(slots[slot], chosen, slot)
        return torch.from_numpy(sources)


class RemixedClips(Remixed):
    """New mixtures by the recipe, as `apit mix` makes them, of a bank's training clips and rooms.

    Rooms are applied to a whole batch at once, on `device`.
    """

    def __init__(
        self, stock: Stock, audio: Audio, recipe: Recipe, device: torch.device, *rest: Any
    ):
        super().__init__(audio, *rest)
        self.stock, self.recipe, self.device = stock, recipe, device

    def mixed(self, numbers: list[int], generators: list[np.random.Generator]) -> Tensor:
        """See Remixed."""
        audio = self.audio
        signals = np.zeros((len(numbers), audio.sources, audio.samples), np.float32)
        responses: list[list[NDArray[np.float32]]] = []
        for number, generator, slots in zip(numbers, generators, signals, strict=True):
            drawn = draft(audio, self.recipe, self.stock, generator, number)
            for slot, placed in zip(slots, drawn.placements, strict=False):
                slot[:] = dry(audio, self.recipe, placed, self.stock.sounds[placed.number])
            if drawn.room is not None:
                responses.append(self.stock.responses[drawn.room][: len(drawn.placements)])
        sources = torch.from_numpy(signals).to(self.device)
        return reverberated(sources, padded(responses, audio.sources)) if responses else sources


def padded(responses: list[list[NDArray[np.float32]]], slots: int) -> Tensor:
    """Responses of each mixture's sources → [batch, source, time], zero where there is none."""
    taps = max(len(response) for room in responses for response in room)
    padded = np.zeros((len(responses), slots, taps), np.float32)
    for room, rows in zip(responses, padded, strict=True):
        for response, row in zip(room, rows, strict=False):
            row[: len(response)] = response
    return torch.from_numpy(padded)


def reverberated(sources: Tensor, responses: Tensor) -> Tensor:
    """Convolve sources [batch, source, time] with responses [batch, source, tap], by FFT.

    As long as the sources: the rest of the reverberation is cut off.
    """
    samples, taps = sources.shape[-1], responses.shape[-1]
    size = 1 << (samples + taps - 2).bit_length()  # a power of two that nothing wraps around in
    spectrum = torch.fft.rfft(sources, size) * torch.fft.rfft(responses.to(sources.device), size)
    wet: Tensor = torch.fft.irfft(spectrum, size)
    return wet[..., :samples]


def fitted(sources: Tensor) -> Tensor:
    """Sources [batch, source, time] with a joint gain, within 16 bits and rounded to them.

    Just as `apit mix` writes them: the sum of the sources does not clip.
    """
    scaled = sources * PEAK
    loudest = scaled.abs().amax((1, 2)).maximum(scaled.sum(1).abs().amax(1)) + scaled.shape[1]
    gain = (PEAK / loudest).clamp(max=1.0)
    return (gain[:, None, None] * scaled).round() / FULL_SCALE


def training_batches(
    run: Run,
    examples: Examples,
    bank: Path | None,
    device: torch.device,
    share: tuple[int, int] = (0, 1),
) -> Batches:
    """The batches of a run: crops of its examples, or new mixtures, as `training.remix` says.

    All runs of one seed have the same generator, but those that name another (`run.batches`).
    Raises UserError where there is no bank to remix, or not the run's.
    """
    training = run.training
    length = round(training.crop_seconds * run.audio.sample_rate)
    seed = seed_of(run.seed, run.batches) if run.batches else run.seed
    rest = (length, training.batch_size, seed, share)
    if training.remix == "sources":
        return RemixedSources(examples, *rest)
    if training.remix == "clips":
        if bank is None:
            raise UserError("training.remix is clips: give the bank that `apit bank` made (--bank)")
        stock = open_stock(bank, "train", run.audio, run.data)
        assert run.data.recipe is not None, "banks are made by a recipe"
        return RemixedClips(stock, run.audio, run.data.recipe, device, *rest)
    generator = array_generator(seed, "data")
    return RandomCrops(examples, length, training.batch_size, generator, share)
