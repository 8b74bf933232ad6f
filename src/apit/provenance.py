"""Where a number came from: named seeds, and the circumstances of a run."""

import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from apit.names import BYTES
from apit.parallel import cores

if TYPE_CHECKING:
    import torch

OF_A_REPOSITORY = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX")
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


def git(*arguments: str, at: Path = Path()) -> str:
    """What git prints, asked in a folder; no other repository answers for it.

    Raises CalledProcessError, whose `stderr` says why, and OSError where there is no git.
    """
    kept = {name: value for name, value in os.environ.items() if name not in OF_A_REPOSITORY}
    return subprocess.run(
        ("git", *arguments), cwd=at, env=kept | {"LC_ALL": "C"},
        capture_output=True, encoding="utf-8", errors="replace", check=True,
    ).stdout  # fmt: skip


def commit(code: Path = Path(__file__).parent) -> str:
    """Commit of the repository that has the code, with `-modified` where files differ from it.

    What the workflow itself writes does not count, nor `params.yaml`, which chooses a scale. Where
    git refuses to tell, a warning says why.
    """
    try:
        git("ls-files", "--error-unmatch", ".", at=code)  # it may only lie within another's
        written = (f":(top,exclude){name}" for name in ("results", "dvc.lock", "params.yaml"))
        asked = ("status", "--porcelain", "--untracked-files=no", "--", ":(top)", *written)
        changed = git(*asked, at=code)
        return git("rev-parse", "HEAD", at=code).strip() + ("-modified" if changed else "")
    except OSError:
        return "unknown (no git here)"
    except subprocess.CalledProcessError as refused:
        said = " ".join(refused.stderr.split())
        if "not a git repository" in said or "did not match any file" in said:
            return "unknown (no git repository here)"
        print(f"the commit is not known, and not recorded: git says: {said}", file=sys.stderr)
        return "unknown (git refused)"


def processor() -> str:
    """Name of the processor, as the operating system tells it."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
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
            "cores": cores(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
        "threads": torch.get_num_threads(),
    }
