"""How long training takes: steps that are timed here, or reckoned, and the hours of whole runs."""

import gc
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat
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

CARDS = (8, 12, 16, 24, 32, 40, 48, 80, 141)  # GB of common GPUs
UNKNOWN = float("nan")


def timed(
    runs: Sequence[Run],
    data: Path | None,
    rounds: int,
    device: torch.device,
    bank: Path | None = None,  # for training.remix: clips
) -> dict[str, float]:
    """Seconds of a step of each run by experiment, medians of rounds in which they take turns.

    With reading its batch, where there are data, as training does; else of noise.
    """
    states = {run.experiment: TrainState(run, World(device)) for run in runs}
    batches = {run.experiment: _batches(run, data, device, bank) for run in runs}
    measured: dict[str, list[float]] = {name: [] for name in states}
    for _ in range(rounds + 1):
        gc.collect()  # so that it does not befall one of them
        for name, state in states.items():
            start = time.perf_counter()
            train_step(state, next(batches[name]).to(device))
            if device.type == "cuda":
                torch.cuda.synchronize()
            measured[name].append(time.perf_counter() - start)
    return {name: median(seconds[1:]) for name, seconds in measured.items()}  # the first warms up


def _batches(
    run: Run, data: Path | None, device: torch.device, bank: Path | None
) -> Iterator[Batch]:
    if data is not None:
        examples = open_examples(data, "train", run.audio)
        return Prefetched(training_batches(run, examples, bank, device))
    return repeat(noise(run).to(device))


def noise(run: Run, seed: int = 0) -> Batch:
    """A batch of noise for a run, with one silent slot in one example."""
    samples = round(run.training.crop_seconds * run.audio.sample_rate)
    shape = (run.training.batch_size, run.audio.sources, samples)
    references = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    references[0, -1] = 0
    return Batch(references, ())


def reckoned(runs: Sequence[Run], some: Sequence[Run], seconds: Mapping[str, float]) -> list[float]:
    """Seconds of a step of each run, from the `seconds` of `some` that were timed.

    One that was not has the multiply-accumulates a second of those that were with its separator, on
    average; NaN where there is none.
    """

    def step(run: Run) -> float:
        if run.experiment in seconds:
            return seconds[run.experiment]
        alike = [one for one in some if one.separator == run.separator]
        if not alike:
            return UNKNOWN
        rate = sum(map(step_macs, alike)) / sum(seconds[one.experiment] for one in alike)
        return step_macs(run) / rate

    return [step(run) for run in runs]


def by_size(runs: Sequence[Run], rate: float) -> pd.DataFrame:
    """The `costs` of runs on a device that sustains `rate` multiply-accumulates a second.

    Further columns: memory_gb (of a step, at the least), and fits (the smallest of the usual cards
    that has room for it).
    """
    memory = [step_memory(run) / 2**30 for run in runs]
    cards = [next((f"{card} GB" for card in CARDS if card > 1.1 * gb), "none") for gb in memory]
    return costs(runs, [step_macs(run) / rate for run in runs]).assign(memory_gb=memory, fits=cards)


def costs(runs: Sequence[Run], seconds: Sequence[float]) -> pd.DataFrame:
    """What runs cost whose steps take so many seconds, a row for each.

    Columns: experiment, step_ms, relative (to the first run), parameters_m (of all its networks),
    gmac (of a step), and hours of all steps, without validation.
    """
    return pd.DataFrame(
        {
            "experiment": [run.experiment for run in runs],
            "step_ms": [1e3 * one for one in seconds],
            "relative": [one / seconds[0] for one in seconds],
            "parameters_m": [
                sum(n.parameters for n in complexities(r).values()) / 1e6 for r in runs
            ],
            "gmac": [step_macs(run) / 1e9 for run in runs],
            "hours": [s * total_steps(run) / 3600 for run, s in zip(runs, seconds, strict=True)],
        }
    )
