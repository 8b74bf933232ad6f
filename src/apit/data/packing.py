"""Packing: the FUSS layout, unpacked or in a tar, → the packed form; and back, bit for bit."""

import io
import json
import shutil
import struct
import sys
import tarfile
import tempfile
import zlib
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from gzip import GzipFile
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from apit.data import fuss
from apit.data.archives import files_of
from apit.data.fuss import INDEX, LIST_SUFFIX, Format, Line
from apit.data.packed import (
    LABELS,
    MIXTURES,
    RESIDUALS,
    SAMPLE,
    SOURCES,
    VERSION,
    Header,
    Index,
)
from apit.data.shards import MARK, Shards, Wav
from apit.errors import UserError
from apit.files import MADE, resumable_folder
from apit.parallel import in_threads
from apit.progress import bar
from apit.provenance import digest, file_digest

SLOTS = 64  # more than any list has: how many sources are allowed is a reader's to say
TOLD = 5  # mixtures that are not the sum of their sources


@dataclass
class Contents:
    """What is packed beside the sources: lists by file name, other files, and the mixtures."""

    lists: dict[str, list[Line]]
    others: dict[str, bytes]
    mixture: Callable[[str], Wav | None]  # None: its file is not there, and need not be


def pack(
    source: Path,
    output: Path,
    wanted: Format | None = None,
    lists: Sequence[str] = (),
    origin: str | None = None,
) -> None:
    """Pack a folder in the FUSS layout, or a tar of one without unpacking it, into `output`.

    `lists` are files that must be there; `origin` is what `sounds.txt` will say, where there is
    none yet. Each byte is read once. What was packed when a call was killed stays in `OUTPUT.part`,
    and the same call goes on from there. Raises UserError, with the file's name, for wavs that are
    cut, of unlike lengths or not as `wanted`, for files that are listed and missing, and for a tar
    with links, devices or names outside of it.
    """
    if not source.exists():
        raise UserError(f"{source}: no such folder or archive")
    if (source / INDEX).exists():
        raise UserError(f"{source}: is packed already")
    stat = source.stat()
    state = fuss.fingerprint(source) if source.is_dir() else [stat.st_size, stat.st_mtime_ns]
    with resumable_folder(output, digest([str(source.resolve()), state, wanted])) as part:
        shards = Shards((part / INDEX).parent, wanted)
        spill = Shards(part / "mixtures", wanted)
        contents = _of_folder(source, shards) if source.is_dir() else _of_tar(source, shards, spill)
        if absent := sorted(set(lists) - set(contents.lists)):
            raise UserError(f"{source}: holds no {absent[0]}")
        headers: dict[Header, int] = {}

        def write_table(name: str, files: Iterable[tuple[str, Header]]) -> None:
            rows = [(file, headers.setdefault(header, len(headers))) for file, header in files]
            table = pd.DataFrame(rows, columns=["file", "header"])
            table.to_csv(shards.folder / name, index=False)

        write_table(SOURCES, shards.files())
        write_table(MIXTURES, _pack_mixtures(source, shards, contents))
        named = {fuss.SOUNDS: origin.encode()} if origin else {}
        _write_others(part, named | contents.others)
        assert shards.wanted is not None, "every line has a source"
        index = {
            "version": VERSION,
            "sample_rate": shards.wanted.rate,
            "samples": shards.wanted.samples,
            "shards": [(s["name"], len(s["files"]), s["sha256"]) for s in shards.shards],
            "headers": [[b64encode(part).decode() for part in header] for header in headers],
        }
        (part / INDEX).write_text(json.dumps(index, indent=1) + "\n")
        shutil.rmtree(spill.folder)
        for mark in shards.folder.glob(f"*{MARK}"):
            mark.unlink()


