"""How fast `apit separate` is, and how far separation in chunks is from that of whole files.

python benchmarks/separation.py --model results/mini/runs/pit-s0 data/mini/mixtures/*/eval/*.wav
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
import torch

import apit
from apit.measure import si_snr
from apit.separate.files import separate_file
from apit.separate.model import SILENT

CHUNKS = (0.8, 0.5, 0.3)  # of a file's length


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("files", type=Path, nargs="+")
    parsed = parser.parse_args()
    torch.set_num_threads(1)
    model = apit.load(parsed.model)
    with tempfile.TemporaryDirectory() as folder:
        separate_file(model, parsed.files[0], Path(folder))  # warm
        speeds = []
        for path in parsed.files:
            began = time.perf_counter()
            seconds = separate_file(model, path, Path(folder))["seconds"]
            speeds.append(seconds / (time.perf_counter() - began))
    print(f"{statistics.median(speeds):.0f} times as fast as it plays, one thread, files included")
    sounds = [soundfile.read(path, dtype="float32") for path in parsed.files]
    for share in CHUNKS:
        found = [agreement(parsed.model, sound, rate, share) for sound, rate in sounds]
        values = np.concatenate(found)
        print(
            f"chunks of {100 * share:.0f} % of a file: median SI-SNR to whole files "
            f"{np.median(values):.1f} dB (quartiles {np.percentile(values, 25):.1f}, "
            f"{np.percentile(values, 75):.1f}; {len(values)} estimates that sound)"
        )


def agreement(folder: Path, sound: np.ndarray, rate: int, share: float) -> np.ndarray:
    """SI-SNR of estimates in chunks against those of the whole file, of slots that sound."""
    seconds = len(sound) / rate
    whole, parts = (
        torch.from_numpy(apit.load(folder, chunk).separate(sound, rate, silent=True))[None]
        for chunk in (seconds, share * seconds)
    )
    mixture = torch.from_numpy(sound)[None]
    scores = si_snr.score(references=whole, estimates=parts, mixture=mixture)
    sounding = whole[0].square().sum(-1) >= SILENT * mixture.square().sum()
    return scores.si_snr[0][sounding].numpy()


if __name__ == "__main__":
    main()
