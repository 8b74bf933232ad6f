"""Clips: single sounds, procedural or recorded, each in one split only."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.signal import resample_poly

from apit.config import Procedural, Recipe, Split
from apit.data import synthesis
from apit.errors import UserError
from apit.provenance import array_generator, file_digest

SHORTEST_SECONDS = 0.1
PACKAGE = "PACKAGE.txt"  # names the package that a folder of clips was unpacked from
SUFFIXES = {f".{name.lower()}" for name in soundfile.available_formats()}
SUFFIXES = (SUFFIXES | {".aif", ".oga", ".opus"}) - {".raw"}  # raw samples do not say their rate


@dataclass(frozen=True)
class Clip:
    """One sound; `read` gives its samples → [time] at the rate that it was listed for."""

    name: str
    family: str
    seconds: float
    sha256: str  # of the file; empty where the sound is computed
    read: Callable[[], NDArray[np.float64]]


def procedural_clips(sounds: Procedural, recipe: Recipe, rate: int, seconds: float) -> list[Clip]:
    """List `clips_per_family` clips of each family, 0.4 to 1.6 times as long as a mixture."""

    def clip(family: str, index: int) -> Clip:
        names = ("clip", recipe.seed, family, index)
        samples = round(array_generator(*names, "length").uniform(0.4, 1.6) * seconds * rate)
        return Clip(
            name=f"{family}_{index:04d}",
            family=family,
            seconds=samples / rate,
            sha256="",
            read=functools.partial(_render, family, names, rate, samples),
        )

    return [clip(f, i) for f in synthesis.FAMILIES for i in range(sounds.clips_per_family)]


def _render(
    family: str, names: tuple[str | int, ...], rate: int, samples: int
) -> NDArray[np.float64]:
    return synthesis.render(family, array_generator(*names), rate, samples)


def recorded_clips(folder: Path, rate: int) -> tuple[list[Clip], dict[str, str]]:
    """List a folder of recordings in any format of libsndfile, and why others are left out.

    Returns the usable clips, sorted by name, and a reason for every file that is not one.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder of clips")
    usable: list[Clip] = []
    left_out: dict[str, str] = {}
    seen: dict[str, str] = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name[0] != "."):
        name = str(path.relative_to(folder))
        if name == PACKAGE:
            continue
        if path.suffix.lower() not in SUFFIXES:
            left_out[name] = "not in a format that libsndfile reads"
            continue
        try:
            samples = read_clip(path, rate)
        except UserError as error:
            left_out[name] = str(error)
            continue
        sha256 = file_digest(path)
        if sha256 in seen:
            left_out[name] = f"the same file as {seen[sha256]}"
            continue
        seen[sha256] = name
        seconds = len(samples) / rate
        family = path.stem.split("_")[0]
        usable.append(Clip(name, family, seconds, sha256, functools.partial(read_clip, path, rate)))
    return usable, left_out


def read_clip(path: Path, rate: int) -> NDArray[np.float64]:
    """Read a recording → [time], mixed down to one channel and resampled to `rate`.

    Raises UserError for files that are unreadable, shorter than 0.1 s, silent or not finite.
    """
    try:
        samples, own_rate = soundfile.read(path, dtype="float64", always_2d=True)
    except (soundfile.LibsndfileError, OSError, ValueError) as error:
        raise UserError(f"cannot be read: {error}") from None
    if len(samples) < SHORTEST_SECONDS * own_rate:
        raise UserError(f"shorter than {SHORTEST_SECONDS} s")
    if not np.isfinite(samples).all():
        raise UserError("holds samples that are not finite")
    mono = samples.mean(axis=1)
    if np.sqrt(np.mean(mono**2)) < 1e-5:
        raise UserError("silent")
    divisor = np.gcd(own_rate, rate)
    return resample_poly(mono, rate // divisor, own_rate // divisor)


def split_clips(clips: Sequence[Clip], recipe: Recipe) -> dict[Split, list[Clip]]:
    """Deal out clips to the splits by `clip_shares`, each clip or whole family to one split only.

    Every split gets a clip that is long enough for a background. Clips are dealt family by family,
    backgrounds and the rest apart, so that the shares hold for all of them. Whole families are
    dealt by size: first those with backgrounds, by how many they have, then the rest, as near to
    the shares as that goes.
    """
    generator = array_generator("split", recipe.seed)
    shuffled = [clips[position] for position in generator.permutation(len(clips))]
    families: dict[str, list[Clip]] = {}
    for clip in shuffled:
        families.setdefault(clip.family, []).append(clip)

    def backgrounds(hand: Sequence[Clip]) -> int:
        return sum(clip.seconds >= recipe.background_min_seconds for clip in hand)

    if recipe.split_by == "family":
        hands = list(families.values())
        long = [[h for h in hands if backgrounds(h)]]
        short = [[h for h in hands if not backgrounds(h)]]
    else:
        by_family = [[[clip] for clip in families[f]] for f in sorted(families)]
        long = [[h for h in hands if backgrounds(h)] for hands in by_family]
        short = [[h for h in hands if not backgrounds(h)] for hands in by_family]
    if sum(map(len, long)) < len(recipe.clip_shares):
        raise UserError(_too_few(clips, sorted(families), backgrounds, recipe))
    dealt: dict[Split, list[Clip]] = {split: [] for split in recipe.clip_shares}
    _deal(long, backgrounds, recipe.clip_shares, dealt)
    _deal(short, len, recipe.clip_shares, dealt)
    return dealt


def _deal(
    rounds: Sequence[Sequence[list[Clip]]],
    weight: Callable[[list[Clip]], int],
    shares: Mapping[Split, float],
    dealt: dict[Split, list[Clip]],
) -> None:
    """Deal hands, round by round, each to the split that is due most; none is left without."""
    due = dict.fromkeys(shares, 0.0)
    left = sum(map(len, rounds))
    for hands in rounds:
        for split, share in shares.items():
            due[split] += share / sum(shares.values()) * sum(map(weight, hands))
        for hand in sorted(hands, key=weight, reverse=True):
            empty = [split for split in shares if not dealt[split]]
            split = max(empty if len(empty) >= left else shares, key=due.__getitem__)
            dealt[split] += hand
            due[split] -= weight(hand)
            left -= 1


def _too_few(
    clips: Sequence[Clip],
    families: Sequence[str],
    backgrounds: Callable[[Sequence[Clip]], int],
    recipe: Recipe,
) -> str:
    seconds, splits = recipe.background_min_seconds, len(recipe.clip_shares)
    long = sorted({c.family for c in clips if backgrounds([c])})
    if recipe.split_by == "clip":
        names = sorted(clip.name for clip in clips if backgrounds([clip]))
        found = f"{len(clips)} clips, of which {len(names)} last {seconds} s or more"
        found += f" ({_some(names)})"
        needed = "such clip"
    else:
        found = (
            f"{len(clips)} clips of {len(families)} families ({_some(families)}), of which "
            f"{len(long)} have a clip of {seconds} s or more ({_some(long)})"
        )
        needed = "such family (a family is what stands before a file name's first _)"
    remedies = ["add longer clips", "lower data.recipe.background_min_seconds"]
    if recipe.split_by == "family" and backgrounds(clips) >= splits:
        remedies.append("set data.recipe.split_by: clip")
    return (
        f"{found}: every one of the {splits} splits needs at least one {needed} as a background; "
        + ", or ".join(remedies)
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (", …" if len(names) > 8 else "") if names else "none"
