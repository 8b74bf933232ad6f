"""How fast training is here: steps, waiting for data, memory, and what a whole scale would take."""

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median

import pandas as pd
import torch
from torch import Tensor

from apit.config import Run
from apit.data.batches import Batch, Prefetched
from apit.data.examples import open_examples
from apit.data.remixing import training_batches
from apit.losses.reconstruction import PIT
from apit.models.complexity import complexities
from apit.models.separators import Separation
from apit.training.step import JudgedSets, Training
from apit.training.team import Team

COLUMNS = ["experiment", "step_ms", "relative", "of_parts", "steps_per_s", "mixtures_per_s",
           "waiting", "parameters_m", "gmac", "of_peak", "memory_gb", "hours"]  # fmt: skip


@dataclass(frozen=True)
class Bench:
    """Runs of one scale, timed in turns on one device, as training computes on it."""

    runs: Sequence[Run]
    data: Path | None  # mixtures, to time reading them
    rounds: int
    device: torch.device
    bank: Path | None = None  # for training.remix: clips

    def table(self) -> pd.DataFrame:
        """One row for each run (COLUMNS); times are medians over the rounds.

        step_ms, and relative to the first run; of_parts: the step's time by the sum of its parts'
        (a step without discriminators, what discriminators look at, once, and each discriminator
        alone); steps and mixtures a second, with their data where there is any; waiting: share of
        such a step that waits for its batch; parameters of all networks in millions, and their
        multiply-accumulates in a step; the share of what one large matrix product reaches, and
        memory of a step, on a GPU; hours of all steps, without validation.
        """
        times = self.times
        first = times[self.runs[0].experiment, "step"]
        peak = self._peak() if self.device.type == "cuda" else float("nan")
        rows = []
        for run in self.runs:
            step = times[run.experiment, "step"]
            parts = sum(times[run.experiment, name] for name in ("pit", *_names(run)))
            parts += times.get((run.experiment, "views"), 0.0)
            whole = times.get((run.experiment, "loop"), step)
            counts = complexities(run)
            macs = _macs(run)
            rows.append(
                (run.experiment, 1e3 * step, step / first, step / parts, 1 / whole,
                 run.training.batch_size / whole,
                 times.get((run.experiment, "waiting"), float("nan")) / whole,
                 sum(c.parameters for c in counts.values()) / 1e6, macs / 1e9, macs / step / peak,
                 self._memory(run), self.hours(run))
            )  # fmt: skip
        return pd.DataFrame(rows, columns=COLUMNS)

    def hours(self, run: Run) -> float:
        """Hours that a run takes, from its own step, or else the parts that it consists of.

        NaN where it has another separator or loss than the first, or a discriminator of a kind
        that was not measured.
        """
        base = self.runs[0]
        step = self.times.get((run.experiment, "loop"), self.times.get((run.experiment, "step")))
        if step is None:
            if (run.separator, run.reconstruction) != (base.separator, base.reconstruction):
                return float("nan")
            parts = {
                (d.kind, d.domain, d.frozen): self.times[measured.experiment, d.name]
                for measured in self.runs
                for d in measured.discriminators
            }
            nothing = float("nan")
            used = [parts.get((d.kind, d.domain, d.frozen), nothing) for d in run.discriminators]
            views = max((v for (_, part), v in self.times.items() if part == "views"), default=0.0)
            step = self.times[base.experiment, "pit"] + sum(used) + (views if used else 0.0)
        return step * run.training.steps / 3600

    @cached_property
    def times(self) -> dict[tuple[str, str], float]:
        """Seconds of (experiment, part), of everything in turns."""
        works: dict[tuple[str, str], Callable[[], object]] = {}
        for run in self.runs:
            batch = self._batch(run)
            if self.data:
                works[run.experiment, "loop"] = self._loop(run, self.data)
            works[run.experiment, "step"] = _stepper(Training(run, Team(self.device)), batch)
            plain = run.model_copy(update={"discriminators": (), "adversary": None})
            works[run.experiment, "pit"] = _stepper(Training(plain, Team(self.device)), batch)
            if run.discriminators:
                works[run.experiment, "views"] = _views(Training(run, Team(self.device)), batch)
            for discriminator in run.discriminators:
                alone = run.model_copy(update={"discriminators": (discriminator,)})
                works[run.experiment, discriminator.name] = _game(
                    Training(alone, Team(self.device)), batch
                )
        measured: dict[tuple[str, str], list[float]] = {name: [] for name in works}
        for number in range(self.rounds + 1):
            gc.collect()  # so that it does not befall one of them
            for name, work in works.items():
                self._wait()
                start = time.perf_counter()
                work()
                self._wait()
                if number:  # the first one warms up
                    measured[name].append(time.perf_counter() - start)
        found = {name: median(seconds) for name, seconds in measured.items()}
        for name, work in works.items():
            if isinstance(work, Loop):
                found[name[0], "waiting"] = median(work.waited[1:])
        return found

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
        return Batch(references, ()).to(self.device)

    def _loop(self, run: Run, data: Path) -> "Loop":
        examples = open_examples(data, "train", run.audio)
        batches = training_batches(run, examples, self.bank, self.device)
        return Loop(Training(run, Team(self.device)), Prefetched(batches), [])

    def _memory(self, run: Run) -> float:
        if self.device.type == "cpu":
            return float("nan")
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        _stepper(Training(run, Team(self.device)), self._batch(run))()
        return (torch.cuda.max_memory_allocated() - before) / 2**30

    def _peak(self) -> float:
        """Multiply-accumulates a second of a large matrix product, in the networks' precision."""
        size = 8192
        half = self.runs[0].training.precision == "bfloat16"
        kind = torch.bfloat16 if half else torch.float32
        matrix = torch.randn(size, size, device=self.device, dtype=kind)
        best = float("inf")
        for _ in range(4):
            self._wait()
            start = time.perf_counter()
            matrix @ matrix
            self._wait()
            best = min(best, time.perf_counter() - start)
        return size**3 / best


