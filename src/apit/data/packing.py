"""Packing: the FUSS layout, as a folder or in a tar → the packed form."""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from apit.data import fuss
from apit.data.archives import files_of
from apit.data.fuss import INDEX, LIST_SUFFIX, Format, Line
from apit.data.identities import of_packed
from apit.data.packed import SAMPLE, SOURCES, VERSION
from apit.errors import UserError
from apit.files import check_apart, whole_folder
from apit.identity import FILE, Identity, is_made, stamp_of
from apit.progress import bar
from apit.provenance import file_digest
from apit.wav import missing_bytes

SLOTS = 64  # more than any list has: how many sources are allowed is a reader's to say
SHARD_BYTES = 1 << 28


class Plain:
    """Plain files of what is packed, and the lines of those that are example lists."""

    def __init__(self, source: Path):
        self.source = source
        self.files: dict[str, bytes] = {}
        self.lists: dict[str, list[Line]] = {}

    def add(self, name: str, content: bytes) -> None:
        """Keep a file; raises UserError for a list that is damaged, or not beside the others."""
        self.files[name] = content
        if name.endswith(LIST_SUFFIX):
            self.lists[name] = fuss.parse_lines(content, self.source / name, SLOTS)
            top, other = self.root, _folder(name)
            if top != other:
                raise UserError(
                    f"{self.source}: holds lists in {top or './'} and in {other or './'}"
                )

    @property
    def root(self) -> str:
        """The folder of the lists, which their names are relative to."""
        for name in self.lists:
            return _folder(name)
        raise UserError(f"{self.source}: holds no *{LIST_SUFFIX}; it is not in the FUSS layout")

    @property
    def sources(self) -> list[str]:
        """The sources that the lists name, in their order."""
        return [file for lines in self.lists.values() for line in lines for file in line.sources]

    def check(self, names: Collection[str]) -> None:
        """Raise UserError for a file that two lists name, and a source that is not in `names`."""
        named: dict[str, str] = {}
        for listed, lines in self.lists.items():
            for line in lines:
                for file in (line.mixture, *line.sources):
                    if (other := named.setdefault(file, listed)) != listed:
                        raise UserError(
                            f"{self.source}: {file} is named by both {other} and {listed}"
                        )
        for file in self.sources:
            if file not in names:
                raise UserError(f"{self.source}: {file} is listed, and not there")


class Source(NamedTuple):
    """A source's file, as it is called where it came from, and its samples [time]."""

    name: str
    format: Format
    samples: NDArray[np.int16]

    @classmethod
    def of(cls, name: str, content: bytes) -> "Source":
        """Read the bytes of a wav; raises UserError unless it is whole and has 16 bits."""
        if missing := missing_bytes(BytesIO(content)):
            raise UserError(f"{name}: is cut: it lacks {missing} bytes; make it again")
        with fuss.opened(BytesIO(content), name) as (file, form):
            if file.subtype != "PCM_16":
                raise UserError(f"{name}: is no PCM of 16 bits; only such wavs are packed")
            if not file.frames:
                raise UserError(f"{name}: holds no sample; leave it out, or make it again")
            return cls(name, form, file.read(dtype="int16"))


