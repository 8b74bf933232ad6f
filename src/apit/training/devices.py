"""A GPU for each process that computes on one: a lease, freed by the kernel when it dies."""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from apit.errors import UserError

if TYPE_CHECKING:
    import torch

VISIBLE = "CUDA_VISIBLE_DEVICES"
SHARED_BY = "APIT_RUNS_PER_GPU"  # so many processes may lease one device at a time; 1, unset
POLL_SECONDS = 1.0


@dataclass(frozen=True)
class Device:
    """A GPU or a part of one (MIG): how CUDA_VISIBLE_DEVICES names it, and its own UUID."""

    name: str
    uuid: str


def torch_computes_on_gpus() -> bool:
    """Whether this build of torch knows any GPU."""
    import torch

    return torch.version.cuda is not None or torch.version.hip is not None


def installed() -> list[Device]:
    """GPUs, or in place of those that are divided their parts, as `nvidia-smi` lists them.

    Names are indices, for a part its UUID. Where there is no such program, what torch counts.
    """
    if not torch_computes_on_gpus():
        return []
    try:
        listed = subprocess.run(
            ("nvidia-smi", "-L"), capture_output=True, text=True, check=True, timeout=60
        ).stdout
    except (OSError, subprocess.SubprocessError):
        import torch

        return [Device(str(index), str(index)) for index in range(torch.cuda.device_count())]
    devices: list[Device] = []
    for gpu in re.split(r"^(?=GPU )", listed, flags=re.MULTILINE):
        if parts := re.findall(r"\(UUID: *(MIG-[^)]+)\)", gpu):
            devices += [Device(part, part) for part in parts]
        elif whole := re.match(r"GPU (\d+):.*\(UUID: (GPU-[^)]+)\)", gpu):
            devices.append(Device(whole[1], whole[2]))
    return devices


def visible(environment: MutableMapping[str, str]) -> list[Device]:
    """The devices that CUDA_VISIBLE_DEVICES (indices, UUIDs or their beginnings) leaves to us."""
    known = installed()
    if VISIBLE not in environment:
        return known
    devices = []
    for name in map(str.strip, environment[VISIBLE].split(",")):
        if name in ("", "-1", "NoDevFiles"):
            break  # CUDA takes what stands before
        uuid = next((d.uuid for d in known if name == d.name or d.uuid.startswith(name)), None)
        if uuid is None and name.isdecimal():
            break  # there is no such device: CUDA stops here, too
        devices.append(Device(name, uuid or name))
    return devices


@contextmanager
def leased(
    environment: MutableMapping[str, str] = os.environ, folder: Path | None = None
) -> Iterator[Device | None]:
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
        before = environment.get(VISIBLE)
        device, lock = _wait_for_one(devices, int(shares), folder)
    except OSError as error:
        raise UserError(
            f"{folder}: the locks that give each run a GPU of its own cannot be made: "
            f"{error.strerror}; set TMPDIR to a folder that can be written"
        ) from None
    # nvidia-smi and CUDA may number devices otherwise; only the user's own names are kept.
    environment[VISIBLE] = device.uuid if before is None else device.name
    try:
        yield device
    finally:
        lock.release()
        del environment[VISIBLE]
        if before is not None:
            environment[VISIBLE] = before


def make_device(threads: int) -> "torch.device":
    """The device of this process, and how torch computes on it."""
    import torch

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


def _wait_for_one(devices: list[Device], shares: int, folder: Path) -> tuple[Device, FileLock]:
    told = False
    while True:
        for share, device in product(range(shares), devices):  # first those that nobody has
            name = re.sub(r"[^A-Za-z0-9-]", "_", device.uuid) + (f".{share}" if share else "")
            lock = FileLock(folder / f"{name}.lock")
            with suppress(Timeout):
                lock.acquire(timeout=0)
                return device, lock
        if not told:
            names = ", ".join(device.name for device in devices)
            print(f"waiting for a GPU: {names} are all taken", file=sys.stderr, flush=True)
            told = True
        time.sleep(POLL_SECONDS)
