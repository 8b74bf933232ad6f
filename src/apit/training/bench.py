"""How fast training is here: steps, waiting for data, memory, and what a whole scale would take."""

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from math import isnan
from pathlib import Path
from statistics import median

import pandas as pd
import torch

from apit.config import Run
from apit.data.batches import Batch, Prefetched
from apit.data.examples import open_examples
from apit.data.remixing import training_batches
from apit.models.complexity import complexities, step_macs, step_memory, total_steps
from apit.training.state import TrainState
from apit.training.step import train_step
from apit.training.world import World

COLUMNS = ["experiment", "step_ms", "relative", "steps_per_s", "mixtures_per_s", "waiting",
           "parameters_m", "gmac", "of_peak", "memory_gb", "hours"]  # fmt: skip
CARDS = (8, 12, 16, 24, 32, 40, 48, 80, 141)  # GB of common GPUs
UNKNOWN = float("nan")


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

        step_ms, and relative to the first run; steps and mixtures a second, with their data where
        there is any; waiting: share of such a step that waits for its batch; parameters of all
        networks in millions, and their multiply-accumulates in a step; of_peak: the share of what
        one large matrix product reaches in this process, in the networks' precision; memory of a
        step, on a GPU; hours of all steps, without validation.
        """
        first = self.times[self.runs[0].experiment]["step"]
        peak = self._peak()
        rows = []
        for run in self.runs:
            times = self.times[run.experiment]
            step, whole = times["step"], _step_of(times)
            macs = step_macs(run, run.discriminators)
            rows.append(
                (run.experiment, 1e3 * step, step / first, 1 / whole,
                 run.training.batch_size / whole, times.get("waiting", UNKNOWN) / whole,
                 _parameters(run) / 1e6, macs / 1e9, macs / step / peak, self._memory(run),
                 self.hours(run))
            )  # fmt: skip
        return pd.DataFrame(rows, columns=COLUMNS)

    def hours(self, run: Run) -> float:
        """Hours of all of a run's steps.

        One that was not timed has the multiply-accumulates a second of those that were with its
        separator, on average; NaN where there is none.
        """
        step = _step_of(self.times.get(run.experiment, {}))
        if isnan(step):
            alike = [one for one in self.runs if one.separator == run.separator]
            seconds = sum(_step_of(self.times[one.experiment]) for one in alike)
            done = sum(step_macs(one, one.discriminators) for one in alike)
            step = step_macs(run, run.discriminators) * seconds / done if done else UNKNOWN
        return step * total_steps(run) / 3600

    @cached_property
    def times(self) -> dict[str, dict[str, float]]:
        """Seconds by experiment and part: `step`, and of data `loop` and `waiting`."""
        works: dict[tuple[str, str], Callable[[], object]] = {}
        measured: dict[tuple[str, str], list[float]] = {}
        for run in self.runs:
            name, state = run.experiment, TrainState(run, World(self.device))
            works[name, "step"] = partial(train_step, state, self._batch(run))
            if self.data:
                waited = measured.setdefault((name, "waiting"), [])
                works[name, "loop"] = self._loop(run, state, self.data, waited)
        for _ in range(self.rounds + 1):
            gc.collect()  # so that it does not befall one of them
            for key, work in works.items():
                measured.setdefault(key, []).append(self._seconds(work))
        times: dict[str, dict[str, float]] = {run.experiment: {} for run in self.runs}
        for (name, part), seconds in measured.items():
            times[name][part] = median(seconds[1:])  # the first one warms up
        return times

    def _seconds(self, work: Callable[[], object]) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    def _batch(self, run: Run) -> Batch:
        samples = round(run.training.crop_seconds * run.audio.sample_rate)
        return _noise((run.training.batch_size, run.audio.sources, samples), self.device)

    def _loop(
        self, run: Run, state: TrainState, data: Path, waited: list[float]
    ) -> Callable[[], object]:
        """A step with its batch, as training takes it; `waited` gets how long it waited for it."""
        examples = open_examples(data, "train", run.audio)
        batches = Prefetched(training_batches(run, examples, self.bank, self.device))

        def take() -> None:
            start = time.perf_counter()
            batch = next(batches)
            waited.append(time.perf_counter() - start)
            train_step(state, batch.to(self.device))

        return take

    def _memory(self, run: Run) -> float:
        if self.device.type == "cpu":
            return UNKNOWN
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        train_step(TrainState(run, World(self.device)), self._batch(run))
        return (torch.cuda.max_memory_allocated() - before) / 2**30

    def _peak(self) -> float:
        """Multiply-accumulates a second of a large matrix product, in the networks' precision."""
        size = 8192 if self.device.type == "cuda" else 1024
        half = self.runs[0].training.precision == "bfloat16"
        kind = torch.bfloat16 if half else torch.float32
        matrix = torch.randn(size, size, device=self.device, dtype=kind)
        return size**3 / min(self._seconds(lambda: matrix @ matrix) for _ in range(4))


def _step_of(times: Mapping[str, float]) -> float:
    """Seconds of a step, with its data where they were read."""
    return times.get("loop", times.get("step", UNKNOWN))


@cache
def _noise(shape: tuple[int, int, int], device: torch.device) -> Batch:
    """A batch with one silent slot in one example."""
    references = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    references[0, -1] = 0
    return Batch(references, ()).to(device)


def _parameters(run: Run) -> int:
    return sum(network.parameters for network in complexities(run).values())


def by_size(runs: Sequence[Run], rate: float) -> pd.DataFrame:
    """What runs would take where nothing can be timed, from their networks' sizes alone.

    Columns: experiment, parameters_m, gmac (of a step), relative (to the first run), memory_gb (of
    a step, at the least), fits (the smallest of the usual cards that has room for it), and hours on
    a device that sustains `rate` multiply-accumulates a second.
    """
    macs = pd.Series([step_macs(run, run.discriminators) for run in runs])
    memory = pd.Series([step_memory(run) / 2**30 for run in runs])
    cards = [next((f"{card} GB" for card in CARDS if card > 1.1 * gb), "none") for gb in memory]
    return pd.DataFrame(
        {
            "experiment": [run.experiment for run in runs],
            "parameters_m": [_parameters(run) / 1e6 for run in runs],
            "gmac": macs / 1e9,
            "relative": macs / macs[0],
            "memory_gb": memory,
            "fits": cards,
            "hours": macs * [total_steps(run) for run in runs] / rate / 3600,
        }
    )


def parts_by_size(runs: Sequence[Run]) -> pd.DataFrame:
    """What each network of the runs adds to a step: columns part, gmac.

    For the batch of the first run that has it.
    """
    gmac: dict[str, float] = {}
    for run in runs:
        alone = step_macs(run, ())
        gmac.setdefault(f"separator ({run.separator.architecture})", alone / 1e9)
        for config in run.discriminators:
            gmac.setdefault(config.name, (step_macs(run, [config]) - alone) / 1e9)
    return pd.DataFrame({"part": list(gmac), "gmac": list(gmac.values())})
