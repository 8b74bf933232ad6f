"""What only a GPU can show, as one table of ratios: `make gpu-check`, in eight minutes at most.

    python benchmarks/gpu.py [--scale paper]

On one card and without a network. How fast and how large a step at `paper` is in each arithmetic,
whether the input keeps up, how many small trainings share the card, and whether CUDA resumes a
run, and computes what a CPU computes. The last two fail (exit status 1) where they do not.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from statistics import median

import numpy as np
import torch
from loading import AUDIO, write
from safetensors.torch import load_file

from apit.config import Run
from apit.data.batches import RandomCrops
from apit.data.examples import open_examples
from apit.data.packing import pack
from apit.layers import load_run
from apit.models.complexity import step_macs
from apit.training.bench import noise
from apit.training.devices import make_device
from apit.training.record import read_record
from apit.training.state import TrainState
from apit.training.step import train_step
from apit.training.world import World

MINUTES = 8
SIZE = 8192  # of a matrix
PARTS = (128, 64, 32, 16, 8, 4, 2, 1)  # of a batch: how many examples are computed at once
STEPPED = ("pit", "ctx-wave-i3-m", "pit-six")
SHARED = (1, 2, 4, 8, 16)  # trainings on one card
SHARING, STEPS = "ctx-wave-i3-m", 100
SMALL = ("--scale", "smoke", "--set", "data.recipe.examples={train: 64, validation: 4, eval: 4}")
TOLERANCE = 1e-3  # between terms of a step on a CPU and on CUDA, both in float32
ARITHMETIC = {  # name: precision of the configuration, of float32 products, and compiled
    "float32": ("float32", "highest", False),
    "TF32": ("float32", "high", False),
    "bfloat16": ("bfloat16", "high", False),
    "bfloat16, compiled": ("bfloat16", "high", True),
}

Row = tuple[str, str, str, str]  # what, of what, its value, and a ratio or a verdict


def main() -> None:
    """Run all checks, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", default="paper")
    parsed = parser.parse_args()
    if not torch.cuda.is_available():
        print("no GPU is here: nothing was checked")
        return
    end = time.monotonic() + 60 * MINUTES
    device = make_device(1)
    properties = torch.cuda.get_device_properties(device)
    memory = f"{properties.total_memory / 2**30:.0f} GB"
    print(f"{properties.name}, {memory}, torch {torch.__version__}, scale {parsed.scale}\n\n"
          "| what | of | value | ratio |\n|---|---|---:|---|")  # fmt: skip
    failed = False
    with tempfile.TemporaryDirectory() as name:
        for row in rows(parsed.scale, device, Path(name), end):
            print(f"| {' | '.join(row)} |", flush=True)
            failed |= row[-1].startswith("FAILED")
    sys.exit(int(failed))


def rows(scale: str, device: torch.device, folder: Path, end: float) -> Iterator[Row]:
    """All checks, the most important ones first; those for which no time is left say so."""
    yield like_cpu(device)
    data = small_data(folder / "small")
    yield resumed(data, folder)
    peaks = {name: peak(device, *how[:2]) for name, how in list(ARITHMETIC.items())[:3]}
    for name, rate in peaks.items():
        yield "matrix product", name, f"{rate / 1e12:.3g} TFLOP/s", f"{rate / peaks['float32']:.3g}"
    fastest = yield from steps(scale, device, peaks, end)
    yield input_rate(folder / "input", fastest)
    yield from sharing(data, folder / "shared", end)


def like_cpu(device: torch.device) -> Row:
    """Steps of the same run on both devices: the largest relative difference of a loss.

    The first step's counts. Adam's updates are as large where a gradient is all but rounding, so
    that later ones may differ by more.
    """
    run = load_run("smoke", "pit-ctx-all", 0, ["training.batch_size=4"])
    set_products("highest")
    losses = []
    for where in (torch.device("cpu"), device):
        state = TrainState(run, World(where))
        batches = [noise(run, seed).to(where) for seed in range(3)]
        done = [train_step(state, batch).terms for batch in batches]
        losses.append(
            [[float(t) for n, t in step.items() if n.startswith("loss/")] for step in done]
        )
    first, _, third = (
        max(abs(a - b) / max(abs(a), 1.0) for a, b in zip(*both, strict=True))
        for both in zip(*losses, strict=True)
    )
    verdict = "as on a CPU" if first < TOLERANCE else f"FAILED: more than {TOLERANCE:g}"
    value = f"{first:.1e}; {third:.1e} two steps later"
    return "losses of a step, CUDA against CPU", run.name, value, verdict


def set_products(precision: str) -> None:
    """How products and convolutions of float32 are computed: "highest", or "high", in TF32."""
    torch.set_float32_matmul_precision(precision)
    torch.backends.cudnn.allow_tf32 = precision != "highest"


def small_data(folder: Path) -> Path:
    """Packed mixtures of `smoke`."""
    bank, mixtures, data = (folder / name for name in ("bank", "mixtures", "packed"))
    finish(apit("bank", *SMALL, "--output", str(bank)))
    finish(apit("mix", *SMALL, "--bank", str(bank), "--output", str(mixtures)))
    finish(apit("pack", str(mixtures), "--output", str(data)))
    return data


def apit(*words: str) -> subprocess.Popen[bytes]:
    """Start a command; as many trainings as are checked may share the card."""
    return subprocess.Popen(
        [sys.executable, "-m", "apit", *words],
        stdout=subprocess.DEVNULL,
        env=os.environ | {"APIT_RUNS_PER_GPU": str(max(SHARED))},
    )


def finish(*commands: subprocess.Popen[bytes]) -> None:
    """Wait for commands, and stop where one fails, after what it said."""
    codes = [command.wait() for command in commands]  # of all, whichever fails
    if any(codes):
        raise SystemExit("gpu-check: a command failed, as it says above")


