"""Clips: single sounds, procedural or recorded, each in one split only."""

import functools
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.signal import resample_poly

from apit.config import Procedural, Recipe, Split
from apit.data import synthesis
from apit.errors import UserError
from apit.files import whole_file, whole_folder
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
            read=lambda: synthesis.render(family, array_generator(*names), rate, samples),
        )

    return [clip(f, i) for f in synthesis.FAMILIES for i in range(sounds.clips_per_family)]


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
    """Deal out clips to the splits by `clip_shares`, each to one split only.

    Every split gets at least one clip that is long enough for a background; backgrounds and the
    rest are dealt separately, and each by family, so that the shares hold for all of them.
    """
    total = sum(recipe.clip_shares.values())
    dealt: dict[Split, list[Clip]] = {split: [] for split in recipe.clip_shares}
    long = [c for c in clips if c.seconds >= recipe.background_min_seconds]
    short = [c for c in clips if c.seconds < recipe.background_min_seconds]
    if len(long) < len(dealt):
        raise UserError(
            f"{len(clips)} clips, of which {len(long)} last {recipe.background_min_seconds} s or "
            f"more: every one of the {len(dealt)} splits needs at least one such clip as a "
            f"background; add longer clips, or lower data.recipe.background_min_seconds"
        )
    generator = array_generator("split", recipe.seed)
    for group in (long, short):
        shuffled = [group[position] for position in generator.permutation(len(group))]
        splits = list(dealt)
        for split, clip in zip(splits, shuffled, strict=False):  # one for each, to begin with
            dealt[split].append(clip)
        counts = dict.fromkeys(splits, 0)
        # Then family by family, each clip to the split that lacks most: all get their share of
        # every family.
        for number, clip in enumerate(sorted(shuffled[len(splits) :], key=lambda c: c.family), 1):
            lacking = {s: recipe.clip_shares[s] / total * number - counts[s] for s in splits}
            split = max(splits, key=lacking.__getitem__)
            dealt[split].append(clip)
            counts[split] += 1
    return dealt


def fetch_package(package: str, output: Path) -> None:
    """Download a Debian package of recordings and unpack its sounds into `output`.

    Needs apt-get and dpkg-deb, no root. Writes PACKAGE.txt with version and SHA-256.
    """
    own = "give a folder of your own recordings instead: make reproduce SCALE=mini CLIPS=FOLDER"
    missing = [tool for tool in ("apt-get", "dpkg-deb") if shutil.which(tool) is None]
    if missing:
        raise UserError(f"{' and '.join(missing)} cannot be found here, to fetch {package}; {own}")
    with tempfile.TemporaryDirectory() as scratch, whole_folder(output) as folder:
        try:
            _call("apt-get", "download", package, cwd=Path(scratch))
            (archive,) = Path(scratch).glob("*.deb")
            _call("dpkg-deb", "-x", str(archive), "unpacked", cwd=Path(scratch))
        except (subprocess.CalledProcessError, ValueError) as error:
            said = getattr(error, "stderr", "").strip()
            raise UserError(f"{package} cannot be fetched: {said or error}; {own}") from None
        sounds = [p for p in Path(scratch, "unpacked").rglob("*") if p.suffix.lower() in SUFFIXES]
        for sound in sounds:
            shutil.copyfile(sound, folder / sound.name)
        with whole_file(folder / PACKAGE) as partial:
            version = archive.name.removesuffix(".deb")
            partial.write_text(f"{version} (sha256 {file_digest(archive)})\n")


def _call(*command: str, cwd: Path) -> None:
    subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True)
