"""Archives of others: plain files alone are taken out of a tar, and stay where they are told to."""

import lzma
import tarfile
import zlib
from collections.abc import Callable, Iterator
from gzip import BadGzipFile
from pathlib import Path, PurePosixPath
from typing import IO

from apit.data.fuss import is_inside
from apit.errors import UserError
from apit.progress import bar

DAMAGE = (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, BadGzipFile)
BLOCK = 1 << 20


def files_of(archive: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the wanted files of a tar, compressed or not, in its order.

    Raises UserError for what is no whole tar, for links, devices and sparse files, and for names
    outside it.
    """
    try:
        with archive.open("rb") as file, tarfile.open(fileobj=file) as tar:
            yield from _members(archive, file, tar, wanted)
    except DAMAGE as error:
        said = str(error)
        if "\n" in said:  # what tarfile tells of each compression that it tried
            said = "it is no tar"
        raise UserError(f"{archive}: cannot be read: {said}") from None


def _members(
    archive: Path, file: IO[bytes], tar: tarfile.TarFile, wanted: Callable[[str], bool]
) -> Iterator[tuple[str, bytes]]:
    last = "its beginning"
    size = archive.stat().st_size
    with bar(total=size, unit="B", unit_scale=True, desc=f"pack {archive.name}") as shown:
        for member in tar:
            shown.update(file.tell() - shown.n)
            name = last = str(PurePosixPath(member.name))
            if not is_inside(name):
                raise UserError(f"{archive}: {member.name} would lie outside of it; not taken")
            if not (member.isfile() or member.isdir()) or member.issparse():
                raise UserError(
                    f"{archive}: {member.name} is a link, a device or sparse; not taken"
                )
            if wanted(name) and (content := tar.extractfile(member)) is not None:
                yield name, content.read()
    # tarfile takes a damaged header for the end, and does not look at what follows.
    stream = tar.fileobj
    assert stream is not None, "it is open"
    stream.seek(tar.offset)
    end = stream.read(tarfile.BLOCKSIZE)
    if len(end) < tarfile.BLOCKSIZE or end.strip(b"\0"):
        raise UserError(f"{archive}: is cut or damaged after {last}")
    while stream.read(BLOCK):  # to the end, where the checksum of a compressed file stands
        pass
