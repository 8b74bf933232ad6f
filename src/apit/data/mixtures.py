"""Mixtures: clips and a seed → a folder in the FUSS layout."""

import functools
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
from numpy.typing import NDArray

from apit.config import Audio, Recipe, Scale, Split
from apit.data import fuss
from apit.data.clips import PACKAGE, Clip, procedural_clips, recorded_clips, split_clips
from apit.data.rooms import (
    Room,
    check_surfaces,
    draw_room,
    impulse_responses,
    metres,
    reverberate,
)
from apit.errors import UserError
from apit.files import whole_folder
from apit.parallel import in_order
from apit.provenance import array_generator

CROSS_FADE_SECONDS = 0.05
PEAK = 32767


@dataclass(frozen=True)
class Placement:
    """A row of the manifest: which part of which clip stands where in a source, and how loud."""

    example: str
    source: str
    clip: str
    family: str
    clip_offset: int  # samples
    onset: int  # samples
    length: int  # samples
    level_db: float  # RMS of its active samples before room and gain, relative to full scale
    room_db: float = 0.0  # what the room adds to the level of the source
    gain_db: float = 0.0  # of the whole mixture, below zero where it would have clipped
    position: str = ""  # x y z in the room, in metres


@dataclass(frozen=True)
class Example:
    """A mixture's sources as 16-bit samples [source, time], and where they came from."""

    sources: NDArray[np.int16]
    placements: list[Placement]
    room: Room | None


@dataclass(frozen=True)
class Written:
    """An example's line of the example list, and its rows of the manifests."""

    line: str
    placements: list[Placement]
    room: dict[str, str] | None


def mix(scale: Scale, output: Path, clips_folder: Path | None = None, jobs: int = 0) -> None:
    """Make a scale's mixtures in `output`, in the FUSS layout, with its manifests.

    `clips.csv` lists every clip with its split, or why it was left out; `manifest.csv` what each
    source consists of; `rooms.csv` each mixture's room. The same seed gives the same bytes,
    whatever the number of jobs.
    """
    recipe, audio = scale.data.recipe, scale.audio
    if recipe is None:
        raise UserError("this scale's mixtures are made already: `apit fetch` downloads them")
    left_out: dict[str, str] = {}
    if clips_folder is not None:
        clips, left_out = recorded_clips(clips_folder, audio.sample_rate)
        some = "; ".join(f"{name}: {reason}" for name, reason in list(left_out.items())[:5])
        if not clips:
            raise UserError(
                f"{clips_folder}: none of {len(left_out)} files is a usable clip ({some})"
                if left_out
                else f"{clips_folder}: holds no file; give a folder of recordings"
            )
        if left_out:
            print(
                f"{clips_folder}: {len(clips)} clips, {len(left_out)} files left out ({some}"
                f"{'; …' if len(left_out) > 5 else ''}); clips.csv lists them all",
                file=sys.stderr,
            )
        package = clips_folder / PACKAGE
        origin = (
            f"recordings of {package.read_text().strip()}"
            if package.exists()
            else f"{len(clips)} recordings of the folder {clips_folder.resolve().name}"
        )
    elif scale.data.sounds.kind == "procedural":
        origin = "procedural sounds"
        clips = procedural_clips(scale.data.sounds, recipe, audio.sample_rate, audio.seconds)
    else:
        raise UserError(
            "this scale mixes recordings: give their folder with --clips (`apit fetch` fetches "
            "the scale's own package)"
        )
    dealt = split_clips(clips, recipe)
    if recipe.rooms:
        check_surfaces(recipe.rooms)
    with whole_folder(output) as folder:
        (folder / fuss.SOUNDS).write_text(f"{origin}\n")
        _clip_table(dealt, left_out).to_csv(folder / "clips.csv", index=False)
        everything: list[Written] = []
        for split, count in recipe.examples.items():
            (folder / split).mkdir()
            write = functools.partial(_write_example, audio, recipe, dealt[split], split, folder)
            written = list(in_order(write, range(count), count, f"mix {split}", jobs))
            fuss.list_path(folder, split).write_text("".join(f"{w.line}\n" for w in written))
            everything += written
        placements = [asdict(placement) for w in everything for placement in w.placements]
        pd.DataFrame(placements).to_csv(folder / "manifest.csv", index=False)
        if recipe.rooms:
            pd.DataFrame([w.room for w in everything]).to_csv(folder / "rooms.csv", index=False)


def _clip_table(dealt: dict[Split, list[Clip]], left_out: dict[str, str]) -> pd.DataFrame:
    rows: list[tuple[str, str, str, float, str, str]] = [
        (clip.name, clip.family, split, round(clip.seconds, 4), clip.sha256, "")
        for split, clips in dealt.items()
        for clip in clips
    ]
    rows += [(name, "", "", 0.0, "", reason) for name, reason in left_out.items()]
    return pd.DataFrame(rows, columns=["clip", "family", "split", "seconds", "sha256", "left_out"])


def _write_example(
    audio: Audio, recipe: Recipe, clips: Sequence[Clip], split: Split, folder: Path, index: int
) -> Written:
    """Write one example's wavs and label file."""
    name = f"example{index:05d}"
    example = make_example(audio, recipe, clips, split, index)
    sources = folder / split / f"{name}_sources"
    sources.mkdir()
    paths = [folder / split / f"{name}.wav"]
    mixture = example.sources.sum(axis=0, dtype=np.int32).astype(np.int16)
    _write_wav(paths[0], mixture, audio.sample_rate)
    labels = []
    for samples, placement in zip(example.sources, example.placements, strict=True):
        paths.append(sources / f"{placement.source}_sound.wav")
        _write_wav(paths[-1], samples, audio.sample_rate)
        onset, offset = placement.onset, placement.onset + placement.length
        labels.append(
            f"{onset / audio.sample_rate:.6f}\t{offset / audio.sample_rate:.6f}\t{placement.clip}\n"
        )
    (folder / split / f"{name}.txt").write_text("".join(labels))
    return Written(
        line="\t".join(str(path.relative_to(folder)) for path in paths),
        placements=example.placements,
        room={"example": f"{split}/{name}", **example.room.row()} if example.room else None,
    )


