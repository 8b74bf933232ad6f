"""Archives of others: plain files alone are taken out of a tar, and stay where they are told to."""

import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from apit.data.fuss import is_inside
from apit.errors import UserError
from apit.progress import bar


@contextmanager
def files_of(
    archive: Path, doing: str
) -> Iterator[Iterator[tuple[tarfile.TarFile, tarfile.TarInfo, str]]]:
    """Every file of a tar, compressed or not: the open tar, the member, and its name.

    Raises UserError, while they are read, too, for what is no whole tar, for links and devices,
    and for names outside it.
    """
    try:
        with archive.open("rb") as file, tarfile.open(fileobj=file) as tar:
            yield _members(archive, file, tar, f"{doing} {archive.name}")
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise UserError(f"{archive}: cannot be unpacked: {error}") from None


def _members(
    archive: Path, file: IO[bytes], tar: tarfile.TarFile, label: str
) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo, str]]:
    with bar(total=archive.stat().st_size, unit="B", unit_scale=True, desc=label) as shown:
        for member in tar:
            shown.update(file.tell() - shown.n)
            name = str(PurePosixPath(member.name))
            if not is_inside(name):
                raise UserError(f"{archive}: {member.name} would lie outside of it; not taken")
            if not (member.isfile() or member.isdir()):
                raise UserError(f"{archive}: {member.name} is a link or a device; not taken")
            if member.isfile():
                yield tar, member, name
