"""Files and folders that appear under their final name only when they are whole."""

import errno
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from filelock import FileLock, Timeout

from apit.errors import UserError
from apit.identity import FILE, Identity
from apit.names import short

PARTIAL = ".partial-"
MOUNTS = Path("/proc/self/mountinfo")  # of Linux, which alone tells of what is bound elsewhere
NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP}


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it to `path` if the block succeeds.

    The temporary name keeps the suffixes, by which writers choose a format. A link stays, and leads
    to what is made. A device, a pipe and a file that is a mount point are written themselves.
    """
    if (path.exists() and not path.is_file()) or _is_mount(path):
        yield path
        return
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{PARTIAL}{os.getpid()}-{short(path.name, 24)}")
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def check_replaceable(path: Path) -> None:
    """Raise UserError where a folder holds what was not made here, or cannot be put in place."""
    if _is_mount(path):
        raise UserError(
            f"{path}: is a mount point, which cannot be replaced; give a folder within it"
        )
    above = next(parent for parent in path.absolute().parents if parent.exists())
    if not os.access(above, os.W_OK):
        raise UserError(f"{path}: nothing can be written to {above}; give another folder")
    if path.exists() and not (
        (path / FILE).exists() or (path.is_dir() and not any(path.iterdir()))
    ):
        raise UserError(
            f"{path}: exists and was not made by apit; give another folder, or remove it"
        )


def _is_mount(path: Path) -> bool:
    """Whether something is mounted at a path: a disk, or a folder or file of the same disk."""
    path = path.resolve()
    if not MOUNTS.exists():
        return path.is_mount()
    points = (line.split(b" ")[4] for line in MOUNTS.read_bytes().splitlines())
    return os.fsencode(path) in {re.sub(rb"\\(\d{3})", _unescaped, point) for point in points}


def _unescaped(octal: "re.Match[bytes]") -> bytes:
    return bytes([int(octal[1], 8)])


def check_apart(output: Path, *sources: Path | None) -> None:
    """Raise UserError where an output and what it is made of lie within one another."""
    made = output.resolve()
    for source in sources:
        if source is None:
            continue
        used = source.resolve()
        if made == used or used in made.parents or made in used.parents:
            raise UserError(f"{output}: lies within {source}, or holds it; give another folder")


@contextmanager
def whole_folder(path: Path, identity: Identity) -> Iterator[Path]:
    """Give a temporary folder beside `path`; it replaces `path` if the block succeeds.

    It has its identity. What a process that was killed left of it goes when it is made again.
    Raises UserError at once where `path` holds anything else, or another process is making it.
    """
    path = path.resolve()  # a link stays, and leads to what is made
    check_replaceable(path)
    partial = path.with_name(f"{PARTIAL}{short(path.name, 24)}")
    with alone(path):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        identity.write(partial)
        try:
            yield partial
            if path.exists():
                shutil.rmtree(path)
            os.replace(partial, path)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def alone(path: Path, doing: str = "is making it") -> Iterator[None]:
    """Keep other processes from `doing` the same to `path`: one that finds a lock raises UserError.

    The lock lies beside `path`, for other machines to see, and goes with the process.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        lock = locked(path.with_name(f".{short(path.name, 24)}.lock"))
    except Timeout:
        raise UserError(f"{path}: another process {doing}; wait for it, or stop it") from None
    try:
        yield
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def locked(path: Path) -> FileLock:
    """Lock a file at once, until the process ends or the lock is released.

    Where the file system has no locks, as some of clusters, a line says so, and there is none.
    Raises Timeout where another process has it.
    """
    lock = FileLock(path, fallback_to_soft=False)  # a soft one would outlive who is killed
    try:
        lock.acquire(timeout=0)
    except OSError as error:
        if error.errno not in NO_LOCKS:  # Timeout's is none of them
            raise
        _warn_of_no_locks(path.parent, error.strerror)
    return lock


@cache
def _warn_of_no_locks(folder: Path, why: str) -> None:
    """Say so, once in a process."""
    said = f"{folder}: has no locks ({why}); see that nothing else works there"
    print(said, file=sys.stderr, flush=True)
