"""Unpacking: the packed form → the folder that it was packed from, bit for bit."""

import shutil
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from apit.data import fuss
from apit.data.archives import files_of
from apit.data.fuss import INDEX, LIST_SUFFIX, Line
from apit.data.packed import LABELS, MIXTURES, RESIDUALS, SAMPLE, SOURCES, Index
from apit.data.packing import SLOTS, sum_of
from apit.errors import UserError
from apit.files import check_apart, is_made, resumable_folder
from apit.parallel import in_threads
from apit.progress import bar
from apit.provenance import digest, file_digest


def unpack(root: Path, output: Path) -> None:
    """Make of a packed folder the wavs that it was packed from, bit for bit.

    What is there already when a call was killed stays. Raises UserError for files that
    are not what was packed.
    """
    check_apart(output, root)
    index = Index.read(root)
    identity = digest([str(root.resolve()), file_digest(root / INDEX)])
    if is_made(output, identity):
        return
    with resumable_folder(output, identity) as part:
        for name in bar(index.sha256, desc="verify", unit=" files"):
            index.verify(name)
        sources, mixtures = index.table(SOURCES), index.table(MIXTURES)
        found = (row for shard in index.maps() for row in np.asarray(shard))
        rows = dict(zip(sources["file"], found, strict=True))

        def write(name: str, header: int, samples: NDArray[np.int16]) -> None:
            before, after = index.headers[header]
            _write_once(part, name, before + samples.tobytes() + after)

        def write_source(row: tuple[str, int]) -> None:
            write(*row, rows[row[0]])

        def write_mixture(item: tuple[Line, int, bytes]) -> None:
            line, header, residual = item
            write(line.mixture, header, sum_of(rows, line) + np.frombuffer(residual, SAMPLE))

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
        for name in index.sha256:
            if "/" not in name:
                shutil.copyfile(root / name, part / name)
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
