"""How fast batches are read, beside soundfile, asteroid and cat: prints ratios.

    pip install --no-deps --target PEERS asteroid==0.7.0     # its FUSSDataset, loaded by path
    python benchmarks/loading.py [--brief] [--asteroid PEERS/asteroid/data/fuss_dataset.py]

Examples of four sources, 10 s at 16 kHz, in the page cache; crops of 3 s. Contenders take turns,
and the best round of each counts, since machines are noisy and shared: compare ratios, not times.
"""

import argparse
import importlib.util
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import torch
from scipy.io import wavfile
from scoring import BRIEF

from apit.config import Audio
from apit.data import packed
from apit.data.batches import RandomCrops
from apit.data.examples import Packed, Wavs
from apit.data.packing import pack
from apit.provenance import file_digest

RATE, SECONDS, SLOTS, CROP, BATCH = 16_000, 10, 4, 3, 8
AUDIO = Audio(sample_rate=RATE, seconds=float(SECONDS), sources=SLOTS)


def main() -> None:
    """Run all comparisons."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--brief", action="store_true", help=BRIEF)
    parser.add_argument("--asteroid", type=Path, help="asteroid's data/fuss_dataset.py")
    parsed = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        mixtures = write(folder / "mixtures", 16 if parsed.brief else 200)
        start = time.perf_counter()
        pack(mixtures, folder / "packed")
        seconds = time.perf_counter() - start
        size = sum(path.stat().st_size for path in mixtures.rglob("*_sound.wav"))
        print(f"packing: {size / seconds / 1e6:.0f} MB/s of sources")
        crops = reading(mixtures, folder / "packed", parsed.asteroid, 1 if parsed.brief else 7)
        memory(crops, 100 if parsed.brief else 10_000)
    with tempfile.TemporaryDirectory() as name:
        first_batch(Path(name))


def write(folder: Path, examples: int) -> Path:
    """Examples of noise in the FUSS layout."""
    generator = np.random.default_rng(0)
    lines = []
    for number in range(examples):
        stem = f"train/example{number:05d}"
        paths = [
            f"{stem}.wav",
            *(f"{stem}_sources/source{slot}_sound.wav" for slot in range(SLOTS)),
        ]
        sources = generator.integers(-3000, 3000, (SLOTS, RATE * SECONDS), np.int16)
        (folder / f"{stem}_sources").mkdir(parents=True)
        for path, samples in zip(paths, [sources.sum(0, np.int16), *sources], strict=True):
            wavfile.write(folder / path, RATE, samples)
        lines.append("\t".join(paths) + "\n")
    (folder / "train_example_list.txt").write_text("".join(lines), encoding="utf-8")
    return folder


def random_crops(examples: Packed | Wavs) -> RandomCrops:
    """Batches as training takes them."""
    return RandomCrops(examples, CROP * RATE, BATCH, np.random.default_rng(0))


def reading(mixtures: Path, root: Path, asteroid: Path | None, rounds: int) -> RandomCrops:
    """Compare readers, as examples a second; and bytes a second with `cat`."""
    wavs, crops = Wavs(mixtures, "train", AUDIO), random_crops(Packed(root, "train", AUDIO))
    of_wavs = random_crops(wavs)
    generator = np.random.default_rng(0)

    def by_seeking() -> torch.Tensor:
        batch = np.empty((BATCH, SLOTS, CROP * RATE), np.float32)
        for example in batch:
            sources = wavs.sources[int(generator.integers(len(wavs)))]
            start = int(generator.integers((SECONDS - CROP) * RATE))
            for path, signal in zip(sources, example, strict=True):
                with soundfile.SoundFile(path) as file:
                    file.seek(start)
                    file.read(CROP * RATE, dtype="float32", out=signal)
        return torch.from_numpy(batch)

    contenders: dict[str, Callable[[], object]] = {
        "apit, packed": lambda: next(crops),
        "apit, wavs": lambda: next(of_wavs),
        "soundfile, seeking to the crop": by_seeking,
    }
    if asteroid:
        peer = loaded(asteroid, mixtures)
        contenders["asteroid's FUSSDataset, whole files (3 sources and their mixture)"] = lambda: [
            peer[int(number)] for number in generator.integers(len(peer), size=BATCH)
        ]
    shard = next((root / "shards").glob("*.i16"))
    cat = f"for i in {' '.join('x' * 8)}; do cat {shard} > /dev/null; done"
    contenders |= {
        "cat": lambda: subprocess.run(cat, shell=True, check=True),
        "no cat": lambda: subprocess.run(cat.replace(str(shard), ""), shell=True, check=True,
                                         stdin=subprocess.DEVNULL),
    }  # fmt: skip
    best = dict.fromkeys(contenders, float("inf"))
    for _ in range(rounds):
        for name, work in contenders.items():
            best[name] = min(best[name], seconds_of(work))
    a_byte = (best.pop("cat") - best.pop("no cat")) / 8 / shard.stat().st_size
    print(f"batches of {BATCH} crops of {CROP} s, {SLOTS} sources, one thread:")
    first = best["apit, packed"]
    for name, seconds in best.items():
        print(f"  {BATCH / seconds:9.0f} examples/s  {seconds / first:7.1f} ×  {name}")
    ratio = first / (BATCH * SLOTS * CROP * RATE * 2) / a_byte
    print(f"  {ratio:.2f} × the time of cat ({1e-9 / a_byte:.1f} GB/s) per byte that is read\n")
    return crops


def seconds_of(work: Callable[[], object]) -> float:
    """Seconds that a call takes, as the mean over 0.2 s of calls."""
    calls, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < 0.2:
        work()
        calls += 1
    return spent / calls


def loaded(path: Path, mixtures: Path) -> object:
    """Asteroid's data set, without the package around it; its list has absolute paths."""
    spec = importlib.util.spec_from_file_location("fuss_dataset", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    listed = mixtures / "absolute.tsv"
    lines = (mixtures / "train_example_list.txt").read_text(encoding="utf-8").splitlines()
    listed.write_text(
        "".join("\t".join(f"{mixtures}/{p}" for p in line.split("\t")) + "\n" for line in lines),
        encoding="utf-8",
    )
    return module.FUSSDataset(str(listed))


def memory(crops: RandomCrops, batches: int) -> None:
    """How much this process grows, without the pages of the maps."""

    def anonymous() -> float:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(int(x.split()[1]) for x in lines if x.startswith("RssAnon")) / 1024

    for _ in range(batches // 10):
        next(crops)
    before = anonymous()
    for _ in range(batches):
        next(crops)
    print(f"memory: {anonymous() - before:+.1f} MB over {batches} batches\n")


def first_batch(folder: Path) -> None:
    """From nothing open to the first batch, of 20,000 examples (of a hole in a sparse file)."""
    examples, samples = 20_000, RATE * SECONDS
    sources = [
        [f"train/example{n:05d}_sources/source{slot}_sound.wav" for slot in range(SLOTS)]
        for n in range(examples)
    ]
    lines = [f"train/example{n:05d}.wav\t" + "\t".join(s) + "\n" for n, s in enumerate(sources)]
    shards = folder / "shards"
    shards.mkdir()
    (folder / "train_example_list.txt").write_text("".join(lines), encoding="utf-8")
    table = "file\n" + "".join(f"{file}\n" for own in sources for file in own)
    (shards / packed.SOURCES).write_text(table, encoding="utf-8")
    count, per_shard = examples * SLOTS, 800
    verified = ("train_example_list.txt", f"shards/{packed.SOURCES}")
    index = {
        "version": packed.VERSION, "sample_rate": RATE, "samples": samples,
        "shards": [[f"{n:03d}.i16", per_shard] for n in range(count // per_shard)],
        "sha256": {name: file_digest(folder / name) for name in verified},
    }  # fmt: skip
    for name, _ in index["shards"]:
        with (shards / name).open("wb") as file:
            file.truncate(per_shard * samples * 2)
    (shards / "index.json").write_text(packed.json.dumps(index), encoding="utf-8")
    start = time.perf_counter()
    next(random_crops(Packed(folder, "train", AUDIO)))
    print(f"first batch of {examples} examples: {time.perf_counter() - start:.2f} s after opening")


if __name__ == "__main__":
    main()
