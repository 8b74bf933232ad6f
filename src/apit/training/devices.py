"""A GPU for each process that computes on one: a lease, freed by the kernel when it dies."""

import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import contextmanager, suppress
from itertools import product, takewhile
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from apit.errors import UserError
from apit.files import locked

VISIBLE = "CUDA_VISIBLE_DEVICES"
SHARED_BY = "APIT_RUNS_PER_GPU"  # so many processes may lease one device at a time; 1, unset
POLL_SECONDS = 1.0


def visible(environment: MutableMapping[str, str]) -> list[str]:
    """Names of the GPUs that CUDA_VISIBLE_DEVICES leaves to us, or indices of all that there are.

    Parts of a GPU (MIG) have to be named there.
    """
    if torch.version.cuda is None and torch.version.hip is None:
        return []
    if VISIBLE not in environment:
        return [str(index) for index in range(torch.cuda.device_count())]
    names = map(str.strip, environment[VISIBLE].split(","))
    return list(takewhile(lambda name: name not in ("", "-1", "NoDevFiles"), names))  # as CUDA does


@contextmanager
def leased(
    environment: MutableMapping[str, str] = os.environ, folder: Path | None = None
) -> Iterator[str | None]:
    """Have one of the visible GPUs alone: CUDA_VISIBLE_DEVICES names it within the block.

    Or with others, as many as APIT_RUNS_PER_GPU allows: small networks leave most of a GPU idle.
    Waits, with a message, while all are taken. Does nothing without a GPU, under torchrun (which
    numbers its processes), and within a Slurm job that was given one device. To be entered before
    CUDA is used. `folder` holds a lock for each device, for one user.
    """
    devices = [] if "LOCAL_RANK" in environment else visible(environment)
    shares = environment.get(SHARED_BY, "1")
    if not shares.isdecimal() or int(shares) < 1:
        raise UserError(f"{SHARED_BY}: {shares!r} is no number of runs, from 1 on")
    job = environment.get("SLURM_JOB_ID")
    if not devices or (job and len(devices) == 1):
        yield None
        return
    # Within Slurm, numbers mean the devices of this job.
    name = f"apit-devices-{os.getuid()}{f'-job-{job}' if job else ''}"
    folder = folder or Path(tempfile.gettempdir()) / name
    try:
        folder.mkdir(exist_ok=True)
        device, lock = _wait_for_one(devices, int(shares), folder)
    except OSError as error:
        raise UserError(
            f"{folder}: the locks that give each run a GPU of its own cannot be made: "
            f"{error.strerror}; set TMPDIR to a folder that can be written"
        ) from None
    before = environment.get(VISIBLE)
    environment[VISIBLE] = device
    try:
        yield device
    finally:
        lock.release()
        del environment[VISIBLE]
        if before is not None:
            environment[VISIBLE] = before


def make_device(threads: int) -> torch.device:
    """The device of this process, and how torch computes on it."""
    torch.set_num_threads(threads)
    if not torch.cuda.is_available():
        return torch.device("cpu")
    # On a CPU everything used here is deterministic, for one number of threads.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.set_float32_matmul_precision("high")  # TF32 for networks; inner products leave it out
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    return device


def _wait_for_one(devices: Sequence[str], shares: int, folder: Path) -> tuple[str, FileLock]:
    told = False
    while True:
        for share, device in product(range(shares), devices):  # first those that nobody has
            name = re.sub(r"[^A-Za-z0-9-]", "_", device) + (f".{share}" if share else "")
            with suppress(Timeout):
                return device, locked(folder / f"{name}.lock")
        if not told:
            said = f"waiting for a GPU: {', '.join(devices)} are all taken"
            print(said, file=sys.stderr, flush=True)
            told = True
        time.sleep(POLL_SECONDS)
