"""Mixtures: a bank and a seed → a folder in the FUSS layout."""

import functools
import math
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.io import wavfile
from scipy.signal import fftconvolve

from apit.config import Scale
from apit.data import fuss
from apit.data.bank import Stock, open_stock, recipe_of
from apit.data.identities import of_mixtures
from apit.data.recipe import PEAK, Draft, draft, dry
from apit.files import check_apart, whole_folder
from apit.identity import is_made, stamp_of
from apit.names import BYTES
from apit.parallel import in_order
from apit.provenance import array_generator


@dataclass(frozen=True)
class Example:
    """A mixture's sources as 16-bit samples [source, time], and how they came about."""

    sources: NDArray[np.int16]
    draft: Draft
    room_db: list[float]  # what the room adds to the level of each source
    gain_db: float  # of the whole mixture, below zero where it would have clipped


def mix(scale: Scale, bank: Path, output: Path, jobs: int = 0) -> None:
    """Make a scale's mixtures in `output`, in the FUSS layout, with their manifests.

    `manifest.csv` says what each source consists of, `rooms.csv` in which room each mixture is;
    `clips.csv` is the bank's. The same seed gives the same bytes, whatever the number of jobs, and
    in whichever order they come.
    """
    recipe = recipe_of(scale.data)
    stocks = {split: open_stock(bank, split, scale.audio, scale.data) for split in recipe.examples}
    check_apart(output, bank)
    identity = of_mixtures(scale.audio, scale.data, stamp_of(bank))
    if is_made(output, identity):
        return
    with whole_folder(output, identity) as part:
        manifest: list[dict[str, Any]] = []
        rooms: list[dict[str, Any]] = []
        for split, count in recipe.examples.items():
            (part / split).mkdir()
            write = functools.partial(write_example, scale, stocks[split], part)
            written = list(in_order(write, range(count), count, f"mix {split}", jobs))
            lines = "".join(f"{one['line']}\n" for one in written)
            fuss.list_path(part, split).write_text(lines, encoding="utf-8")
            manifest += [row for one in written for row in one["sources"]]
            rooms += [one["room"] for one in written if one["room"]]
        pd.DataFrame(manifest).to_csv(part / "manifest.csv", index=False, errors=BYTES)
        if rooms:
            pd.DataFrame(rooms).to_csv(part / "rooms.csv", index=False, errors=BYTES)
        for name in ("clips.csv", fuss.SOUNDS):
            shutil.copyfile(bank / name, part / name)


def write_example(scale: Scale, stock: Stock, folder: Path, index: int) -> dict[str, Any]:
    """Write one example's wavs and labels → its line of the list, and rows of the manifests."""
    name = f"example{index:05d}"
    rate = scale.audio.sample_rate
    example = make_example(scale, stock, index)
    top = Path(stock.split)
    sources = top / f"{name}_sources"
    (folder / sources).mkdir()
    paths = [top / f"{name}.wav"]
    mixture = example.sources.sum(axis=0, dtype=np.int32).astype(np.int16)
    wavfile.write(folder / paths[0], rate, mixture)
    rows, labels = [], []
    responses = stock.rooms[example.draft.room] if example.draft.room is not None else None
    for slot, placement in enumerate(example.draft.placements):
        paths.append(sources / f"{placement.source}_sound.wav")
        wavfile.write(folder / paths[-1], rate, example.sources[slot])
        onset, offset = placement.onset / rate, (placement.onset + placement.length) / rate
        labels.append(f"{onset:.6f}\t{offset:.6f}\t{placement.clip}\n")
        row = asdict(placement)
        del row["number"]
        rows.append(
            {"example": f"{stock.split}/{name}"}
            | row
            | {"room_db": example.room_db[slot], "gain_db": example.gain_db}
            | {"position": responses[slot].position if responses else ""}
        )
    (folder / top / f"{name}.txt").write_text("".join(labels), encoding="utf-8", errors=BYTES)
    room = None
    if responses:
        room = {"example": f"{stock.split}/{name}"} | {
            key: getattr(responses[0], key) for key in ("room", "size", "surfaces", "microphone")
        }
    return {"line": "\t".join(map(str, paths)), "sources": rows, "room": room}


def make_example(scale: Scale, stock: Stock, index: int) -> Example:
    """Mix one example of a split, which depends on the recipe's seed and the index alone.

    A joint gain keeps the sum of the sources within 16 bits, so that the mixture is their sum
    exactly.
    """
    audio, recipe = scale.audio, recipe_of(scale.data)
    generator = array_generator("example", recipe.seed, stock.split, index)
    drawn = draft(audio, recipe, stock, generator, index)
    placements = drawn.placements
    before = [dry(audio, recipe, placed, stock.sounds[placed.number]) for placed in placements]
    after = before
    if drawn.room is not None:
        responses = stock.responses[drawn.room]
        after = [
            fftconvolve(signal, response)[: audio.samples]  # the rest of the reverberation is cut
            for signal, response in zip(before, responses, strict=False)
        ]
    sources = np.stack(after) * PEAK  # [source, time]
    # Rounding moves each sample by half a step at the most, and so their sum by half a step each.
    loudest = max(np.abs(sources).max(), np.abs(sources.sum(axis=0)).max()) + len(sources)
    gain = min(1.0, PEAK / loudest)
    return Example(
        np.round(gain * sources).astype(np.int16),
        drawn,
        [_ratio_db(wet, one) for wet, one in zip(after, before, strict=True)],
        round(20 * math.log10(gain), 3),
    )


def _ratio_db(after: NDArray[np.float64], before: NDArray[np.float64]) -> float:
    """How much stronger a signal became, in dB; 0 where it is silent on either side."""
    energies = float(np.sum(after**2)), float(np.sum(before**2))
    return round(10 * math.log10(energies[0] / energies[1]), 3) if all(energies) else 0.0
