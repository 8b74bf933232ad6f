import ast
import shutil

import pytest
from repositories import REPOSITORY

from apit import code
from apit.artefacts import Artefacts
from apit.code import code_of, computes
from apit.data.identities import BANK, MIXTURES, PACKED
from apit.measure.identities import SCORES
from apit.present.origin import PRESENTATION
from apit.training.identities import REMIXING, RUN, WITH_DISCRIMINATORS

CODE = {"bank": BANK, "mixtures": MIXTURES, "packed": PACKED, "run": RUN, "scores": SCORES}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package, whose files count; and what of all kinds' code they give."""
    folder = shutil.copytree(code.PACKAGE, tmp_path / "apit")
    monkeypatch.setattr(code, "PACKAGE", folder)
    code._version.cache_clear()
    yield folder
    code._version.cache_clear()


def versions():
    """Of the code of everything that is made at smoke, and of what is shown."""
    code._version.cache_clear()
    identities = Artefacts("smoke").identities
    found = {path.split("/", 2)[2].removesuffix("-s0"): i.code for path, i in identities.items()}
    remixed = Artefacts("smoke", ["training.remix=clips"]).identities
    found["remixed"] = remixed["results/smoke/runs/pit-s0"].code
    found["scores"] = found["scores/pit"]
    kept = (
        "bank",
        "mixtures",
        "packed",
        "runs/pit",
        "runs/pit-tdcnpp",
        "runs/pit-ctx-all",
        "remixed",
        "scores",
    )
    return {name: found[name] for name in kept} | {
        n: code_of(files) for n, files in PRESENTATION.items()
    }


FLAG = ("\n\n\n", "\n\nFLAG = 1\n\n\n")
RUNS = {"runs/pit", "runs/pit-tdcnpp", "runs/pit-ctx-all", "remixed"}


@pytest.mark.parametrize(
    ("file", "old", "new", "changed"),
    [
        ("losses/adversarial.py", *FLAG, {"runs/pit-ctx-all"}),
        ("losses/balance.py", *FLAG, {"runs/pit-ctx-all"}),
        ("models/views.py", *FLAG, {"runs/pit-ctx-all"}),
        ("models/tdcnpp.py", *FLAG, {"runs/pit-tdcnpp", "scores"}),
        ("models/unet.py", *FLAG, {*RUNS, "scores"} - {"runs/pit-tdcnpp"}),
        ("losses/reconstruction.py", *FLAG, {*RUNS, "spectrograms", "listen"}),
        ("data/recipe.py", "PEAK = 32767", "PEAK = 32766", {"mixtures", "remixed"}),
        ("data/rooms.py", *FLAG, {"bank"}),
        ("data/packing.py", *FLAG, {"packed"}),
        ("data/packed.py", *FLAG, {"packed", "scores", *RUNS}),
        ("training/step.py", *FLAG, RUNS),
        ("training/step.py", '"""', '"""Documented. ', set()),
        ("training/step.py", "\n\n\n", "\n\n# A reason.\n\n\n", set()),
        ("training/log.py", *FLAG, set()),
        ("training/devices.py", *FLAG, set()),
        ("parallel.py", *FLAG, set()),
        ("measure/spectral_holes.py", *FLAG, {"scores", "spectrograms", "listen"}),
        ("measure/bss_eval.py", *FLAG, {"scores"}),
        ("measure/statistics.py", *FLAG, {"tables", "figures", "spectrograms", "report"}),
        ("present/gallery.py", *FLAG, {"figures", "spectrograms", "listen"}),
        ("present/listening.py", *FLAG, {"listen"}),
        ("present/listening.html", "Blind", "blind", {"listen"}),
        ("present/report.py", *FLAG, {"report"}),
    ],
)  # fmt: skip
def test_an_edit_changes_the_code_of_what_computes_with_it_alone(package, file, old, new, changed):
    before = versions()
    path = package / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    after = versions()
    assert {name for name in before if before[name] != after[name]} == changed


@pytest.mark.parametrize(
    "edit",
    [
        ('"""Doc."""', '"""Other."""'),
        ("  # why", ""),
        ("x: int", "x: float"),
        (") -> int:", ") -> Sequence[int]:"),
        ("import Path\n", "import Path\nfrom collections.abc import Sequence\n"),
        ('"bad {x}"', '"worse: {x}"'),
        ("ValueError", "KeyError"),
        (', "it is"', ', "it must be"'),
        ('print("one")', 'print("two", file=sys.stderr)'),
        ('desc="steps"', 'desc="Schritte", unit=" s"'),
        ("y: list[int] = []", "y: list[float] = []"),
        ("    import torch\n", "    import numpy\n"),
        ("x + 1", "(x +\n        1)"),
        ("Path(x)", "Path(x, encoding='utf-8')"),
    ],
)  # fmt: skip
def test_wording_bars_types_and_comments_are_nothing_that_computes(edit):
    assert edit[0] in TEXT
    assert computes(TEXT.replace(*edit)) == computes(TEXT)


