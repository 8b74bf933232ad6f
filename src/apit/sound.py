"""Sound files of any format, read to their end or refused; and float wavs without a date."""

import mmap
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from apit.errors import UserError
from apit.lengths import Content, Mended, mended

COPIED = 1 << 20  # bytes at once


@contextmanager
def open_sound(source: Path | bytes, name: Path | str = "") -> Iterator[soundfile.SoundFile]:
    """Open a sound file, or the bytes of one, which has as many frames as it says.

    What a header does not say of its length is put into a copy. Raises UserError, with the name,
    for what is no sound, cut, or damaged.
    """
    with ExitStack() as stack:
        try:
            file = stack.enter_context(_file(source))
            content = source if isinstance(source, bytes) else stack.enter_context(_mapped(source))
            if better := mended(content, file.format, file.extra_info):
                file = stack.enter_context(_file(stack.enter_context(_copied(content, better))))
        except (soundfile.LibsndfileError, OSError, TypeError) as error:
            raise _unreadable(name, error) from None
        except UserError as error:
            raise UserError(f"{name}: {error}" if name else str(error)) from None
        try:
            yield file
        except soundfile.LibsndfileError as error:
            raise _unreadable(name, error) from None


def read_whole(file: soundfile.SoundFile, name: Path | str = "") -> NDArray[np.float64]:
    """All that an open file holds [time, channel]; raises UserError where it ends early."""
    samples: NDArray[np.float64]
    try:
        samples = file.read(file.frames, dtype="float64", always_2d=True)
    except (ValueError, MemoryError):
        raise _unreadable(name, f"{file.frames} samples, as it says, are too many") from None
    if len(samples) < file.frames and not is_estimated(file):
        raise _unreadable(name, f"it ends after {len(samples)} of {file.frames} samples")
    return samples


def is_sound(path: Path) -> bool:
    """Whether libsndfile can open a file."""
    try:
        _file(path).close()
    except (soundfile.LibsndfileError, TypeError):
        return False
    return True


def is_estimated(file: soundfile.SoundFile) -> bool:
    """Whether a file's end is known only when it is reached: no header says it."""
    return file.subtype in ("MPEG_LAYER_I", "MPEG_LAYER_II")


def _unreadable(name: Path | str, error: Exception | str) -> UserError:
    if isinstance(error, soundfile.LibsndfileError):
        error = error.error_string.rstrip(".") or "it is damaged"
    elif isinstance(error, TypeError):
        error = "raw samples do not say their rate"
    return UserError(f"{f'{name}: ' if name else ''}cannot be read as sound ({error})")


def _file(source: Path | bytes) -> soundfile.SoundFile:
    return soundfile.SoundFile(
        BytesIO(source) if isinstance(source, bytes) else os.fsencode(source)
    )


@contextmanager
def _mapped(path: Path) -> Iterator[mmap.mmap]:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        yield content


@contextmanager
def _copied(content: Content, better: Mended) -> Iterator[Path]:
    with tempfile.NamedTemporaryFile() as copy:
        copy.write(better.head)
        for place in range(better.rest, len(content), COPIED):
            copy.write(content[place : place + COPIED])
        copy.flush()
        yield Path(copy.name)


def undate(path: Path) -> None:
    """Clear the time of writing, which libsndfile puts into the PEAK chunk of a float wav."""
    with path.open("r+b") as file:
        head = file.read(256).partition(b"data")[0]
        if (place := head.find(b"PEAK")) >= 0:
            file.seek(place + 12)  # behind name, size and version
            file.write(bytes(4))