def train(data: Path, output: Path, steps: int, work: str = "work") -> subprocess.Popen[bytes]:
    """Start a run of `smoke` for some steps; it goes on from `work`, if that has a checkpoint."""
    return apit("train", *SMALL, "--experiment", SHARING, "--data", str(data),
                "--set", f"training.steps={steps}", "--set", "training.validate_every=1000000",
                "--output", str(output), "--work", str(output.parent / work))  # fmt: skip


def resumed(data: Path, folder: Path) -> Row:
    """Whether 20 steps, and 10 and 10 more, end in the same weights."""
    finish(train(data, folder / "whole", 20, "work-whole"))
    finish(train(data, folder / "half", 10))
    finish(train(data, folder / "parts", 20))
    one, other = (load_file(folder / of / "model.safetensors") for of in ("whole", "parts"))
    error = max(float((one[name] - other[name]).abs().max()) for name in one)
    largest = max(float(weight.abs().max()) for weight in one.values())
    verdict = ("the same bits" if error == 0 else "not the same bits, within rounding"
               if error < TOLERANCE * largest else "FAILED")  # fmt: skip
    return "10 steps, stopped, 10 more, against 20", SHARING, f"{error:.1e}", verdict


def peak(device: torch.device, precision: str, products: str) -> float:
    """Operations a second of a large matrix product, the best of some rounds."""
    set_products(products)
    dtype = getattr(torch, precision)
    one, other = (torch.randn(SIZE, SIZE, device=device).to(dtype) for _ in range(2))
    seconds = [timed(lambda: one @ other, device) for _ in range(8)]
    return 2 * SIZE**3 / min(seconds)


def timed(action: Callable[[], object], device: torch.device) -> float:
    """Seconds of something that a device computes."""
    wait(device)
    start = time.perf_counter()
    action()
    wait(device)
    return time.perf_counter() - start


def wait(device: torch.device) -> None:
    """Until a device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def steps(
    scale: str, device: torch.device, peaks: Mapping[str, float], end: float
) -> Iterator[Row]:
    """Steps of as many examples as fit, in each arithmetic → examples a second of the fastest."""
    fastest = 0.0
    for experiment in STEPPED:
        slowest = 0.0
        for name, (precision, products, compiled) in ARITHMETIC.items():
            what, where = f"step of {experiment}", name
            if time.monotonic() > end - 120:  # which are for what comes after
                yield what, where, "–", "no time was left"
                continue
            set_products(products)
            settings = (f"training.precision={precision}", f"training.compile={compiled}".lower())
            for part in PARTS:
                try:
                    seconds, memory, run = step(scale, experiment, settings, part, device)
                    break
                except torch.cuda.OutOfMemoryError:
                    torch.cuda.empty_cache()
            else:
                yield what, where, "–", "not even one example fits"
                continue
            rate = part / seconds
            slowest = slowest or rate
            fastest = max(fastest, rate)
            arithmetic = 2 * step_macs(run) / seconds / peaks[name.split(",")[0]]
            yield (what, f"{name}, {part} at once", f"{rate:.3g} examples/s",
                   f"{rate / slowest:.3g} × the speed of float32; {arithmetic:.0%} of the peak; "
                   f"{memory / 2**30:.3g} GB")  # fmt: skip
    return fastest


def step(
    scale: str, experiment: str, settings: Sequence[str], part: int, device: torch.device
) -> tuple[float, int, Run]:
    """Seconds and bytes of a step of one part, the median of three after one to warm up."""
    sizes = (f"training.batch_size={part}", "training.grad_accum_steps=1")
    run = load_run(scale, experiment, 0, [*settings, *sizes])
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    state, batch = TrainState(run, World(device)), noise(run).to(device)
    seconds = [timed(lambda: train_step(state, batch), device) for _ in range(4)]
    memory = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
    return median(seconds[1:]), memory, run


def input_rate(folder: Path, needed: float, examples: int = 64) -> Row:
    """Examples of 10 s that are read in a second, beside those of the fastest step."""
    pack(write(folder / "mixtures", examples), folder / "packed")
    read = open_examples(folder / "packed", "train", AUDIO)
    batches = RandomCrops(read, AUDIO.samples, 8, np.random.default_rng(0))
    start = time.perf_counter()
    count = sum(len(batch.references) for batch in islice(batches, 2 * examples // 8))
    rate = count / (time.perf_counter() - start)
    ratio = f"{rate / needed:.3g} × what the fastest step takes" if needed else "–"
    return (
        "input, one thread, in the page cache",
        "10 s, 4 sources",
        f"{rate:.3g} examples/s",
        ratio,
    )


def sharing(data: Path, folder: Path, end: float) -> Iterator[Row]:
    """Steps a second of several trainings of `smoke` on one card, all together."""
    alone = 0.0
    for count in SHARED:
        if time.monotonic() > end - 45:
            yield "trainings that share the card", f"{count}", "–", "no time was left"
            continue
        rate = together(data, folder / str(count), count)
        alone = alone or rate
        yield ("trainings that share the card", f"{count} of {SHARING} at smoke",
               f"{rate:.3g} steps/s", f"{rate / alone:.3g} × one alone")  # fmt: skip


def together(data: Path, folder: Path, count: int) -> float:
    """Steps a second of so many trainings at once, from the time that each spent in its steps."""
    outputs = [folder / f"{number}" for number in range(count)]
    finish(*(train(data, output, STEPS, f"work-{output.name}") for output in outputs))
    return sum(STEPS / read_record(output)["training_seconds"] for output in outputs)


if __name__ == "__main__":
    main()
