"""Packing: the FUSS layout, as a folder or in a tar → the packed form."""

import json
import lzma
import tarfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from apit.data import fuss
from apit.data.fuss import INDEX, LIST_SUFFIX, Format
from apit.data.identities import of_packed
from apit.data.packed import SAMPLE, SOURCES, VERSION
from apit.errors import UserError
from apit.files import check_apart, whole_folder
from apit.identity import FILE, Identity, is_made, stamp_of
from apit.names import BYTES, composed, on_disk
from apit.progress import bar
from apit.provenance import file_digest
from apit.sound import open_sound

SLOTS = 64  # more than any list has: how many sources are allowed is a reader's to say
SHARD_BYTES = 1 << 28
BLOCK = 1 << 20


class Source(NamedTuple):
    """A source's file, as it is called where it came from, and its samples [time]."""

    name: str
    format: Format
    samples: NDArray[np.int16]

    @classmethod
    def of(cls, name: str, content: bytes) -> "Source":
        """Read the bytes of a wav; raises UserError unless it is whole and has 16 bits."""
        with open_sound(content, name) as file:
            if file.subtype != "PCM_16":
                raise UserError(f"{name}: is no PCM of 16 bits; only such wavs are packed")
            if not file.frames:
                raise UserError(f"{name}: holds no sample; leave it out, or make it again")
            return cls(name, Format.of_open(file), file.read(dtype="int16"))


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
    and for a tar that is damaged.
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
        plain = dict(_plain_files(source))
        root, listed = _listed(source, plain)
        top = {n.removeprefix(root): c for n, c in plain.items() if _folder(n) == root}
        if missing := sorted(set(lists) - set(top)):
            raise UserError(f"{source}: holds no {missing[0]}")
        read = (Source.of(name, content) for name, content in _contents(source, listed))
        form, names, counts = _write_shards(read, shards, wanted)
        if absent := set(listed).difference(names):
            raise UserError(f"{source}: {min(absent)} is listed, and not there")
        if origin:
            top.setdefault(fuss.SOUNDS, origin.encode())
        for name, content in top.items():
            (part / name).write_bytes(content)
        names = [name.removeprefix(root) for name in names]
        pd.DataFrame({"file": names}).to_csv(shards / SOURCES, index=False, errors=BYTES)
        assert form is not None, "every line has a source"
        paths = sorted([*(part / name for name in top), *shards.iterdir()])
        index = {
            "version": VERSION,
            "sample_rate": form.rate,
            "samples": form.samples,
            "shards": list(counts.items()),
            "sha256": {str(path.relative_to(part)): file_digest(path) for path in paths},
        }
        (part / INDEX).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")


def _folder(name: str) -> str:
    """`ssdata/list.txt` → `ssdata/`; without a folder, nothing."""
    return name[: name.rfind("/") + 1]


def _is_plain(name: str) -> bool:
    """Whether a file is neither sound nor hidden, nor the identity of what is packed."""
    file = name.rpartition("/")[2]
    return not (file.endswith(".wav") or file.startswith(".") or file == FILE)


def _plain_files(source: Path) -> Iterator[tuple[str, bytes]]:
    """Names and contents of a tar's plain files, or of those at the top of a folder."""
    if source.is_dir():
        for path in sorted(source.iterdir()):
            if path.is_file() and _is_plain(path.name):
                yield path.name, path.read_bytes()
    else:
        yield from _files_of(source, _is_plain)


def _listed(source: Path, plain: Mapping[str, bytes]) -> tuple[str, list[str]]:
    """The folder of the lists, which their names are relative to; and the sources that they name.

    Raises UserError for a list that is damaged or not beside the others, and for a file that two
    of them name.
    """
    lists = {
        name: fuss.parse_lines(content, source / name, SLOTS)
        for name, content in plain.items()
        if name.endswith(LIST_SUFFIX)
    }
    roots = list(dict.fromkeys(map(_folder, lists)))
    if not roots:
        raise UserError(f"{source}: holds no *{LIST_SUFFIX}; it is not in the FUSS layout")
    if len(roots) > 1:
        raise UserError(f"{source}: holds lists in {roots[0] or './'} and in {roots[1] or './'}")
    named: dict[str, str] = {}
    for listed, lines in lists.items():
        for file in (file for line in lines for file in (line.mixture, *line.sources)):
            if (other := named.setdefault(file, listed)) != listed:
                raise UserError(f"{source}: {file} is named by both {other} and {listed}")
    files = (file for lines in lists.values() for line in lines for file in line.sources)
    return roots[0], [roots[0] + file for file in files]


def _contents(source: Path, names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Files of a folder, in the order of their names; or those of a tar, in its order.

    A tar is read a second time, since the lists, which say what is a source, may come last.
    """
    if not source.is_dir():
        listed = {composed(name): name for name in names}
        for name, content in _files_of(source, lambda name: composed(name) in listed):
            yield listed[composed(name)], content
        return
    for name in bar(names, desc=f"pack {source}", unit=" sources"):
        if not (path := on_disk(source, name)).is_file():
            raise UserError(f"{source}: {name} is listed, and not there")
        yield name, path.read_bytes()


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


def _files_of(archive: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the wanted files of a tar, compressed or not, in its order.

    Links and devices are no files. Raises UserError for what is no whole tar.
    """
    try:
        with (
            archive.open("rb") as file,
            tarfile.open(fileobj=file) as tar,
            bar(total=archive.stat().st_size, unit="B", unit_scale=True, desc="pack") as shown,
        ):
            for member in tar:
                shown.update(file.tell() - shown.n)
                name = str(PurePosixPath(member.name))
                if wanted(name) and member.isfile():
                    content = tar.extractfile(member)
                    assert content is not None, "it is a file"
                    yield name, content.read()
            # tarfile takes a damaged header for the end, and does not look at what follows.
            stream = tar.fileobj
            assert stream is not None, "it is open"
            stream.seek(tar.offset)
            end = stream.read(tarfile.BLOCKSIZE)
            if len(end) < tarfile.BLOCKSIZE or end.strip(b"\0"):
                raise tarfile.ReadError("is cut or damaged")
            while stream.read(BLOCK):  # to the end, where the checksum of a compressed file stands
                pass
    except (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        # What tarfile tells of each compression that it tried has a line for each.
        said = "it is no tar" if "\n" in str(error) else str(error)
        raise UserError(f"{archive}: cannot be read: {said}") from None
