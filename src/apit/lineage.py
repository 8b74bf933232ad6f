"""Lineage: which of the package's code a result depends on, so that nothing else makes it anew."""

import ast
import csv
import importlib.util
import subprocess
from collections.abc import Callable, Collection, Iterable
from functools import cache
from pathlib import Path

from apit.config import Run
from apit.errors import UserError
from apit.provenance import digest, file_digest

ROOT = Path(__file__).parent.parent  # of what is imported as apit
ACCEPTED = Path("configs", "accepted.csv")
COLUMNS = ("version", "gives_what", "part", "since", "by", "date", "why")
# How something is done, not what comes out. Values of the configuration are hashed apart.
PLUMBING = {
    *("apit", "apit.__main__", "apit.cli", "apit.commands", "apit.config", "apit.errors"),
    *("apit.files", "apit.layers", "apit.lineage", "apit.parallel", "apit.progress"),
    *("apit.provenance", "apit.data.archives", "apit.data.download", "apit.data.fetch"),
    *("apit.data.report", "apit.training.bench", "apit.training.checkpoint"),
    *(
        "apit.training.devices",
        "apit.training.interruption",
        "apit.training.log",
        "apit.training.record",
    ),
    "apit.present.origin",
}
PLUMBED = ("apit.cli.", "apit.commands.", "apit.config.")  # and all in them
# What each rule of the workflow computes with, modules and files, and what of that lies behind
# another rule.
PARTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "bank": (("apit.data.bank",), ()),
    "mix": (("apit.data.mixtures",), ("apit.data.bank",)),
    "pack": (("apit.data.packing",), ()),
    "evaluate": (("apit.measure.score", "apit.measure.systems", "apit.models.separators"), ()),
    "tables": (
        ("apit.present.tables", "apit.present.studies", "apit.present.runs",
         "apit.measure.statistics", "apit.measure.verdicts"),
        ("apit.training.train",),
    ),
    "report": (("apit.present.report",), ()),
    "figures": (
        (
            *("apit.present.figures", "apit.present.studies", "apit.present.spectrograms"),
            "apit.measure.statistics",
            *("apit.measure.spread", "apit.measure.showcase"),
        ),
        ("apit.training.train",),
    ),
    "listen": (
        ("apit.present.listening", "apit/present/listening.html", "apit.measure.audition",
         "apit.measure.systems", "apit.models.separators"),
        (),
    ),
}  # fmt: skip
ADVERSARIES = (
    "apit.models.discriminators", "apit.models.views", "apit.losses.adversarial",
    "apit.losses.balance",
)  # fmt: skip

Read = Callable[[str], str | None]  # a module's name → its text; None: there is none


def code_of(part: str) -> str:
    """Version of the code that a rule of the workflow computes with."""
    entries, without = PARTS[part]
    return version(tuple(entries), tuple(without))


def code_of_training(run: Run) -> str:
    """Version of the code that a run is trained with; a loss of one's own counts as a file."""
    return digest([version(*parts_of_training(run)), _own_loss(run.reconstruction)])


def versions_of(runs: Iterable[Run]) -> dict[str, str]:
    """Versions of the code of all rules, and of the training of each run's experiment."""
    found = {part: code_of(part) for part in PARTS}
    return found | {f"train {run.experiment}": code_of_training(run) for run in runs}


def parts_of_training(run: Run) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What a run's training starts from, and the modules that it has no use for."""
    without = [] if run.discriminators else [*ADVERSARIES]
    without += [] if run.training.remix == "clips" else ["apit.data.bank", "apit.data.recipe"]
    without += [f"apit.models.{name}" for name in ("unet", "tdcnpp")
                if name != run.separator.architecture]  # fmt: skip
    return ("apit.training.train",), tuple(without)


def _own_loss(reconstruction: str) -> str | None:
    module, colon, _ = reconstruction.partition(":")
    found = importlib.util.find_spec(module) if colon else None
    return file_digest(Path(found.origin)) if found and found.origin else None


@cache
def version(entries: tuple[str, ...], without: tuple[str, ...] = ()) -> str:
    """Hash of the modules that `entries` need: their syntax, without docstrings.

    A version that was accepted as giving the results of another is that other.
    """
    return _as_accepted(fresh_version(entries, without, read_module))


