"""Files and folders that appear under their final name only when they are whole."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from apit.errors import UserError

MADE = ".made-by-apit"  # in every folder that may be replaced


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it to `path` if the block succeeds.

    The temporary name keeps the suffixes, by which writers choose a format.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def check_replaceable(path: Path) -> None:
    """Raise UserError where a folder holds anything that was not made here."""
    if path.exists() and not (
        (path / MADE).exists() or (path.is_dir() and not any(path.iterdir()))
    ):
        raise UserError(
            f"{path}: exists and was not made by apit; give another folder, or remove it"
        )


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder beside `path`; it replaces `path` if the block succeeds.

    Raises UserError at once where `path` holds anything that was not made here.
    """
    check_replaceable(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir()
    (partial / MADE).touch()
    try:
        yield partial
        if path.exists():
            shutil.rmtree(path)
        os.replace(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def resumable_folder(path: Path, identity: str) -> Iterator[Path]:
    """Give the folder `PATH.part`; it replaces `path` if the block succeeds, and stays otherwise.

    What a part holds already, the next call goes on from; a part that was begun for another
    `identity` is thrown away. Raises UserError at once where `path` or its part holds anything
    that was not made here, or another process is making it.
    """
    check_replaceable(path)
    part = path.with_name(f"{path.name}.part")
    check_replaceable(part)
    with _alone(path):
        mark = part / MADE
        if part.exists() and (not mark.exists() or mark.read_text() != identity):
            shutil.rmtree(part)
        part.mkdir(parents=True, exist_ok=True)
        mark.write_text(identity)
        yield part
        if path.exists():
            shutil.rmtree(path)
        os.replace(part, path)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep other processes of this user and machine from making `path` at the same time."""
    name = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]
    lock = FileLock(Path(tempfile.gettempdir(), f"apit-{os.getuid()}-{name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"{path}: another process is making it; wait for it, or stop it") from None
    try:
        yield
    finally:
        lock.release()
