"""How fast scores are, beside torchmetrics and museval in the same process: prints ratios.

    python benchmarks/scoring.py [--brief]

Mixtures of 10 s at 16 kHz with four sources. Times are the best of several rounds in which the
contenders take turns, since machines are noisy and shared; compare ratios, not times.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from itertools import permutations
from pathlib import Path

import numpy as np
import soundfile
import torch
from torchmetrics.functional.audio import (
    permutation_invariant_training,
    scale_invariant_signal_distortion_ratio,
)

from apit.data import fuss
from apit.layers import load_scoring
from apit.measure import bss_eval, si_snr, spectral_holes
from apit.measure.estimates import write_estimates
from apit.measure.score import Measures, score_estimates
from apit.models.stft import make_stft

RATE, SECONDS, SLOTS = 16_000, 10, 4
BRIEF = "less of it: it runs, and its ratios mean little"


def main() -> None:
    """Run all comparisons."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--brief", action="store_true", help=BRIEF)
    brief = parser.parse_args().brief
    generator = torch.Generator().manual_seed(0)
    references = torch.randn(1, SLOTS, RATE * (2 if brief else SECONDS), generator=generator)
    noise = torch.randn(references.shape, generator=generator)
    estimates = references + 0.3 * noise + 0.2 * references.flip(1)
    mixture = references.sum(1)

    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads\n")
    ours = compare(
        "SI-SNR of one mixture, all pairs and the best permutation",
        {
            "apit (float64)": lambda: si_snr.score(
                references=references, estimates=estimates, mixture=mixture
            ),
            "torchmetrics SI-SDR + PIT (float32)": lambda: permutation_invariant_training(
                estimates, references, scale_invariant_signal_distortion_ratio, eval_func="max"
            ),
            "one pair at a time, 24 permutations (float64)": lambda: pair_by_pair(
                references[0], estimates[0]
            ),
        },
        rounds=1 if brief else 20,
    )["apit (float64)"]
    exact, _ = pair_by_pair(references[0], estimates[0])
    difference = (ours.si_snr[0] - exact).abs().max().item()
    print(f"largest difference from the exact residual: {difference:.1e} dB\n")

    stft = make_stft(load_scoring().stft, RATE)
    depths = load_scoring().evaluation.hole_depths_db
    sources = {"references": references[0].numpy(), "estimates": estimates[0].numpy()}
    museval = bss_eval.museval_metrics()
    compare(
        "What costs more than SI-SNR, of one mixture",
        {
            "apit BSS Eval, 1-s windows and whole": lambda: bss_eval.bss_eval(
                **sources, window=RATE, hop=RATE
            ),
            "museval BSS Eval v4, 1-s windows": lambda: museval.bss_eval(
                *sources.values(), window=RATE, hop=RATE
            ),
            "museval BSS Eval v4, with its permutation search": lambda: museval.bss_eval(
                *sources.values(), window=RATE, hop=RATE, compute_permutation=True
            ),
            f"apit holes at {len(depths)} depths, missing, excess": lambda: spectral_holes.rates(
                references=references[0],
                estimates=estimates[0],
                stft=stft,
                rate=RATE,
                depths_db=depths,
            ),
        },
        rounds=1 if brief else 3,
    )
    files(2 if brief else 100, references[0], estimates[0])


def compare(title: str, contenders: dict[str, Callable[[], object]], rounds: int) -> dict:
    """Time contenders in turns; print times and their ratios to the first."""
    results = {name: work() for name, work in contenders.items()}
    best = dict.fromkeys(contenders, float("inf"))
    for _ in range(rounds):
        for name, work in contenders.items():
            start = time.perf_counter()
            work()
            best[name] = min(best[name], time.perf_counter() - start)
    first = next(iter(best.values()))
    print(f"{title}:")
    for name, seconds in best.items():
        print(f"  {1e3 * seconds:9.1f} ms  {seconds / first:8.2f} ×  {name}")
    print()
    return results


def pair_by_pair(references: torch.Tensor, estimates: torch.Tensor) -> tuple[torch.Tensor, tuple]:
    """SI-SNR by the residual itself, every pair apart, and all permutations tried."""
    pairs = torch.zeros(SLOTS, SLOTS, dtype=torch.float64)
    for i, estimate in enumerate(estimates.double()):
        for j, reference in enumerate(references.double()):
            one, other = estimate / estimate.norm(), reference / reference.norm()
            cosine = one @ other
            rest = (one - cosine * other).square().sum()
            pairs[i, j] = 10 * torch.log10((cosine**2 + 1e-8) / (rest + 1e-8))
    columns = torch.arange(SLOTS)
    order = max(permutations(range(SLOTS)), key=lambda p: pairs[list(p), columns].sum().item())
    return pairs[list(order), columns], order


def files(count: int, references: torch.Tensor, estimates: torch.Tensor) -> None:
    """`apit score` of `count` mixtures from files in the page cache, as time for a thousand."""
    config = load_scoring()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines = []
        scaled = 0.1 * references.numpy()
        for number in range(count):
            stem = f"example{number:05d}"
            (folder / f"{stem}_sources").mkdir()
            paths = [f"{stem}_sources/source{slot}.wav" for slot in range(SLOTS)]
            for path, source in zip(paths, scaled, strict=True):
                soundfile.write(folder / path, source, RATE, subtype="PCM_16")
            (folder / "estimates").mkdir(exist_ok=True)
            write_estimates(folder / "estimates" / stem, 0.1 * estimates, RATE)
            lines.append("\t".join([f"{stem}.wav", *paths]) + "\n")
        listed = fuss.list_path(folder, "eval")
        listed.write_text("".join(lines), encoding="utf-8")
        print(f"apit score of {count} mixtures from files, in as many processes as cores:")
        for label, holes, bss in (
            ("SI-SNR", False, False),
            ("SI-SNR, holes", True, False),
            ("SI-SNR, BSS Eval", False, True),
        ):
            measures = Measures(config, spectral_holes=holes, bss_eval=bss)
            start = time.perf_counter()
            output = folder / "scores.csv"
            score_estimates(listed, folder / "estimates", measures, output)
            seconds = time.perf_counter() - start
            print(f"  {1e3 * seconds / count:9.1f} ms a mixture, start included  {label}")


if __name__ == "__main__":
    np.seterr(all="ignore")
    main()
