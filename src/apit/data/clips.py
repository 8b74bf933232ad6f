"""Clips: single sounds, procedural or recorded, listed with what is wrong with some of them."""

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from apit.config import Procedural, Recipe
from apit.data.fuss import Format
from apit.errors import UserError
from apit.identity import files_in
from apit.names import BYTES, composed
from apit.provenance import array_generator, file_digest
from apit.sound import open_sound, read_whole

SHORTEST_SECONDS = 0.1
LONGEST_SECONDS = 3600
SILENT = 1e-5  # RMS without the mean
COMPANDED = {"ULAW": 32124 / 2**15, "ALAW": 32256 / 2**15}  # their largest samples
LICENCES = "licences.csv"  # of a folder of clips: patterns of files, their licence and origin


@dataclass(frozen=True)
class Clip:
    """One usable sound: where it came from, and what is known of it."""

    name: str
    family: str
    folder: str  # the topmost, within the folder of clips; empty without one
    samples: int  # at the rate of the mixtures, silence trimmed
    seconds: float
    rate: int = 0  # of the file, in Hz
    channels: int = 1
    peak_db: float = 0.0  # relative to full scale
    rms_db: float = 0.0
    licence: str = ""
    sha256: str = ""  # of the file; empty where the sound is computed


class Sound(NamedTuple):
    """A clip with its samples [time]."""

    clip: Clip
    samples: NDArray[np.float32]


class Refused(NamedTuple):
    """A file that is no usable clip, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Source:
    """Where sounds come from: names, and a function that makes a sound of one, or refuses it."""

    names: Sequence[str]
    read: Callable[[str], Sound | Refused]
    origin: str


def procedural(sounds: Procedural, recipe: Recipe, rate: int, seconds: float) -> Source:
    """`clips_per_family` clips of each family, 0.4 to 1.6 times as long as a mixture."""
    from apit.data import synthesis

    names = [f"{f}_{i:04d}" for f in synthesis.FAMILIES for i in range(sounds.clips_per_family)]
    render = functools.partial(_render, recipe, rate, seconds)
    return Source(names, render, "procedural sounds")


def _render(recipe: Recipe, rate: int, seconds: float, name: str) -> Sound:
    from apit.data import synthesis

    family, _, index = name.rpartition("_")
    names = ("clip", recipe.seed, family, int(index))
    samples = round(array_generator(*names, "length").uniform(0.4, 1.6) * seconds * rate)
    sound = synthesis.render(family, array_generator(*names), rate, samples).astype(np.float32)
    return Sound(Clip(name, family, "", samples, samples / rate, rate, 1, *_levels(sound)), sound)


def recorded(folder: Path, recipe: Recipe, rate: int) -> Source:
    """All files of a folder, which are recordings in any format of libsndfile, or refused.

    Their licences stand in the folder's `licences.csv`, with the columns clips (a pattern such as
    `birds/*`), licence and origin; the last pattern that fits a file holds.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder of clips")
    names = [str(p.relative_to(folder)) for p in files_in(folder)]
    names = [name for name in names if name != LICENCES]
    if not names:
        raise UserError(f"{folder}: holds no file; give a folder of recordings")
    licences = _licences(folder / LICENCES)
    origins = sorted({origin for _, _, origin in licences if origin})
    return Source(
        names,
        functools.partial(_read, folder, recipe, rate, licences),
        f"recordings of {', '.join(origins)}"
        if origins
        else f"{len(names)} recordings of the folder {folder.resolve().name}",
    )