@dataclass(frozen=True)
class Loop:
    """Steps with their batches, as training takes them; how long each waited for its batch."""

    training: Training
    batches: Prefetched
    waited: list[float]

    def __call__(self) -> None:
        """Take one."""
        start = time.perf_counter()
        batch = next(self.batches)
        self.waited.append(time.perf_counter() - start)
        self.training.step(batch.to(self.training.team.device))


def by_size(runs: Sequence[Run], rate: float) -> pd.DataFrame:
    """What runs would take where nothing can be timed, from their networks' sizes alone.

    Columns: experiment, parameters_m, gmac (of a step), relative (to the first run), and hours on
    a device that sustains `rate` multiply-accumulates a second.
    """
    macs = [_macs(run) for run in runs]
    weights = [sum(c.parameters for c in complexities(run).values()) for run in runs]
    return pd.DataFrame(
        {
            "experiment": [run.experiment for run in runs],
            "parameters_m": [count / 1e6 for count in weights],
            "gmac": [count / 1e9 for count in macs],
            "relative": [count / macs[0] for count in macs],
            "hours": [
                count * run.training.steps / rate / 3600
                for count, run in zip(macs, runs, strict=True)
            ],
        }
    )


def _names(run: Run) -> list[str]:
    return [discriminator.name for discriminator in run.discriminators]


def _stepper(training: Training, batch: Batch) -> Callable[[], object]:
    return lambda: training.step(batch)


def _judged(training: Training, batch: Batch) -> tuple[Tensor, JudgedSets]:
    """Estimates with a gradient, and what discriminators see of them."""
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(batch.references.shape, generator=generator).to(batch.references.device)
    estimates = (batch.references + 0.3 * noise).requires_grad_()
    shape = batch.references.shape[:2]
    order = torch.arange(shape[1], device=noise.device).expand(shape)
    separation = Separation(
        estimates, torch.ones_like(training.separator.stft.analyse(noise).abs())
    )
    pit = PIT(noise.new_zeros(()), order)
    return estimates, training.judged_sets(batch, pit, separation, order)


def _views(training: Training, batch: Batch) -> Callable[[], object]:
    """What all discriminators look at, made once, and its gradient for the estimates."""

    def make() -> None:
        estimates, judged = _judged(training, batch)
        seen = {(d.config.replace, d.config.domain) for d in training.discriminators.values()}
        total = torch.zeros((), device=estimates.device)
        for replace, domain in seen:
            judged.references.view(domain)
            total = total + judged.fakes[replace].view(domain).sum()
        total.backward()  # type: ignore[no-untyped-call]

    return make


def _game(training: Training, batch: Batch) -> Callable[[], object]:
    """One discriminator alone on ready views: its update on real and fake, its input gradient."""
    (discriminator,) = training.discriminators.values()
    config, objective = discriminator.config, training.objective
    _, judged = _judged(training, batch)
    real = judged.references.view(config.domain).detach()
    fake = judged.fakes[config.replace].view(config.domain).detach()

    def play() -> None:
        if training.discriminator_optimiser is not None:
            loss = objective.discriminator_loss(
                discriminator(real, judged.mixture), discriminator(fake, judged.mixture)
            )
            training.discriminator_optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            training.discriminator_optimiser.step()
        discriminator.requires_grad_(False)
        term = objective.separator_loss(discriminator(fake.requires_grad_(), judged.mixture))
        term.backward()  # type: ignore[no-untyped-call]
        discriminator.requires_grad_(not config.frozen)
        fake.grad = None
        fake.requires_grad_(False)

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
