import csv
import functools
import subprocess
from pathlib import Path

import pytest

from apit import lineage
from apit.errors import UserError
from apit.layers import load_run
from apit.lineage import ADVERSARIES, PARTS, PLUMBED, PLUMBING, modules, parts_of_training, syntax

SOURCE = Path(lineage.__file__).parent


def edited(name, old, new):
    """Modules as they are, but for one with other text."""

    def read(module):
        text = lineage.read_module(module)
        if module == name:
            assert old in text
            return text.replace(old, new, 1)
        return text

    return read


def versions(read=lineage.read_module):
    """Of all rules, and of the training of a few experiments."""
    parts = dict(PARTS)
    for experiment, *settings in (
        ["pit"],
        ["six"],
        ["pit-tdcnpp"],
        ["pit", "training.remix=clips"],
    ):
        run = load_run("smoke", experiment, 0, settings)
        parts[" ".join(["train", experiment, *settings])] = parts_of_training(run)
    return {part: lineage.fresh_version(*how, read) for part, how in parts.items()}


@functools.cache
def unchanged():
    return versions()


def changed(*edit):
    before, after = unchanged(), versions(edited(*edit))
    return {part for part, version in before.items() if after[part] != version}


FLAG = ("\n\n\n", "\n\nFLAG = 1\n\n\n")
TRAININGS = {
    *("train pit", "train six", "train pit-tdcnpp"),
    "train pit training.remix=clips",
}


@pytest.mark.parametrize(
    ("edit", "parts"),
    [
        (("apit.losses.adversarial", *FLAG), {"train six"}),
        (("apit.models.discriminators", "super().__init__()", "super().__init__( )  # as"), set()),
        (("apit.models.tdcnpp", *FLAG), {"train pit-tdcnpp", "evaluate", "listen"}),
        (("apit.losses.balance", *FLAG), {"train six"}),
        (("apit.models.views", *FLAG), {"train six"}),
        (("apit.training.log", *FLAG), set()),
        (("apit.losses.reconstruction", *FLAG), TRAININGS | {"figures", "listen"}),
        (("apit.measure.spectral_holes", "60", "61"), {"evaluate", "figures", "listen"}),
        (("apit.measure.bss_eval", *FLAG), {"evaluate", "listen"}),
        (("apit.present.gallery", "dpi", "ppi"), {"figures", "listen"}),
        (("apit.present.listening", "magma", "viridis"), {"listen"}),
        (("apit/present/listening.html", "Blind", "blind"), {"listen"}),
        (("apit.present.tables", '"MSi"', '"MSI"'), {"tables", "figures", "report"}),
        (("apit.present.report", *FLAG), {"report"}),
        (("apit.data.recipe", "PEAK = 32767", "PEAK = 32766"),
         {"mix", "train pit training.remix=clips"}),
        (("apit.data.rooms", "margin", "edge"), {"bank", "train pit training.remix=clips"}),
        (("apit.data.packing", "SLOTS = 64", "SLOTS = 65"), {"pack"}),
        (("apit.training.train", '"""The training loop', '"""Das Training'), set()),
        (("apit.cli", "argparse", "argsparse"), set()),
        (("apit.training.devices", "FileLock", "Lock"), set()),
        (("apit.parallel", "AHEAD = 4", "AHEAD = 5"), set()),
    ],
)  # fmt: skip
def test_an_edit_changes_the_versions_of_what_computes_with_it_alone(edit, parts):
    assert changed(*edit) == parts


def test_docstrings_comments_and_layout_are_no_code():
    one = 'def f(x):\n    """Doc."""\n    return x + 1  # why\n'
    other = '"""Module."""\n\n\ndef f(x):\n    return (x +\n            1)\n'
    assert syntax(one) == syntax(other)
    assert syntax(one) != syntax(one.replace("1", "2"))


def test_code_has_the_same_syntax_on_every_python():
    """What Python 3.11 calls it: 3.12 has type parameters too, and 3.13 leaves out empty lists."""
    assert syntax("def f(x, *, y=None) -> None: return x[()]\n") == (
        "Module(body=[FunctionDef(name='f', args=arguments(posonlyargs=[], args=[arg(arg='x')], "
        "kwonlyargs=[arg(arg='y')], kw_defaults=[Constant(value=None)], defaults=[]), "
        "body=[Return(value=Subscript(value=Name(id='x', ctx=Load()), "
        "slice=Tuple(elts=[], ctx=Load()), ctx=Load()))], decorator_list=[], "
        "returns=Constant(value=None))], type_ignores=[])"
    )