def _licences(path: Path) -> list[tuple[str, str, str]]:
    """Pattern, licence and origin of a folder's clips, where it says so."""
    if not path.exists():
        return []
    try:
        rows = pd.read_csv(
            path, dtype=str, keep_default_na=False, encoding="utf-8-sig", encoding_errors=BYTES
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise UserError(f"{path}: is no CSV ({error})") from None
    if not {"clips", "licence"} <= {*rows}:
        raise UserError(f"{path}: must have the columns clips, licence and, if known, origin")
    columns = rows.reindex(columns=["clips", "licence", "origin"], fill_value="")
    columns["clips"] = columns["clips"].map(composed)
    return list(columns.itertuples(index=False, name=None))


def _read(
    folder: Path, recipe: Recipe, rate: int, licences: Sequence[tuple[str, str, str]], name: str
) -> Sound | Refused:
    path = folder / name
    if not name.encode("utf-8", BYTES).decode("utf-8", "ignore").isprintable():
        return Refused(ascii(name), "its name holds what tables cannot; rename it")
    if not path.is_file():
        return Refused(name, "leads nowhere" if path.is_symlink() else "no file")
    try:
        samples, form = read_clip(path, recipe, rate)
    except UserError as error:
        return Refused(name, str(error))
    family = re.split("[_-]", path.stem)[0] or path.stem
    top = name.partition("/")[0] if "/" in name else ""
    same = composed(name)
    licence = [text for pattern, text, _ in licences if fnmatchcase(same, pattern)]
    clip = Clip(
        name, family, top, len(samples), len(samples) / rate, form.rate, form.channels,
        *_levels(samples), licence[-1] if licence else "", file_digest(path),
    )  # fmt: skip
    return Sound(clip, samples)


def read_clip(path: Path, recipe: Recipe, rate: int) -> tuple[NDArray[np.float32], Format]:
    """Read a recording → [time], in one channel, at `rate`, without the silence at its ends.

    Gives what the file is, too. Raises UserError for files that are unreadable, cut, shorter than
    0.1 s, silent, clipped or not finite.
    """
    with open_sound(path) as file:
        form = Format.of_open(file)
        if form.samples > LONGEST_SECONDS * form.rate:
            raise UserError(f"longer than {LONGEST_SECONDS / 3600:.0f} h")
        samples, subtype = read_whole(file), file.subtype
    if not np.isfinite(samples).all():
        raise UserError("holds samples that are not finite")
    if len(samples) < SHORTEST_SECONDS * form.rate:
        raise UserError(f"shorter than {SHORTEST_SECONDS} s")
    clipped = _share_clipped(samples, subtype)
    if clipped > recipe.clipped_at_most:
        raise UserError(f"clipped: {100 * clipped:.1f} % of its samples are at full scale")
    mono = samples.mean(axis=1)
    if np.std(mono) < SILENT:
        raise UserError("silent")
    sound = trimmed(mono, recipe.silence_db)
    if len(sound) < SHORTEST_SECONDS * form.rate:
        raise UserError(f"shorter than {SHORTEST_SECONDS} s but for silence")
    divisor = np.gcd(form.rate, rate)
    from scipy.signal import resample_poly

    resampled = resample_poly(sound, rate // divisor, form.rate // divisor)
    return resampled.astype(np.float32), form


def _share_clipped(samples: NDArray[np.float64], subtype: str) -> float:
    """Share of samples [time, channel] at the limit of a format that are as one beside them.

    Float goes on beyond its limit, and music at its loudest touches it.
    """
    of_bits = re.fullmatch(r"(?:PCM_[SU]?|ALAC_|DPCM_|DWVW_)(\d+)", subtype)
    bits = min(int(of_bits[1]), 16) if of_bits else 16  # more bits often come from 16
    limit = COMPANDED.get(subtype, 1.0 - 2.0 ** (1 - bits))
    lowest = -limit if subtype in COMPANDED else -1.0
    at_limit = (samples >= limit) & (samples <= 1) | (samples <= lowest) & (samples >= -1)
    stays = at_limit[1:] & (samples[1:] == samples[:-1])
    in_runs = np.zeros(samples.shape, bool)
    in_runs[1:] |= stays
    in_runs[:-1] |= stays
    return float(in_runs.mean())


def trimmed(samples: NDArray[np.float64], silence_db: float) -> NDArray[np.float64]:
    """Leave out what lies more than `silence_db` below the peak at both ends of a sound [time]."""
    magnitude = np.abs(samples)
    loud = np.flatnonzero(magnitude > magnitude.max() * 10 ** (silence_db / 20))
    return samples[loud[0] : loud[-1] + 1] if len(loud) else samples[:0]


def _levels(samples: NDArray[np.float32]) -> tuple[float, float]:
    """Peak and RMS in dB relative to full scale."""
    peak, rms = np.abs(samples).max(), np.sqrt(np.mean(np.square(samples, dtype=np.float64)))
    return round(20 * float(np.log10(peak)), 2), round(20 * float(np.log10(rms)), 2)