def _of_folder(root: Path, shards: Shards) -> Contents:
    """Pack the sources that the lists name, in their order."""
    paths = sorted(root.glob(f"*{LIST_SUFFIX}"))
    if not paths:
        raise UserError(f"{root}: holds no *{LIST_SUFFIX}; it is not in the FUSS layout")
    lists = {path.name: fuss.read_lines(path, SLOTS) for path in paths}
    lines = [line for listed in lists.values() for line in listed]
    names = [file for line in lines for file in line.sources if file not in shards.done]

    def read(name: str) -> bytes:
        try:
            return (root / name).read_bytes()
        except FileNotFoundError:
            raise UserError(f"{root / name}: is listed, and not there") from None

    with bar(names, desc=f"pack {root}", unit=" sources") as shown:
        for name, content in zip(shown, in_threads(read, names), strict=True):
            shards.add(name, content)
    shards.finish()
    listed = {file for line in lines for file in (line.mixture, *line.sources)}
    names = [str(p.relative_to(root)) for p in sorted(root.rglob("*")) if p.is_file()]
    others = {name: read(name) for name in names if name not in listed and name != MADE}

    def mixture(name: str) -> Wav | None:
        return Wav.of(str(root / name), read(name)) if (root / name).exists() else None

    return Contents(lists, others, mixture)


def _of_tar(archive: Path, shards: Shards, spill: Shards) -> Contents:
    """Pack a tar's sources in its order, and keep its mixtures until the sources are all there.

    The lists may come last: until then, a wav in a folder `…_sources` is taken for a source.
    """
    others: dict[str, bytes] = {}
    with files_of(archive, "pack") as files:
        for tar, member, name in files:
            if name in shards.done or name in spill.done:
                continue
            stream = tar.extractfile(member)
            assert stream is not None, "a plain file"
            content = stream.read()
            if not name.endswith(".wav"):
                others[name] = content
            elif PurePosixPath(name).parent.name.endswith("_sources"):
                shards.add(name, content)
            else:
                spill.add(name, content)
    shards.finish()
    spill.finish()
    found = sorted(name for name in others if name.endswith(LIST_SUFFIX))
    if not found:
        raise UserError(f"{archive}: holds no *{LIST_SUFFIX}; it is not in the FUSS layout")
    shards.root = spill.root = root = f"{PurePosixPath(found[0]).parent}/".removeprefix("./")
    lists = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in found:
            path = Path(scratch, PurePosixPath(name).name)
            path.write_bytes(others[name])
            lists[path.name] = fuss.read_lines(path, SLOTS)
    kept, headers = spill.rows(), dict(spill.files())

    def mixture(name: str) -> Wav | None:
        if name not in kept:
            return None
        assert spill.wanted is not None
        return Wav(spill.wanted, headers[name], memoryview(kept[name].tobytes()))

    others = {name.removeprefix(root): content for name, content in others.items()}
    listed = {line.mixture for lines in lists.values() for line in lines}
    for name in kept.keys() - listed:  # no mixture, after all
        others[name] = headers[name].before + kept[name].tobytes() + headers[name].after
    return Contents(lists, others, mixture)


def _pack_mixtures(
    source: Path, shards: Shards, contents: Contents
) -> Iterator[tuple[str, Header]]:
    """Write what mixtures are beyond the sum of their sources; gives their names and headers."""
    rows = shards.rows()
    lines = [line for listed in contents.lists.values() for line in listed]
    for line in lines:
        for file in line.sources:
            if file not in rows:
                raise UserError(f"{source}: {file} is listed, and not there as a source")

    def residual(line: Line) -> tuple[Line, Header, bytes, int] | None:
        wav = contents.mixture(line.mixture)
        if wav is None:
            return None
        if wav.format != shards.wanted:
            raise UserError(f"{line.mixture}: {wav.format}; all must have {shards.wanted}")
        found = np.frombuffer(wav.samples, SAMPLE) - _sum(rows, line)
        worst = int(np.abs(found.astype(np.int32)).max())
        return line, wav.header, zlib.compress(found.tobytes(), 1), worst

    told = 0
    with (shards.folder / RESIDUALS).open("wb") as residuals:
        done = in_threads(residual, lines)
        for item in bar(done, desc="pack mixtures", unit=" mixtures", total=len(lines)):
            if item is None:
                continue
            line, header, packed, worst = item
            residuals.write(struct.pack("<I", len(packed)) + packed)
            if worst > (len(line.sources) + 1) / 2:  # each was rounded to a whole number
                told += 1
                if told <= TOLD:
                    print(
                        f"{source}: {line.mixture} differs from the sum of its sources by {worst} "
                        "of 32768; scores take the sum",
                        file=sys.stderr,
                    )
            yield line.mixture, header
    if told > TOLD:
        print(f"{source}: {told} mixtures differ from the sum of their sources", file=sys.stderr)