@pytest.mark.parametrize(
    "edit",
    [("x + 1", "x + 2"), ("bar(items", "bar(others"), ("y: list[int] = []", "y: list[int] = [1]"),
     ("x > 0", "x > 1"), ("Path(x)", "Path(x, x)"),
     ("Path(x)", "Path(x, encoding='latin-1')"), ('said = "', 'said = "a')],
)  # fmt: skip
def test_what_computes_counts(edit):
    assert edit[0] in TEXT
    assert computes(TEXT.replace(*edit)) != computes(TEXT)


TEXT = '''"""Doc."""
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


class Kept:
    """Doc."""
    y: list[int] = []


def f(x: int, items=()) -> int:
    """Doc."""
    if x < -1:
        raise ValueError(f"bad {x}")
    assert x > 0, "it is"
    print("one")
    said = ""
    for item in bar(items, desc="steps"):
        Path(x)
    return x + 1  # why
'''


def test_a_module_computes_the_same_on_every_python():
    """As Python 3.11 has it: 3.12 knows type parameters, and 3.13 leaves out empty lists."""
    assert computes("def f(x, *, y=None) -> None: return x[()]\n") == (
        "Module(body=[FunctionDef(name='f', args=arguments(posonlyargs=[], args=[arg(arg='x')], "
        "kwonlyargs=[arg(arg='y')], kw_defaults=[Constant(value=None)], defaults=[]), "
        "body=[Return(value=Subscript(value=Name(id='x', ctx=Load()), "
        "slice=Tuple(elts=[], ctx=Load()), ctx=Load()))], decorator_list=[])], type_ignores=[])"
    )


# What listed modules import, and that decides no number.
NO_NUMBERS = {
    *("errors", "progress", "training/log"),  # how something is told
    *("files", "identity", "measure/estimates"),  # where and how it is stored
    *("data/identities", "training/identities"),
    *("training/checkpoint", "training/record"),
    *("parallel", "training/devices", "training/interruption"),  # where and when it is computed
    *("sound", "names"),  # what a file is called, and whether it is whole: its bytes decide
    "own",  # a name's object, of which the file counts
    "provenance",  # seeds by name, which tests/unit/test_provenance.py holds to their values
    "measure/statistics",  # what comes after scores
}
# What an input was made with, whose identity counts, or of which a name alone is taken.
BEHIND = {
    "bank": {"data/fuss"},  # the name of a file
    "mixtures": {"data/bank", "data/fuss"},  # names of files
    "run": {"data/bank", "data/recipe"},
}
# What pictures and tables are of, whose identities count, and names: `METRICS`, `System`.
SHOWN_OF = {
    *("data/batches", "data/examples", "data/fuss", "measure/score"),
    *("measure/estimates", "errors", "files", "names", "own", "provenance"),
}


def imports(name):
    for node in ast.walk(ast.parse((code.PACKAGE / f"{name}.py").read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("apit"):
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            paths = [n.removeprefix("apit").lstrip(".").replace(".", "/") for n in names]
            yield from (p for p in paths if (code.PACKAGE / f"{p}.py").is_file())


def left_out(listed):
    """What modules import that is not listed beside them."""
    return {name for one in listed if "." not in one for name in imports(one)} - {*listed}


def listed_for(kind):
    """Modules of a kind, whatever its configuration."""
    every = {*CODE[kind]}
    if kind == "run":
        every |= {*WITH_DISCRIMINATORS, *(m for ms in REMIXING.values() for m in ms)}
        every |= {f"models/{name}" for name in ("unet", "tdcnpp")}
    return every


@pytest.mark.parametrize("kind", CODE)
def test_no_module_that_computes_is_forgotten(kind):
    behind = BEHIND.get(kind, set())
    left = left_out(listed_for(kind))
    assert left <= NO_NUMBERS | behind
    assert behind <= left | listed_for(kind)


@pytest.mark.parametrize("kind", PRESENTATION)
def test_no_module_that_shows_is_forgotten(kind):
    assert left_out(PRESENTATION[kind]) <= SHOWN_OF


def test_nothing_is_left_out_that_nobody_imports():
    assert set().union(*(left_out(listed_for(kind)) for kind in CODE)) >= NO_NUMBERS
    assert set().union(*map(left_out, PRESENTATION.values())) >= SHOWN_OF


def reads_or_writes_text(call):
    """Whether a call opens a file, or runs a program, as text."""
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    words = {word.arg for word in call.keywords}
    if name == "open" and ast.unparse(call.func) not in ("tarfile.open", "os.open"):
        return not any("b" in ast.unparse(argument) for argument in call.args)
    return name in ("read_text", "write_text") or "text" in words


@pytest.mark.parametrize("folder", ["src", "workflow", "benchmarks"])
def test_text_is_utf_8_whatever_the_locale(folder):
    """ruff's PLW1514 says so, too, where it knows that something is a path."""
    for path in sorted((REPOSITORY / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and reads_or_writes_text(node):
                assert "utf-8" in ast.unparse(node), f"{path}:{node.lineno}"


def test_what_is_listed_is_there():
    for name in {name for files in (*CODE.values(), *PRESENTATION.values()) for name in files}:
        assert (code.PACKAGE / (name if "." in name else f"{name}.py")).is_file()
