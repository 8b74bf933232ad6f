"""Archives of others: plain files are read out of a tar; nothing of it is ever unpacked."""

import lzma
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from apit.errors import UserError
from apit.progress import bar

BLOCK = 1 << 20


def files_of(archive: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
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