def _sum(rows: Mapping[str, NDArray[np.int16]], line: Line) -> NDArray[np.int16]:
    """The sum of a mixture's sources, mod 2^16, so that the mixture can always be had back."""
    total = rows[line.sources[0]].copy()
    for file in line.sources[1:]:
        total += rows[file]
    return total


def _write_others(part: Path, others: Mapping[str, bytes]) -> None:
    """Write files at the top as they are, and those in folders into one archive, of equal bytes."""
    with (
        (part / INDEX).with_name(LABELS).open("wb") as file,
        GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as compressed,
        tarfile.open(fileobj=compressed, mode="w") as tar,
    ):
        for name, content in sorted(others.items()):
            if "/" not in name:
                (part / name).write_bytes(content)
                continue
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def unpack(root: Path, output: Path) -> None:
    """Make of a packed folder the wavs that it was packed from, bit for bit.

    What is there already when a call was killed stays. Raises UserError for shards whose SHA-256
    is another.
    """
    index = Index.read(root)
    sources, mixtures = index.table(SOURCES), index.table(MIXTURES)
    with resumable_folder(output, digest([str(root.resolve()), file_digest(root / INDEX)])) as part:
        for shard in index.shards:
            if (sha256 := file_digest(index.folder / shard.name)) != shard.sha256:
                raise UserError(
                    f"{index.folder / shard.name}: has the SHA-256 {sha256}, not {shard.sha256}; "
                    "fetch or pack it again"
                )
        found = (row for shard in index.maps() for row in np.asarray(shard))
        rows = dict(zip(sources["file"], found, strict=True))

        def write(name: str, header: int, samples: NDArray[np.int16]) -> None:
            before, after = index.headers[header]
            _write_once(part, name, before + samples.tobytes() + after)

        def write_source(row: tuple[str, int]) -> None:
            write(*row, rows[row[0]])

        def write_mixture(item: tuple[Line, int, bytes]) -> None:
            line, header, residual = item
            write(line.mixture, header, _sum(rows, line) + np.frombuffer(residual, SAMPLE))

        def residuals() -> Iterator[tuple[Line, int, bytes]]:
            paths = sorted(root.glob(f"*{LIST_SUFFIX}"))
            lines = {line.mixture: line for p in paths for line in fuss.read_lines(p, SLOTS)}
            with (index.folder / RESIDUALS).open("rb") as file:
                for name, header in mixtures.itertuples(index=False):
                    (size,) = struct.unpack("<I", file.read(4))
                    yield lines[name], header, zlib.decompress(file.read(size))

        total = len(sources) + len(mixtures)
        with bar(desc=f"unpack {root}", unit=" wavs", total=total) as shown:
            for _ in in_threads(write_source, sources.itertuples(index=False, name=None)):
                shown.update()
            for _ in in_threads(write_mixture, residuals()):
                shown.update()
        for path in root.iterdir():
            if path.is_file() and path.name != MADE:
                shutil.copyfile(path, part / path.name)
        with files_of(index.folder / LABELS, "unpack") as files:
            for tar, member, name in files:
                stream = tar.extractfile(member)
                assert stream is not None, "a plain file"
                _write_once(part, name, stream.read())


def _write_once(folder: Path, name: str, content: bytes) -> None:
    """Write a file, unless it is there already, whole."""
    path = folder / name
    if not fuss.is_inside(name):
        raise UserError(f"{folder}: {name} would lie outside of it; not written")
    if path.is_file() and path.stat().st_size == len(content):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
