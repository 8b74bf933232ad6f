"""Checkpoints: all moving parts of a run, written whole, read without executing code."""

import io
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from apit.errors import UserError
from apit.files import PARTIAL, alone, whole_file
from apit.identity import differences

KEPT = 2
LOGS = ("history.csv", "events.out.tfevents.*")  # what `apit.training.log` leaves beside them
DIGEST = 32  # bytes of the SHA-256 at the end of a file


class Checkpoints:
    """The checkpoints of one run, in a folder of their own; the last two are kept.

    `identity` says, as nested keys, what a run must agree in to go on from a checkpoint.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]):
        self.folder, self.identity = folder, dict(identity)

    @contextmanager
    def locked(self) -> Iterator["Checkpoints"]:
        """Keep other processes from the folder; it goes again if it ends up without checkpoint.

        Raises UserError where another process has it. The lock goes with the process, even if that
        is killed.
        """
        with alone(self.folder, "trains this run just now"):
            self.folder.mkdir(exist_ok=True)
            try:
                for partial in self.folder.glob(f"{PARTIAL}*"):  # of a process that was killed
                    partial.unlink(missing_ok=True)
                yield self
            finally:
                if not self._files():
                    for log in (path for name in LOGS for path in self.folder.glob(name)):
                        log.unlink()
                    with suppress(OSError):  # whatever else lies there stays
                        self.folder.rmdir()

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("step-*.pt"))

    def save(self, step: int, state: Mapping[str, Any], *, finished: bool = False) -> None:
        """Write a checkpoint, and remove all others but the one before it.

        Raises UserError where the disk is full, and leaves those that there are.
        """
        buffer = io.BytesIO()
        content = {"identity": self.identity, "finished": finished, "state": dict(state)}
        torch.save(content, buffer)
        path = self.folder / f"step-{step:09d}.pt"
        try:
            with whole_file(path) as partial:
                partial.write_bytes(buffer.getvalue() + sha256(buffer.getbuffer()).digest())
        except OSError as error:
            raise UserError(
                f"{path}: the checkpoint cannot be written: {error.strerror}; those before it are "
                f"whole. Make room ({len(buffer.getbuffer()) / 1e6:.1f} MB), and start the same "
                "command again"
            ) from None
        before = [other for other in self._files() if other < path]
        kept = {path} if finished else {path, *before[1 - KEPT :]}
        for other in set(self._files()) - kept:
            other.unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove all checkpoints."""
        for path in self._files():
            path.unlink()

    def load(self, ignore: Sequence[str] = ()) -> Mapping[str, Any] | None:
        """The state of the newest checkpoint that can be read; None if the run is to start anew.

        Raises UserError, naming the keys, where it belongs to another configuration, or to other
        data or code and is not finished. One that is finished, of other data or code, is of no use
        any more and removed. Differences in the keys of `ignore` are none.
        """
        for path in reversed(self._files()):
            try:
                read = read_checkpoint(path)
                identity, finished, state = (read[k] for k in ("identity", "finished", "state"))
            except Exception as error:  # whatever damage makes of it
                reason = (str(error) or type(error).__name__).partition("\n")[0]
                print(f"{path}: cannot be read ({reason}); trying the one before", file=sys.stderr)
                path.rename(path.with_suffix(".unreadable"))
                continue
            every = differences(identity, self.identity)
            differing = {key: text for key, text in every if key not in ignore}
            if not differing:
                return dict(state)
            if finished and not any(key.startswith("configuration.") for key in differing):
                self.clear()
                return None
            raise UserError(
                f"{path}: is a checkpoint of another run: {'; '.join(differing.values())}. Undo "
                f"that, remove {self.folder} (or say --restart) to start over, or give another "
                "folder with --work"
            )
        return None


def read_checkpoint(path: Path) -> Mapping[str, Any]:
    """What a checkpoint holds: `identity`, whether it is `finished`, and `state`.

    Raises ValueError where it is damaged.
    """
    data = path.read_bytes()
    content, digest = data[:-DIGEST], data[-DIGEST:]
    if sha256(content).digest() != digest:
        raise ValueError("its checksum is wrong")
    read: Mapping[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return read
