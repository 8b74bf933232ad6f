"""Copies of the repository, and Snakemake in them."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from forks import forked
from snakemake import cli

REPOSITORY = Path(__file__).parent.parent
PARTS = (
    *("Snakefile", "params.yaml", "workflow", "configs", "profiles", "src", "pyproject.toml"),
    *("paper", "dvc.yaml", ".dvcignore", ".gitignore"),
)


def copy_of_the_repository(folder):
    folder.mkdir(exist_ok=True)
    for name in PARTS:
        source = REPOSITORY / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name)
    shutil.copy(REPOSITORY / "tests" / "tiny.yaml", folder / "configs")
    (folder / ".dvc").mkdir()
    shutil.copy(REPOSITORY / ".dvc" / "config", folder / ".dvc")
    (folder / "params.yaml").write_text("scale: tiny\n", encoding="utf-8")
    return folder


def snakemake(folder, *arguments, scale="tiny"):
    return snakemake_as(folder, "--cores", "2", *arguments, "--config", f"scale={scale}")


def snakemake_as(folder, *arguments):
    return call(folder, "snakemake", *arguments)


def call(folder, program, *arguments, **environment):
    """Exit code and what a program of this environment printed, in a copy of the repository."""
    tools = Path(sys.executable).parent
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    printed = subprocess.run(
        [tools / program if (tools / program).exists() else program, *arguments],
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": str(folder / "src"), "PATH": path, **environment},
    )
    return printed.returncode, printed.stdout + printed.stderr


def git(folder, *arguments):
    code, printed = call(
        folder, "git", "-c", "user.name=Somebody", "-c", "user.email=some@body", *arguments
    )
    assert code == 0, printed
    return printed


def commit(folder):
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", "…")


def planned(folder, *arguments):
    """Exit code of a dry run and what it printed: in a fork, which needs not import Snakemake."""

    def work():
        os.chdir(folder)
        for name in [name for name in sys.modules if name.partition(".")[0] == "apit"]:
            del sys.modules[name]  # the copy has its own
        sys.path.insert(0, str(folder / "src"))
        cli.main(["--dry-run", *arguments])

    with tempfile.NamedTemporaryFile() as said:
        return forked(work, said.name), Path(said.name).read_text(encoding="utf-8")


def jobs(folder, scale="tiny", *targets):
    """What a dry run would do: rule → number of jobs."""
    code, printed = planned(folder, "--cores", "2", *targets, "--config", f"scale={scale}")
    assert code == 0, printed
    counts = dict(re.findall(r"^(\w+) +(\d+)$", printed, re.MULTILINE))
    return {rule: int(n) for rule, n in counts.items() if rule not in ("total", "all", *targets)}
