"""The FUSS layout: example lists, and the wavs that they name."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from apit.config import Audio, Split
from apit.errors import UserError

SOUNDS = "sounds.txt"  # says of what the mixtures beside it were made


@dataclass(frozen=True)
class Entry:
    """A line of an example list: the mixture's stem, and its sources' files."""

    name: str
    sources: tuple[Path, ...]


def list_path(root: Path, split: Split) -> Path:
    """Path of a split's example list."""
    return root / f"{split}_example_list.txt"


def sounds(root: Path) -> str:
    """What a folder of mixtures was made of, as its maker wrote it down; FUSS has no such file."""
    path = root / SOUNDS
    return path.read_text().strip() if path.exists() else f"mixtures in {root}"


def read_list(root: Path, split: Split, slots: int) -> list[Entry]:
    """Read a split's example list: tab-separated mixture and 1 to `slots` sources a line.

    Raises UserError, with the line, for missing files, duplicates and lines of another form.
    """
    path = list_path(root, split)
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        raise UserError(f"{path}: no such example list; `apit mix` makes one") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: is not text in UTF-8") from None
    if not lines:
        raise UserError(f"{path}: is empty")
    entries, seen = [], set()
    for number, line in enumerate(lines, 1):
        mixture, *sources = line.split("\t")
        where = f"{path}:{number}"
        if not 1 <= len(sources) <= slots:
            raise UserError(
                f"{where}: has {len(sources)} sources after the mixture, tab-separated; "
                f"audio.sources allows 1 to {slots}"
            )
        if mixture in seen:
            raise UserError(f"{where}: {mixture} is listed twice")
        seen.add(mixture)
        for file in (mixture, *sources):
            if not (root / file).is_file():
                raise UserError(f"{where}: names {file}, which is not in {root}")
        entries.append(Entry(Path(mixture).stem, tuple(root / source for source in sources)))
    return entries


def read_sources(
    entry: Entry, audio: Audio, start: int = 0, length: int | None = None
) -> NDArray[np.float32]:
    """Read a crop of an example's sources → [source, time], silent slots padded with zeros.

    Raises UserError for files that are unreadable or not as `audio` says.
    """
    length = audio.samples - start if length is None else length
    sources = np.zeros((audio.sources, length), np.float32)
    for slot, path in enumerate(entry.sources):
        try:
            with soundfile.SoundFile(path) as file:
                _check(path, file, audio)
                file.seek(start)
                read = file.read(length, dtype="float32", out=sources[slot])
        except soundfile.LibsndfileError as error:
            raise UserError(f"{path}: cannot be read as a wav: {error}; make it again") from None
        if len(read) != length:
            raise UserError(f"{path}: ends after {start + len(read)} samples; make it again")
        if not np.isfinite(read).all():
            raise UserError(f"{path}: holds samples that are not finite; make it again")
    return sources


def _check(path: Path, file: soundfile.SoundFile, audio: Audio) -> None:
    found = (file.samplerate, file.channels, file.frames)
    wanted = (audio.sample_rate, 1, audio.samples)
    if found != wanted:
        raise UserError(
            "{}: {} Hz, {} channel(s), {} samples; ".format(path, *found)
            + "the configuration's audio says {} Hz, {} channel, {} samples".format(*wanted)
        )


def mixture_of(sources: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mixture as the FUSS evaluator makes it: the float32 sum of the sources, in order.

    [..., source, time] → [..., time].
    """
    mixture = sources[..., 0, :].copy()
    for slot in range(1, sources.shape[-2]):
        mixture += sources[..., slot, :]
    return mixture