def test_every_module_is_plumbing_or_counts_somewhere():
    everything = {
        ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__")
        for path in SOURCE.rglob("*.py")
    }
    counted = set()
    runs = [load_run("smoke", e, 0, s) for e, s in (
        ("six", ["training.remix=clips"]),
        ("six", ["separator.architecture=tdcnpp"]),
    )]  # fmt: skip
    for entries, without in [*PARTS.values(), *map(parts_of_training, runs)]:
        counted |= modules(entries, without, lineage.read_module).keys()
    infrastructure = {n for n in everything if n in PLUMBING or n.startswith(PLUMBED)}
    empty = {name for name in everything if not ast_body(name)}
    apart = {name for name in everything if name.startswith("apit.separate.")}
    assert everything - counted - infrastructure - empty == apart
    assert not counted & infrastructure
    assert set(ADVERSARIES) <= counted


def ast_body(name):
    return lineage.syntax(lineage.read_module(name)) != lineage.syntax('"""Nothing."""')


def test_a_loss_of_ones_own_counts_as_its_file(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    run = load_run("smoke", "pit", 0, ["experiment.reconstruction=own_loss_module:loss"])
    found = []
    for text in ("loss = 1\n", "loss = 2\n"):
        (tmp_path / "own_loss_module.py").write_text(text)
        found.append(lineage.code_of_training(run))
    assert found[0] != found[1]


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository of a small package of the same name, whose parts are one module each."""
    (tmp_path / "src" / "apit").mkdir(parents=True)
    (tmp_path / "configs").mkdir()
    (tmp_path / "src" / "apit" / "__init__.py").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(lineage, "ROOT", tmp_path / "src")
    monkeypatch.setattr(lineage, "PARTS", {"one": (("apit.a",), ()), "two": (("apit.b",), ())})
    for cached in (lineage.version, lineage.read_module):
        cached.cache_clear()
    git("init", "--quiet")
    yield tmp_path
    for cached in (lineage.version, lineage.read_module):
        cached.cache_clear()


def git(*arguments):
    identity = ("-c", "user.name=Somebody", "-c", "user.email=some@body")
    subprocess.run(("git", *identity, *arguments), check=True, capture_output=True)


def write(repository, **texts):
    for name, text in texts.items():
        (repository / "src" / "apit" / f"{name}.py").write_text(text)
    for cached in (lineage.version, lineage.read_module):
        cached.cache_clear()


def commit(repository, **texts):
    write(repository, **texts)
    git("add", ".")
    git("commit", "--quiet", "--message", "…")


def test_what_is_accepted_keeps_its_version_and_says_who_accepted_it(repository):
    commit(repository, a="x = 1\n", b="from apit import a\n")
    before = {part: lineage.code_of(part) for part in ("one", "two")}
    write(repository, a="x = 2 - 1\n")
    after = {part: lineage.code_of(part) for part in ("one", "two")}
    assert all(after[part] != before[part] for part in before)
    assert lineage.accept([], "HEAD", "Somebody", "2026-01-01", "the same") == ["one", "two"]
    lineage.version.cache_clear()
    assert {part: lineage.code_of(part) for part in before} == before
    with open("configs/accepted.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(row["part"], row["by"], row["why"], row["since"]) for row in rows} == {
        (part, "Somebody", "the same", "HEAD") for part in before
    }
    assert lineage.accept([], "HEAD", "Somebody", "2026-01-02", "again") == []
    # A second refactor, since the first: it is what the very first gave.
    commit(repository)
    write(repository, a="x = 3 - 2\n")
    assert lineage.code_of("one") != before["one"]
    assert lineage.accept([], "HEAD", "Somebody", "2026-01-03", "still") == ["one", "two"]
    lineage.version.cache_clear()
    assert {part: lineage.code_of(part) for part in before} == before
    # And a real change is one.
    write(repository, a="x = 5\n")
    assert lineage.code_of("one") not in (before["one"], after["one"])


def test_a_commit_that_is_none_is_refused(repository):
    commit(repository, a="", b="")
    with pytest.raises(UserError, match="nothing: is no commit of a repository"):
        lineage.accept([], "nothing", "Somebody", "2026-01-01", "why")
