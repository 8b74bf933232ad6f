"""The FUSS layout: example lists, and the wavs that they name."""

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
import soundfile
from numpy.typing import NDArray

from apit.config import Split
from apit.errors import UserError
from apit.names import BYTES, composed, on_disk
from apit.provenance import digest, file_digest
from apit.sound import open_sound

if TYPE_CHECKING:
    import torch

Signals = TypeVar("Signals", NDArray[np.float32], "torch.Tensor")

LIST_SUFFIX = "_example_list.txt"
SOUNDS = "sounds.txt"  # says of what the mixtures beside it were made
INDEX = "shards/index.json"  # of the packed form


@dataclass(frozen=True)
class Line:
    """A line of an example list: the mixture's stem, and files, without `./` and `//`."""

    name: str
    mixture: str
    sources: tuple[str, ...]


def list_path(root: Path, split: Split) -> Path:
    """Path of a split's example list."""
    return root / f"{split}{LIST_SUFFIX}"


def sounds(root: Path) -> str:
    """What a folder of mixtures was made of, as its maker wrote it down; FUSS has no such file."""
    path = root / SOUNDS
    return (
        path.read_text(encoding="utf-8", errors=BYTES).strip()
        if path.exists()
        else f"mixtures in {root}"
    )


def without_hashes(origin: str) -> str:
    """What `sounds` gave, for readers."""
    return re.sub(r" \(sha256 \w+\)", "", origin)


def fingerprint(root: Path) -> str:
    """Hash of a folder's lists and manifests: what its examples are, but for their sound.

    In the packed form it covers the sound, too.
    """
    files = [p for p in root.iterdir() if p.suffix in (".txt", ".csv")] + [root / INDEX]
    return digest({p.name: file_digest(p) for p in sorted(files) if p.exists()})


def read_lines(path: Path, slots: int) -> list[Line]:
    """Read an example list, as `parse_lines` does."""
    try:
        return parse_lines(path.read_bytes(), path, slots)
    except FileNotFoundError:
        raise UserError(f"{path}: no such example list; `apit mix` makes one") from None


def parse_lines(content: bytes, path: Path, slots: int) -> list[Line]:
    """Read the bytes of an example list: tab-separated mixture and 1 to `slots` sources a line.

    Raises UserError, with the line, for duplicates, for files outside the list's folder, and for
    lines of another form.
    """
    text = content.decode("utf-8-sig", BYTES)
    if "\0" in text:
        raise UserError(f"{path}: is no text; give a list of mixtures and their sources")
    if not text:
        raise UserError(f"{path}: is empty")
    lines: list[Line] = []
    seen: dict[str, int] = {}  # stems of mixtures, and in which line
    used: dict[str, int] = {}  # files of sources
    ended = text.replace("\r\n", "\n").removesuffix("\n")  # names may hold other ends of lines
    for number, written in enumerate(ended.split("\n"), 1):
        mixture, *sources = written.split("\t")
        where = f"{path}:{number}"
        if not written.strip():
            raise UserError(f"{where}: is an empty line; remove it")
        if "" in (mixture, *sources):
            raise UserError(f"{where}: has an empty field; remove the tab beside it")
        if not 1 <= len(sources) <= slots:
            raise UserError(
                f"{where}: has {len(sources)} sources after the mixture, tab-separated; "
                f"audio.sources allows 1 to {slots}"
            )
        name = PurePosixPath(mixture).stem
        if (same := composed(name)) in seen:
            raise UserError(f"{where}: {name} is listed twice, first in line {seen[same]}")
        seen[same] = number
        for file in (mixture, *sources):
            if file.startswith("/") or ".." in file.split("/"):
                raise UserError(f"{where}: names {file}, which lies outside {path.parent}")
        mixture, *sources = (str(PurePosixPath(file)) for file in (mixture, *sources))
        for file in sources:
            if (same := composed(file)) in used:
                raise UserError(f"{where}: names {file}, as line {used[same]} does already")
            used[same] = number
        lines.append(Line(name, mixture, tuple(sources)))
    return lines


def read_list(path: Path, slots: int) -> list[Line]:
    """Read an example list whose sources lie beside it, as `read_lines` does.

    The mixture's file need not be there, since mixtures are summed anew. Raises UserError, with
    the line, for missing sources, too.
    """
    lines = read_lines(path, slots)
    for number, line in enumerate(lines, 1):
        for file in line.sources:
            if not on_disk(path.parent, file).is_file():
                hint = "; fields are parted by tabs, not by spaces" if " " in file else ""
                raise UserError(
                    f"{path}:{number}: names {file}, which is not in {path.parent}{hint}"
                )
    return lines


class Format(NamedTuple):
    """What a wav is."""

    rate: int  # Hz
    channels: int
    samples: int  # of each channel

    @classmethod
    def of(cls, path: Path) -> "Format":
        """Read a wav's header; raises UserError where it cannot be read."""
        with open_sound(path, path) as file:
            return cls.of_open(file)

    @classmethod
    def of_open(cls, file: soundfile.SoundFile) -> "Format":
        """What an open file is."""
        return cls(file.samplerate, file.channels, file.frames)

    def __str__(self) -> str:
        return f"{self.rate} Hz, {self.channels} channel(s), {self.samples} samples"


def read_wav(
    path: Path, wanted: Format, said_by: str, into: NDArray[np.float32], start: int = 0
) -> None:
    """Read as many samples as `into` [time] holds; PCM is divided by 2^(bits − 1), float as it is.

    Raises UserError for files that are unreadable, of another format, or not finite.
    """
    with open_sound(path, path) as file:
        if (form := Format.of_open(file)) != wanted:
            raise UserError(f"{path}: {form}; {said_by} {wanted}")
        is_float = not file.subtype.startswith("PCM")
        file.seek(start)
        read = file.read(len(into), dtype="float32", out=into)
    if len(read) != len(into):
        raise UserError(f"{path}: ends after {start + len(read)} samples; make it again")
    if is_float and not np.isfinite(read).all():
        raise UserError(f"{path}: holds samples that are not finite; make it again")


def mixture_of(sources: Signals) -> Signals:
    """The mixture as the FUSS evaluator makes it: the float32 sum of the sources, in order.

    [..., source, time] → [..., time], for arrays and tensors, to the same bits.
    """
    mixture = sources[..., 0, :]
    for slot in range(1, sources.shape[-2]):
        mixture = mixture + sources[..., slot, :]
    return mixture
