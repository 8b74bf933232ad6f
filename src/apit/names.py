"""Names of files, which are bytes: as text that is written and read again, and on the disk.

Bytes that are no UTF-8 stand in a text as `surrogateescape` has them, and are written as they were.
"""

import hashlib
import os
import unicodedata
from pathlib import Path
from typing import Final
from urllib.parse import quote

BYTES: Final = "surrogateescape"  # how names are written to text and read from it
LONGEST = 255  # bytes of a name, on most disks


def composed(name: str) -> str:
    """A name as it is compared: é may be one character (NFC) or two (NFD, as macOS has it)."""
    return unicodedata.normalize("NFC", name)


def on_disk(root: Path, name: str) -> Path:
    """The path of a file that a text names, in whichever form the disk has it."""
    forms = (name, composed(name), unicodedata.normalize("NFD", name))
    return next((root / form for form in forms if (root / form).exists()), root / name)


def short(name: str, room: int = 0) -> str:
    """A name, or a hash for it where it and `room` bytes more are too long for a disk."""
    if len(os.fsencode(name)) + room <= LONGEST:
        return name
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:16] + Path(name).suffix[:16]


def address(path: str) -> str:
    """A relative path as pages name it."""
    return quote(os.fsencode(path))
