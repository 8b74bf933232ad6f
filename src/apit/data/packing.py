"""Packing: the FUSS layout, as a folder or in a tar → the packed form."""

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
from typing import IO, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from apit.data import fuss
from apit.data.archives import files_of
from apit.data.fuss import INDEX, LIST_SUFFIX, Format, Line
from apit.data.packed import LABELS, MIXTURES, RESIDUALS, SAMPLE, SOURCES, VERSION, Header
from apit.data.shards import MARK, Shards, Wav
from apit.errors import UserError
from apit.files import MADE, check_apart, is_made, listing, resumable_folder
from apit.lineage import code_of
from apit.parallel import in_threads
from apit.progress import bar
from apit.provenance import digest, file_digest

SLOTS = 64  # more than any list has: how many sources are allowed is a reader's to say
BLOCK = 1 << 20  # bytes that are copied at once
TOLD = 5  # mixtures that are not the sum of their sources


class Piece(NamedTuple):
    """Where the bytes of a small file are: a part of a larger one, or all of one."""

    path: Path
    start: int
    size: int


@dataclass
class Contents:
    """What is packed beside the sources: lists by file name, other files, and the mixtures."""

    lists: dict[str, list[Line]]
    others: dict[str, Piece]
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
    that is damaged or has links, devices or names outside of it.
    """
    if not source.exists():
        raise UserError(f"{source}: no such folder or archive")
    if (source / INDEX).exists():
        raise UserError(f"{source}: is packed already")
    check_apart(output, source)
    stat = source.stat()
    state = listing(source) if source.is_dir() else [stat.st_size, stat.st_mtime_ns]
    identity = digest([str(source.resolve()), state, wanted, lists, origin, code_of("pack")])
    if is_made(output, identity):
        return
    with resumable_folder(output, identity) as part:
        shards = Shards((part / INDEX).parent, wanted)
        spilled = part / "spilled"
        if source.is_dir():
            contents = _of_folder(source, shards)
        else:
            contents = _of_tar(source, shards, Shards(spilled, wanted))
        if absent := sorted(set(lists) - set(contents.lists)):
            raise UserError(f"{source}: holds no {absent[0]}")
        _check_lists(source, contents.lists)
        headers: dict[Header, int] = {}

        def write_table(name: str, files: Iterable[tuple[str, Header]]) -> None:
            rows = [(file, headers.setdefault(header, len(headers))) for file, header in files]
            table = pd.DataFrame(rows, columns=["file", "header"])
            table.to_csv(shards.folder / name, index=False)

        write_table(SOURCES, shards.files())
        write_table(MIXTURES, _pack_mixtures(source, shards, contents))
        _write_others(part, contents.others)
        if origin and not (part / fuss.SOUNDS).exists():
            (part / fuss.SOUNDS).write_text(origin)
        assert shards.wanted is not None, "every line has a source"
        index_path = part / INDEX
        sha256 = {f"{shards.folder.name}/{s['name']}": s["sha256"] for s in shards.shards}
        for path in (*part.iterdir(), *shards.folder.iterdir()):
            name = str(path.relative_to(part))
            if path.is_file() and path.suffix != MARK and path.name not in (MADE, index_path.name):
                sha256.setdefault(name, file_digest(path))
        index = {
            "version": VERSION,
            "sample_rate": shards.wanted.rate,
            "samples": shards.wanted.samples,
            "shards": [(s["name"], len(s["files"])) for s in shards.shards],
            "headers": [[b64encode(part).decode() for part in header] for header in headers],
            "sha256": dict(sorted(sha256.items())),
        }
        index_path.write_text(json.dumps(index, indent=1) + "\n")
        shutil.rmtree(spilled, ignore_errors=True)
        for mark in shards.folder.glob(f"*{MARK}"):
            mark.unlink()


def _check_lists(source: Path, lists: Mapping[str, Sequence[Line]]) -> None:
    """Raise UserError for a file that two lists name."""
    named: dict[str, str] = {}
    for listed, lines in lists.items():
        for line in lines:
            for file in (line.mixture, *line.sources):
                if (other := named.setdefault(file, listed)) != listed:
                    raise UserError(f"{source}: {file} is named by both {other} and {listed}")


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
    files = {str(p.relative_to(root)): p for p in root.rglob("*") if p.is_file()}
    others = {
        name: Piece(path, 0, path.stat().st_size)
        for name, path in files.items()
        if name not in listed and path.name != MADE
    }

    def mixture(name: str) -> Wav | None:
        return Wav.of(str(root / name), read(name)) if (root / name).exists() else None

    return Contents(lists, others, mixture)


def _of_tar(archive: Path, shards: Shards, spill: Shards) -> Contents:
    """Pack a tar's sources in its order, and keep its mixtures until the sources are all there.

    What is which the lists say. Until one has come, as they may come last, a wav in a folder
    `…_sources` is taken for a source, and any other for a mixture.
    """
    lists: dict[str, list[Line]] = {}
    others: dict[str, Piece] = {}
    root: str | None = None
    is_source: dict[str, bool] = {}
    spool = spill.folder / "others"
    with spool.open("w+b") as kept, files_of(archive, "pack") as files:

        def keep(name: str, content: bytes) -> None:
            others[name] = Piece(spool, kept.tell(), len(content))
            kept.write(content)

        for tar, member, name in files:
            if name in shards.done or name in spill.done:
                continue
            stream = tar.extractfile(member)
            assert stream is not None, "a plain file"
            path = PurePosixPath(name)
            if name.endswith(".wav"):
                guess = path.parent.name.endswith("_sources")
                (shards if is_source.get(name, guess) else spill).add(name, stream.read())
            elif name.endswith(LIST_SUFFIX):
                keep(name, content := stream.read())
                if root not in (None, top := _folder_of(path)):
                    raise UserError(
                        f"{archive}: holds lists in {root or './'} and in {top or './'}"
                    )
                root = top
                lists[path.name] = _lines_of(content, path.name)
                for line in lists[path.name]:
                    is_source |= {root + line.mixture: False}
                    is_source |= {root + file: True for file in line.sources}
            else:
                others[name] = Piece(spool, kept.tell(), member.size)
                shutil.copyfileobj(stream, kept)
        shards.finish()
        spill.finish()
        if root is None:
            raise UserError(f"{archive}: holds no *{LIST_SUFFIX}; it is not in the FUSS layout")
        if misplaced := sorted(name for name in spill.done if is_source.get(name)):
            raise UserError(
                f"{archive}: {misplaced[0]} proved to be a source only when its list came; unpack "
                "the archive, and pack the folder"
            )
        shards.root = spill.root = root
        rows, headers = spill.rows(), dict(spill.files())
        for name in sorted(rows.keys() - {n.removeprefix(root) for n in is_source}):
            keep(root + name, headers[name].before + rows[name].tobytes() + headers[name].after)

    def mixture(name: str) -> Wav | None:
        if name not in rows:
            return None
        assert spill.wanted is not None
        return Wav(spill.wanted, headers[name], memoryview(rows[name].tobytes()))

    return Contents(
        dict(sorted(lists.items())),
        {name.removeprefix(root): piece for name, piece in others.items()},
        mixture,
    )


def _folder_of(path: PurePosixPath) -> str:
    """`ssdata/list.txt` → `ssdata/`; without a folder, nothing."""
    return str(path).removesuffix(path.name)


def _lines_of(content: bytes, name: str) -> list[Line]:
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, name)
        path.write_bytes(content)
        return fuss.read_lines(path, SLOTS)


def _pack_mixtures(
    source: Path, shards: Shards, contents: Contents
) -> Iterator[tuple[str, Header]]:
    """Write what mixtures are beyond the sum of their sources; gives their names and headers."""
    rows = shards.rows()
    lines = [line for listed in contents.lists.values() for line in listed]
    for line in lines:
        for file in line.sources:
            if file not in rows:
                raise UserError(f"{source}: {file} is listed, and not there")

    def residual(line: Line) -> tuple[Line, Header, bytes, int] | None:
        wav = contents.mixture(line.mixture)
        if wav is None:
            return None
        if wav.format != shards.wanted:
            raise UserError(f"{line.mixture}: {wav.format}; all must have {shards.wanted}")
        found = np.frombuffer(wav.samples, SAMPLE) - sum_of(rows, line)
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


def sum_of(rows: Mapping[str, NDArray[np.int16]], line: Line) -> NDArray[np.int16]:
    """The sum of a mixture's sources, mod 2^16, so that the mixture can always be had back."""
    total = rows[line.sources[0]].copy()
    for file in line.sources[1:]:
        total += rows[file]
    return total


def _write_others(part: Path, others: Mapping[str, Piece]) -> None:
    """Write files at the top as they are, and those in folders into one archive, of equal bytes."""

    def opened(piece: Piece) -> IO[bytes]:
        file = piece.path.open("rb")
        file.seek(piece.start)
        return file

    with (
        (part / INDEX).with_name(LABELS).open("wb") as target,
        GzipFile(filename="", mode="wb", fileobj=target, mtime=0) as compressed,
        tarfile.open(fileobj=compressed, mode="w") as tar,
    ):
        for name, piece in sorted(others.items()):
            member = tarfile.TarInfo(name)
            member.size = piece.size
            if "/" in name:
                with opened(piece) as file:
                    tar.addfile(member, file)
            else:
                with opened(piece) as file, (part / name).open("wb") as copy:
                    for start in range(0, piece.size, BLOCK):
                        copy.write(file.read(min(BLOCK, piece.size - start)))