def fresh_version(entries: Iterable[str], without: Collection[str], read: Read) -> str:
    """The same, whatever was accepted, of modules from anywhere."""
    found = modules(entries, without, read)
    return digest({n: text if _is_file(n) else syntax(text) for n, text in found.items()})


def modules(entries: Iterable[str], without: Collection[str], read: Read) -> dict[str, str]:
    """Names and texts of the modules that `entries` import, directly or not, but for plumbing.

    A file of another kind that stands among `entries` imports nothing.
    """
    found: dict[str, str] = {}
    left = list(entries)
    while left:
        name = left.pop()
        is_plumbing = name in PLUMBING or name.startswith(PLUMBED)
        if name in found or name in without or is_plumbing or (text := read(name)) is None:
            continue
        found[name] = text
        left += () if _is_file(name) else _imported(text)
    return found


@cache
def _imported(text: str) -> tuple[str, ...]:
    """What a module imports of the package, anywhere in its text."""
    found: list[str] = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return tuple(name for name in found if name.partition(".")[0] == "apit")


@cache
def syntax(text: str) -> str:
    """A module's syntax tree without docstrings: comments and layout are not in it."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, documented) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return _dumped(tree)


def _dumped(node: object) -> str:
    """What `ast.dump` of Python 3.11 says of a tree, on any later Python.

    Later ones have a field for type parameters and leave out empty lists: the same text would be
    other code for another Python.
    """
    if isinstance(node, list):
        return f"[{', '.join(map(_dumped, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    said = []
    for name in node._fields:
        value = getattr(node, name, None)
        is_none = value is None and not (isinstance(node, ast.Constant) and name == "value")
        if not is_none and (name, value) != ("type_params", []):
            said.append(f"{name}={_dumped(value)}")
    return f"{type(node).__name__}({', '.join(said)})"


@cache
def read_module(name: str) -> str | None:
    """Text of a module of this package."""
    for path in _paths(name):
        if (ROOT / path).is_file():
            return (ROOT / path).read_text()
    return None


def read_module_at(commit: str) -> Read:
    """How to read a module as it was at a commit of this repository."""

    @cache
    def read(name: str) -> str | None:
        for path in _paths(name):
            shown = subprocess.run(
                ("git", "show", f"{commit}:./{path}"),
                cwd=ROOT, capture_output=True, text=True, check=False,
            )  # fmt: skip
            if shown.returncode == 0:
                return shown.stdout
        return None

    if read("apit") is None:
        raise UserError(f"{commit}: is no commit of a repository in {ROOT}, or has no apit")
    return read


def _is_file(name: str) -> bool:
    """Whether a name is a path, of no module."""
    return "/" in name


def _paths(name: str) -> tuple[str, ...]:
    if _is_file(name):
        return (name,)
    path = name.replace(".", "/")
    return f"{path}.py", f"{path}/__init__.py"


def _as_accepted(found: str) -> str:
    known = accepted()
    seen = {found}
    while (found := known.get(found, found)) not in seen:
        seen.add(found)
    return found


def accepted(path: Path = ACCEPTED) -> dict[str, str]:
    """Versions that were accepted, and those whose results they give."""
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        return {row["version"]: row["gives_what"] for row in csv.DictReader(file)}


def accept(runs: Iterable[Run], since: str, by: str, date: str, why: str) -> list[str]:
    """Note in `configs/accepted.csv` that today's code gives what the code of a commit gave.

    For all rules, and the training of `runs`. Gives the parts that had changed.
    """
    then = read_module_at(since)
    parts = PARTS | {f"train {run.experiment}": parts_of_training(run) for run in runs}
    rows: dict[str, tuple[str, ...]] = {}
    for part, (entries, without) in parts.items():
        now, before = (fresh_version(entries, without, read) for read in (read_module, then))
        target = _as_accepted(before)
        if _as_accepted(now) != target:
            rows.setdefault(now, (now, target, part, since, by, date, why))
    is_new = not ACCEPTED.exists()
    with ACCEPTED.open("a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if is_new:
            writer.writerow(COLUMNS)
        writer.writerows(rows.values())
    return [row[2] for row in rows.values()]
