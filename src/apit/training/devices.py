"""One GPU for each process that computes on one: a lease, freed by the kernel when it dies."""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

VISIBLE = "CUDA_VISIBLE_DEVICES"
# Whoever sets these has given the process its device already: Slurm, and torchrun.
ASSIGNED_BY = ("SLURM_JOB_ID", "LOCAL_RANK")
POLL_SECONDS = 1.0


@dataclass(frozen=True)
class Device:
    """A GPU or a part of one (MIG): how CUDA_VISIBLE_DEVICES names it, and its own UUID."""

    name: str
    uuid: str


def installed() -> list[Device]:
    """GPUs, or in place of those that are divided their parts, as `nvidia-smi` lists them.

    Names are indices, for a part its UUID. Without a driver there are none.
    """
    try:
        listed = subprocess.run(
            ("nvidia-smi", "-L"), capture_output=True, text=True, check=True, timeout=60
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    found: list[Device] = []
    whole: Device | None = None
    for line in listed.splitlines():
        if match := re.match(r"GPU (\d+):.*\(UUID: (GPU-[^)]+)\)", line):
            whole = Device(match[1], match[2])
            found.append(whole)
        elif match := re.match(r"\s+MIG .*\(UUID: *(MIG-[^)]+)\)", line):
            if whole in found:
                found.remove(whole)
            found.append(Device(match[1], match[1]))
    return found


def visible(environment: MutableMapping[str, str]) -> list[Device]:
    """The devices that CUDA_VISIBLE_DEVICES (indices, UUIDs or their beginnings) leaves to us."""
    known = installed()
    if VISIBLE not in environment:
        return known
    devices = []
    for name in map(str.strip, environment[VISIBLE].split(",")):
        if name in ("", "-1", "NoDevFiles"):
            break  # CUDA takes what stands before
        uuid = next((d.uuid for d in known if name == d.name or d.uuid.startswith(name)), name)
        devices.append(Device(name, uuid))
    return devices


@contextmanager
def leased(
    environment: MutableMapping[str, str] = os.environ, folder: Path | None = None
) -> Iterator[Device | None]:
    """Have one of the visible GPUs alone: CUDA_VISIBLE_DEVICES names it within the block.

    Waits, with a message, while all are taken. Does nothing without a GPU, within a Slurm job and
    under torchrun. To be entered before CUDA is used. `folder` holds a lock for each device.
    """
    devices = [] if any(name in environment for name in ASSIGNED_BY) else visible(environment)
    if not devices:
        yield None
        return
    folder = folder or Path(tempfile.gettempdir()) / f"apit-devices-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    before = environment.get(VISIBLE)
    device, lock = _wait_for_one(devices, folder)
    environment[VISIBLE] = device.name
    try:
        yield device
    finally:
        lock.release()
        del environment[VISIBLE]
        if before is not None:
            environment[VISIBLE] = before


def _wait_for_one(devices: list[Device], folder: Path) -> tuple[Device, FileLock]:
    told = False
    while True:
        for device in devices:
            lock = FileLock(folder / f"{re.sub(r'[^A-Za-z0-9-]', '_', device.uuid)}.lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            return device, lock
        if not told:
            names = ", ".join(device.name for device in devices)
            print(f"waiting for a GPU: {names} are all taken", file=sys.stderr, flush=True)
            told = True
        time.sleep(POLL_SECONDS)
