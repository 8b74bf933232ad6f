"""What libsndfile does not tell of wavs, or writes into them that is not sound."""

from io import SEEK_CUR, SEEK_END
from pathlib import Path
from typing import BinaryIO

UNKNOWN = 2**32 - 1  # length of a wav that was written to a pipe


def missing_bytes(file: BinaryIO) -> int:
    """Bytes of sound that a wav lacks of those its header promises; 0 for any other file.

    libsndfile takes a wav that is cut for a shorter one.
    """
    head = file.read(12)
    if head[:4] != b"RIFF" or head[8:] != b"WAVE":
        return 0
    while len(head := file.read(8)) == 8:
        name, size = head[:4], int.from_bytes(head[4:], "little")
        if name == b"data":
            promised = file.tell() + size
            return 0 if size == UNKNOWN else max(0, promised - file.seek(0, SEEK_END))
        file.seek(size + size % 2, SEEK_CUR)
    return 0


def undate(path: Path) -> None:
    """Clear the time of writing, which libsndfile puts into the PEAK chunk of a float wav."""
    with path.open("r+b") as file:
        head = file.read(256).partition(b"data")[0]
        if (place := head.find(b"PEAK")) >= 0:
            file.seek(place + 12)  # behind name, size and version
            file.write(bytes(4))
