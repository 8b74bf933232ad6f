"""How fast training is here: steps, waiting for data, memory, and what a whole scale would take."""

import gc
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

import pandas as pd
import torch

from apit.config import Run
from apit.data import fuss
from apit.data.batches import Batch, RandomCrops
from apit.losses.reconstruction import PIT
from apit.models.complexity import complexities
from apit.models.separators import Separation
from apit.provenance import array_generator
from apit.training.step import Fakes, Step, Training
from apit.training.team import Team

COLUMNS = ["experiment", "step_ms", "relative", "of_parts", "mixtures_per_second", "waiting",
           "memory_gb", "gmac_per_step", "of_peak", "hours"]  # fmt: skip


@dataclass(frozen=True)
class Bench:
    """Runs of one scale, timed in turns on one device."""

    runs: Sequence[Run]
    data: Path | None  # mixtures, to time reading them
    rounds: int
    device: torch.device

    def table(self) -> pd.DataFrame:
        """One row for each run; times are the best of all rounds.

        step_ms, and relative to the first run; of_parts: the step's time by the sum of its parts'
        (a step without discriminators, and each discriminator alone); waiting: share of a step
        with its data that goes into reading; memory in GB, the process's on a CPU; multiply-
        accumulates of the networks in a step; their share of what one large matrix product
        reaches, on a GPU; hours that all of its steps take, without validation.
        """
        best = self.times
        first = best[self.runs[0].experiment, "step"]
        peak = self._peak() if self.device.type == "cuda" else float("nan")
        rows = []
        for run in self.runs:
            step = best[run.experiment, "step"]
            parts = sum(best[run.experiment, name] for name in ("pit", *_names(run)))
            reading = best.get(("", "reading"), float("nan"))
            macs = _macs(run)
            rows.append(
                (run.experiment, 1e3 * step, step / first, step / parts,
                 run.training.batch_size / step, reading / (step + reading),
                 self._memory(run), macs / 1e9, macs / step / peak,
                 self.hours(run))
            )  # fmt: skip
        return pd.DataFrame(rows, columns=COLUMNS)

    def hours(self, run: Run) -> float:
        """Hours that a run takes, from its own step, or else the parts that it consists of.

        NaN where a discriminator of its kind was not measured.
        """
        if (step := self.times.get((run.experiment, "step"))) is None:
            parts = {
                (d.kind, d.domain): self.times[measured.experiment, d.name]
                for measured in self.runs
                for d in measured.discriminators
            }
            used = (parts.get((d.kind, d.domain), float("nan")) for d in run.discriminators)
            step = self.times[self.runs[0].experiment, "pit"] + sum(used)
        return step * run.training.steps / 3600

    @cached_property
    def times(self) -> dict[tuple[str, str], float]:
        """Seconds of (experiment, part), of everything in turns."""
        torch.set_num_threads(self.runs[0].training.threads)
        works: dict[tuple[str, str], Callable[[], object]] = {}
        if self.data:
            works["", "reading"] = self._reader(self.data).__next__
        for run in self.runs:
            batch = self._batch(run)
            works[run.experiment, "step"] = _stepper(Training(run, Team(self.device)), batch)
            plain = run.model_copy(update={"discriminators": (), "adversary": None})
            works[run.experiment, "pit"] = _stepper(Training(plain, Team(self.device)), batch)
            for discriminator in run.discriminators:
                alone = run.model_copy(update={"discriminators": (discriminator,)})
                works[run.experiment, discriminator.name] = _game(
                    Training(alone, Team(self.device)), batch
                )
        best = dict.fromkeys(works, float("inf"))
        for number in range(self.rounds + 1):
            for name, work in works.items():
                gc.collect()
                self._wait()
                start = time.perf_counter()
                work()
                self._wait()
                if number:  # the first one warms up
                    best[name] = min(best[name], time.perf_counter() - start)
        return best

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def _batch(self, run: Run) -> Batch:
        """Noise, with one silent slot in one example."""
        generator = torch.Generator().manual_seed(0)
        samples = round(run.training.crop_seconds * run.audio.sample_rate)
        shape = (run.training.batch_size, run.audio.sources, samples)
        references = torch.randn(shape, generator=generator)
        references[0, -1] = 0
        return Batch(references, references.sum(1), ()).to(self.device)

    def _reader(self, data: Path) -> RandomCrops:
        run = self.runs[0]
        entries = fuss.read_list(fuss.list_path(data, "train"), run.audio.sources)
        training = run.training
        generator = array_generator(run.seed, "data")
        crops = RandomCrops(
            entries, run.audio, training.crop_seconds, training.batch_size, generator
        )
        list(islice(crops, 3))
        return crops

    def _memory(self, run: Run) -> float:
        if self.device.type == "cpu":
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        _stepper(Training(run, Team(self.device)), self._batch(run))()
        return (torch.cuda.max_memory_allocated() - before) / 2**30

    def _peak(self) -> float:
        """Multiply-accumulates a second of a large matrix product."""
        size = 8192
        matrix = torch.randn(size, size, device=self.device)
        best = float("inf")
        for _ in range(4):
            self._wait()
            start = time.perf_counter()
            matrix @ matrix
            self._wait()
            best = min(best, time.perf_counter() - start)
        return size**3 / best


def _names(run: Run) -> list[str]:
    return [discriminator.name for discriminator in run.discriminators]


def _stepper(training: Training, batch: Batch) -> Callable[[], object]:
    return lambda: training.step(batch)


def _game(training: Training, batch: Batch) -> Callable[[], object]:
    """One discriminator alone: its update on real and fake, and its gradient for the estimates."""
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(batch.references.shape, generator=generator).to(batch.references.device)
    estimates = (batch.references + 0.3 * noise).requires_grad_()
    shape = batch.references.shape[:2]
    order = torch.arange(shape[1], device=noise.device).expand(shape)
    pit = PIT(noise.new_zeros(()), order)

    def play() -> None:
        separation = Separation(estimates, noise.new_zeros(()))
        judged = training._judged_sets(batch, pit, separation, order)
        part, done = Fakes(batch, pit, judged), Step(batch)
        training._update_discriminators([part], done)
        training._separator_loss(part, done, 1).backward()  # type: ignore[no-untyped-call]
        estimates.grad = None

    return play


def _macs(run: Run) -> float:
    """Multiply-accumulates of a step: a backward pass costs two forward passes.

    A discriminator runs forward on real, fake and fake again; back for its weights twice, for its
    input once.
    """
    counts = complexities(run)
    separator = 3 * counts["separator"].multiply_accumulates
    others = sum(7 * counts[name].multiply_accumulates for name in _names(run))
    return (separator + others) * run.training.crop_seconds * run.training.batch_size
