"""Where a number came from: named seeds, and the circumstances of a run."""

import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from apit.names import BYTES

if TYPE_CHECKING:
    import torch

LIBRARIES = ("apit", "torch", "numpy", "scipy", "pandas", "soundfile")


def seed_of(*names: str | int) -> int:
    """Seed for the generator that is called by these names, the same on every machine.

    Names keep streams apart: `seed_of(3, "data")` and `seed_of(3, "replacement")` share nothing,
    so that one ablation drawing more numbers never shifts the batches of another.
    """
    digest = hashlib.sha256("/".join(map(str, names)).encode(errors=BYTES)).digest()
    return int.from_bytes(digest[:8], "little") >> 1  # torch takes 63 bits


def array_generator(*names: str | int) -> np.random.Generator:
    """NumPy generator called by these names."""
    return np.random.default_rng(seed_of(*names))


def tensor_generator(*names: str | int) -> "torch.Generator":
    """Torch generator, on the CPU, called by these names."""
    import torch

    return torch.Generator().manual_seed(seed_of(*names))


def digest(value: Any) -> str:
    """Short hash of a JSON-like value, independent of the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def commit() -> str:
    """Commit of the working folder's repository, with `-modified` where files differ from it.

    What the workflow itself writes does not count, nor `params.yaml`, which chooses a scale.
    """

    def git(*arguments: str) -> str:
        result = subprocess.run(("git", *arguments), capture_output=True, text=True, check=True)
        return result.stdout.strip()

    try:
        written = (f":(top,exclude){name}" for name in ("results", "dvc.lock", "params.yaml"))
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ":(top)", *written)
        return git("rev-parse", "HEAD") + ("-modified" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown (no git repository here)"


def processor() -> str:
    """Name of the processor, as the operating system tells it."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def circumstances() -> dict[str, Any]:
    """Commit, date, versions and hardware of this process, for a run record."""
    import torch

    return {
        "commit": commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in LIBRARIES},
        "hardware": {
            "host": platform.node(),
            "system": platform.platform(),
            "processor": processor(),
            "cores": os.cpu_count(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
        "threads": torch.get_num_threads(),
    }