def _write_wav(path: Path, samples: NDArray[np.int16], rate: int) -> None:
    try:
        soundfile.write(path, samples, rate, subtype="PCM_16")
    except soundfile.LibsndfileError as error:
        raise UserError(f"{path}: cannot be written: {error}; is the disk full?") from None


def make_example(
    audio: Audio, recipe: Recipe, clips: Sequence[Clip], split: Split, index: int
) -> Example:
    """Mix one example: a background over the whole length, and foregrounds at random onsets.

    Each is a random excerpt of its clip, and stands in its own place of one room. The example
    depends on the recipe's seed, the split and the index alone. A joint gain keeps the sum of the
    sources within 16 bits, so that the mixture is their sum exactly.
    """
    generator = array_generator("example", recipe.seed, split, index)
    backgrounds = [c for c in clips if c.seconds >= recipe.background_min_seconds]
    count = int(generator.integers(recipe.foregrounds[0], recipe.foregrounds[1] + 1))
    signals: list[NDArray[np.float64]] = []
    placements: list[Placement] = []
    for slot in range(1 + count):
        background = slot == 0
        pool = backgrounds if background else clips
        taken = [p.clip for p in placements]
        free = [c for c in pool if c.name not in taken] or pool
        clip = free[int(generator.integers(len(free)))]
        samples = _samples(clip)
        snr_db = 0.0 if background else float(generator.uniform(*recipe.foreground_snr_db))
        onset = 0 if background else int(generator.integers(audio.samples))
        length = audio.samples - onset
        if len(samples) >= length:
            offset = int(generator.integers(len(samples) - length + 1))
            excerpt = samples[offset : offset + length]
        elif background:
            offset = int(generator.integers(len(samples)))
            fade = round(CROSS_FADE_SECONDS * audio.sample_rate)
            excerpt = loop(samples, offset + length, fade)[offset:]
        else:
            offset, excerpt = 0, samples
        level_db = recipe.background_level_db + snr_db
        signal = np.zeros(audio.samples)
        signal[onset : onset + len(excerpt)] = at_level(excerpt, level_db)
        signals.append(signal)
        placements.append(
            Placement(
                example=f"{split}/example{index:05d}",
                source="background0" if background else f"foreground{slot - 1}",
                clip=clip.name,
                family=clip.family,
                clip_offset=offset,
                onset=onset,
                length=len(excerpt),
                level_db=round(level_db, 3),
            )
        )
    room = None
    if recipe.rooms:
        room = draw_room(recipe.rooms, len(signals), generator)
        responses = impulse_responses(room, audio.sample_rate, recipe.rooms.reflections)
        dry, signals = signals, [reverberate(s, r) for s, r in zip(signals, responses, strict=True)]
        placements = [
            replace(placement, position=metres(position), room_db=_ratio_db(wet, before))
            for placement, position, wet, before in zip(
                placements, room.positions, signals, dry, strict=True
            )
        ]
    sources = np.stack(signals) * PEAK  # [source, time]
    # Rounding moves each sample by half a step at the most, and so their sum by half a step each.
    loudest = max(np.abs(sources).max(), np.abs(sources.sum(axis=0)).max()) + len(sources)
    gain = min(1.0, PEAK / loudest)
    gain_db = round(20 * math.log10(gain), 3)
    placements = [replace(placement, gain_db=gain_db) for placement in placements]
    return Example(np.round(gain * sources).astype(np.int16), placements, room)


def _ratio_db(after: NDArray[np.float64], before: NDArray[np.float64]) -> float:
    """How much stronger a signal became, in dB; 0 where it is silent on either side."""
    energies = float(np.sum(after**2)), float(np.sum(before**2))
    return round(10 * math.log10(energies[0] / energies[1]), 3) if all(energies) else 0.0


@functools.lru_cache(maxsize=2048)
def _samples(clip: Clip) -> NDArray[np.float64]:
    return clip.read()


def loop(samples: NDArray[np.float64], length: int, fade: int) -> NDArray[np.float64]:
    """Repeat a clip up to `length` samples [time], cross-fading by equal power over `fade`."""
    fade = min(fade, len(samples) // 2)
    ramp = np.sin(np.linspace(0, np.pi / 2, fade))
    looped = samples
    while len(looped) < length:
        joint = looped[-fade:] * ramp[::-1] + samples[:fade] * ramp if fade else samples[:0]
        looped = np.concatenate([looped[: len(looped) - fade], joint, samples[fade:]])
    return looped[:length]


def at_level(samples: NDArray[np.float64], level_db: float) -> NDArray[np.float64]:
    """Scale to an RMS in dB relative to full scale, over samples within 40 dB of the loudest.

    FUSS sets loudness in LUFS, which is not defined under 0.4 s; silence stays silence.
    """
    magnitude = np.abs(samples)
    active = samples[magnitude > 0.01 * magnitude.max()]
    if not len(active):
        return samples
    levelled: NDArray[np.float64] = samples * (10 ** (level_db / 20) / np.sqrt(np.mean(active**2)))
    return levelled
