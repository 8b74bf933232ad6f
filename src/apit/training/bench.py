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

from apit.config import Run
from apit.data.batches import Batch, Prefetched
from apit.data.examples import open_examples
from apit.data.remixing import training_batches
from apit.losses.adversarial import discriminator_loss, separator_loss
from apit.models.complexity import complexities, step_macs, step_memory, total_steps
from apit.models.separators import Outputs
from apit.training.state import State
from apit.training.step import Part, draw, train_step
from apit.training.team import Team

COLUMNS = ["experiment", "step_ms", "relative", "of_parts", "steps_per_s", "mixtures_per_s",
           "waiting", "parameters_m", "gmac", "of_peak", "memory_gb", "hours"]  # fmt: skip
CARDS = (8, 12, 16, 24, 32, 40, 48, 80, 141)  # GB of common GPUs


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
        (a step of L_PIT alone, what discriminators look at, and each discriminator alone); steps
        and mixtures a second, with their data where there is any; waiting: share of such a step
        that waits for its batch; parameters of all networks in millions, and their
        multiply-accumulates in a step; of_peak: the share of what one large matrix product reaches
        in this process, in the networks' precision; memory of a step, on a GPU; hours of all steps,
        without validation.
        """
        times = self.times
        first = times[self.runs[0].experiment, "step"]
        peak = self._peak()
        rows = []
        for run in self.runs:
            step = times[run.experiment, "step"]
            parts = sum(times[run.experiment, name] for name in ("pit", *_names(run)))
            parts += times.get((run.experiment, "views"), 0.0)
            whole = times.get((run.experiment, "loop"), step)
            counts = complexities(run)
            macs = step_macs(run, run.discriminators)
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

        Parts are reckoned by the mixture, since batches differ. NaN where its separator, or a
        discriminator of its kind, was not measured.
        """
        step = self.times.get((run.experiment, "loop"), self.times.get((run.experiment, "step")))
        if step is None:
            nothing = float("nan")
            plain = [
                self.times[one.experiment, "pit"] / one.training.batch_size
                for one in self.runs
                if one.separator == run.separator
            ]
            parts = {
                (d.kind, d.domain, d.frozen): self.times[one.experiment, d.name]
                / one.training.batch_size
                for one in self.runs
                for d in one.discriminators
            }
            views = [
                seconds / one.training.batch_size
                for one in self.runs
                if (seconds := self.times.get((one.experiment, "views"))) is not None
            ]
            used = [parts.get((d.kind, d.domain, d.frozen), nothing) for d in run.discriminators]
            each = min(plain, default=nothing) + sum(used)
            each += max(views, default=0.0) if used else 0.0
            step = each * run.training.batch_size
        return step * total_steps(run) / 3600

    @cached_property
    def times(self) -> dict[tuple[str, str], float]:
        """Seconds of (experiment, part), of everything in turns."""
        works: dict[tuple[str, str], Callable[[], object]] = {}
        for run in self.runs:
            batch = self._batch(run)
            if self.data:
                works[run.experiment, "loop"] = self._loop(run, self.data)
            works[run.experiment, "step"] = _stepper(State(run, Team(self.device)), batch)
            plain = run.model_copy(
                update={"discriminators": (), "adversary": None, "reconstruction": "log_mse"}
            )
            works[run.experiment, "pit"] = _stepper(State(plain, Team(self.device)), batch)
            if run.discriminators:
                works[run.experiment, "views"] = _views(State(run, Team(self.device)), batch)
            for discriminator in run.discriminators:
                alone = run.model_copy(update={"discriminators": (discriminator,)})
                works[run.experiment, discriminator.name] = _game(
                    State(alone, Team(self.device)), batch
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
        return Loop(State(run, Team(self.device)), Prefetched(batches), [])

    def _memory(self, run: Run) -> float:
        if self.device.type == "cpu":
            return float("nan")
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        _stepper(State(run, Team(self.device)), self._batch(run))()
        return (torch.cuda.max_memory_allocated() - before) / 2**30

    def _peak(self) -> float:
        """Multiply-accumulates a second of a large matrix product, in the networks' precision."""
        size = 8192 if self.device.type == "cuda" else 1024
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

    state: State
    batches: Prefetched
    waited: list[float]

    def __call__(self) -> None:
        """Take one."""
        start = time.perf_counter()
        batch = next(self.batches)
        self.waited.append(time.perf_counter() - start)
        train_step(self.state, batch.to(self.state.team.device))


def by_size(runs: Sequence[Run], rate: float) -> pd.DataFrame:
    """What runs would take where nothing can be timed, from their networks' sizes alone.

    Columns: experiment, parameters_m, gmac (of a step), relative (to the first run), memory_gb (of
    a step, at the least), fits (the smallest of the usual cards that has room for it), and hours on
    a device that sustains `rate` multiply-accumulates a second.
    """
    macs = [step_macs(run, run.discriminators) for run in runs]
    weights = [sum(c.parameters for c in complexities(run).values()) for run in runs]
    memory = [step_memory(run) / 2**30 for run in runs]
    return pd.DataFrame(
        {
            "experiment": [run.experiment for run in runs],
            "parameters_m": [count / 1e6 for count in weights],
            "gmac": [count / 1e9 for count in macs],
            "relative": [count / macs[0] for count in macs],
            "memory_gb": memory,
            "fits": [next((f"{c} GB" for c in CARDS if c > 1.1 * m), "none") for m in memory],
            "hours": [
                count * total_steps(run) / rate / 3600
                for count, run in zip(macs, runs, strict=True)
            ],
        }
    )


def _names(run: Run) -> list[str]:
    return [discriminator.name for discriminator in run.discriminators]


def parts_by_size(runs: Sequence[Run]) -> pd.DataFrame:
    """What each network of the runs adds to a step: columns part, gmac.

    For the batch of the first run that has it.
    """
    found: dict[str, float] = {}
    for run in runs:
        alone = step_macs(run, ())
        found.setdefault(f"separator ({run.separator.architecture})", alone / 1e9)
        for judge in run.discriminators:
            found.setdefault(judge.name, (step_macs(run, [judge]) - alone) / 1e9)
    return pd.DataFrame({"part": list(found), "gmac": list(found.values())})


def _stepper(state: State, batch: Batch) -> Callable[[], object]:
    return lambda: train_step(state, batch)


def _part(state: State, batch: Batch, outputs: Outputs | None = None) -> Part:
    """A batch, separated, or with a network's outputs that are there already."""
    ranks, shift = draw(state, len(batch.references))
    return Part(state, batch, ranks, shift, outputs)


def _views(state: State, batch: Batch) -> Callable[[], object]:
    """What all discriminators look at, and its gradient for the separator's outputs."""
    outputs = _part(state, batch).ends

    def make() -> None:
        part = _part(state, batch, outputs)
        total = torch.zeros((), device=state.team.device)
        for discriminator in state.discriminators.values():
            total = total + part.fake(discriminator).sum()
        part.gradient(total)

    return make


def _game(state: State, batch: Batch) -> Callable[[], object]:
    """One discriminator alone on ready views: its update on real and fake, its input gradient."""
    (discriminator,) = state.discriminators.values()
    part = _part(state, batch)
    view = part.view(discriminator.config.domain)
    mixture, real = view.mixture, view.real
    fake = part.fake(discriminator).detach()

    def play() -> None:
        if state.discriminator_optimiser is not None:
            loss = discriminator_loss(discriminator(mixture, real), discriminator(mixture, fake))
            state.discriminator_optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            state.discriminator_optimiser.step()
        discriminator.requires_grad_(False)
        given = fake.detach().requires_grad_()
        separator_loss(discriminator(mixture, given)).backward()  # type: ignore[no-untyped-call]
        discriminator.requires_grad_(not discriminator.config.frozen)

    return play