def pack(
    source: Path,
    output: Path,
    wanted: Format | None = None,
    lists: Sequence[str] = (),
    origin: str | None = None,
    identity: Identity | None = None,
) -> None:
    """Pack a folder in the FUSS layout, or a tar of one without unpacking it, into `output`.

    Sources alone are kept, and the plain files at the top. Mixtures are neither read nor compared
    with the sum of their sources: readers take that sum. `lists` are files that must be there;
    `origin` is what `sounds.txt` will say, where there is none yet; `identity` of an archive is
    known to whoever fetched it. Raises UserError, with the file's name, for sources that are cut,
    of unlike lengths, not 16-bit mono or not as `wanted`, for files that are listed and missing,
    and for a tar that is damaged or has links, devices or names outside of it.
    """
    if not source.exists():
        raise UserError(f"{source}: no such folder or archive")
    if (source / INDEX).exists():
        raise UserError(f"{source}: is packed already")
    check_apart(output, source)
    if identity is None:
        mixed = Identity.read(source)
        identity = of_packed(mixed.configuration if mixed else {}, stamp_of(source))
    if is_made(output, identity):
        return
    with whole_folder(output, identity) as part:
        shards = (part / INDEX).parent
        shards.mkdir()
        plain = Plain(source)
        sources = _of_folder(source, plain) if source.is_dir() else _of_tar(source, plain)
        form, names, counts = _write_shards(sources, shards, wanted)
        root = plain.root
        top = {n.removeprefix(root): c for n, c in plain.files.items() if _folder(n) == root}
        if absent := sorted(set(lists) - set(top)):
            raise UserError(f"{source}: holds no {absent[0]}")
        names = [name.removeprefix(root) for name in names]
        plain.check(set(names))
        if origin:
            top.setdefault(fuss.SOUNDS, origin.encode())
        for name, content in top.items():
            (part / name).write_bytes(content)
        pd.DataFrame({"file": names}).to_csv(shards / SOURCES, index=False)
        assert form is not None, "every line has a source"
        paths = sorted([*(part / name for name in top), *shards.iterdir()])
        index = {
            "version": VERSION,
            "sample_rate": form.rate,
            "samples": form.samples,
            "shards": list(counts.items()),
            "sha256": {str(path.relative_to(part)): file_digest(path) for path in paths},
        }
        (part / INDEX).write_text(json.dumps(index, indent=1) + "\n")


def _folder(name: str) -> str:
    """`ssdata/list.txt` → `ssdata/`; without a folder, nothing."""
    return name[: name.rfind("/") + 1]


def _is_plain(name: str) -> bool:
    """Whether a file is neither sound nor hidden, nor the identity of what is packed."""
    file = name.rpartition("/")[2]
    return not (file.endswith(".wav") or file.startswith(".") or file == FILE)


def _write_shards(
    sources: Iterable[Source], folder: Path, form: Format | None
) -> tuple[Format | None, list[str], Counter[str]]:
    """Write sources to shards → their format, their names, and how many of them each shard has.

    All must have the same `form`; None: that of the first.
    """
    names: list[str] = []
    counts: Counter[str] = Counter()
    for name, own, samples in sources:
        form = form or own._replace(channels=1)
        if own != form:
            raise UserError(f"{name}: {own}; all must have {form}")
        in_a_shard = -(-SHARD_BYTES // samples.nbytes)
        shard = f"{len(names) // in_a_shard:03d}.i16"
        with (folder / shard).open("ab") as file:
            file.write(samples.astype(SAMPLE, copy=False).tobytes())
        names.append(name)
        counts[shard] += 1
    return form, names, counts


def _of_folder(root: Path, plain: Plain) -> Iterator[Source]:
    """The sources that a folder's lists name, in their order; its plain files go to `plain`."""
    for path in sorted(root.iterdir()):
        if path.is_file() and _is_plain(path.name):
            plain.add(path.name, path.read_bytes())
    for name in bar(plain.sources, desc=f"pack {root}", unit=" sources"):
        if not (root / name).is_file():
            raise UserError(f"{root / name}: is listed, and not there")
        yield Source.of(name, (root / name).read_bytes())


def _of_tar(archive: Path, plain: Plain) -> Iterator[Source]:
    """A tar's sources, in its order; its plain files go to `plain`.

    It is read twice, since the lists, which say what is a source, may come last.
    """
    for name, content in files_of(archive, _is_plain):
        plain.add(name, content)
    listed = {plain.root + file for file in plain.sources}
    for name, content in files_of(archive, listed.__contains__):
        yield Source.of(name, content)
