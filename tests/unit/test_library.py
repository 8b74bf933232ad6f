"""What `apit` offers to others: what its page shows runs, and all that is public is documented."""

import ast
import inspect
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions, version
from pathlib import Path

import pytest
import torch

import apit

PAGE = Path(__file__).parents[2] / "docs" / "library.md"


def test_what_the_page_shows_runs(capsys):
    shown = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(shown) == 5
    torch.manual_seed(0)
    names: dict = {}
    before = None
    for block in shown:
        exec(block, names)
        weights = [w.clone() for w in names["separator"].parameters()]
        if before is not None and "optimiser.step" in block:
            assert not all(map(torch.equal, before, weights))
        before = weights
    value = r"-?\d+\.\d\d dB"
    assert re.fullmatch(rf"SI-SNR_I {value}, MSi\(all\) {value}\n", capsys.readouterr().out)


@pytest.mark.parametrize("name", apit.__all__)
def test_what_is_public_is_documented(name):
    assert inspect.getdoc(getattr(apit, name))


def test_what_is_not_public_is_not_there():
    with pytest.raises(AttributeError, match="has no attribute 'assign'"):
        apit.assign  # noqa: B018


def test_type_checkers_know_what_is_public_and_nothing_else(tmp_path):
    names = ", ".join([*apit.__all__, "__version__"])
    (tmp_path / "mine.py").write_text(f"from apit import {names}\nfrom apit import pit_los\n")
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--follow-imports=skip", apit.__file__, "mine.py"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert checked.stdout.splitlines()[:-1] == [
        'mine.py:2: error: Module "apit" has no attribute "pit_los"; maybe "pit_loss"?'
        "  [attr-defined]"
    ]


def test_what_the_package_imports_is_a_declared_dependency():
    project = tomllib.loads((PAGE.parents[1] / "pyproject.toml").read_text())["project"]
    declared = {re.match(r"[\w.-]+", line)[0] for line in project["dependencies"]}
    source, imported = Path(apit.__file__).parent, set()
    for node in (n for path in source.rglob("*.py") for n in ast.walk(ast.parse(path.read_text()))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module.partition(".")[0])
    found = packages_distributions()
    imported -= {"apit", *sys.stdlib_module_names}
    assert {"torch", "ruamel"} <= imported
    assert {name for name in imported if declared.isdisjoint(found.get(name, []))} == set()


def test_its_version_is_that_of_the_package():
    assert apit.__version__ == version("apit")


def test_a_discriminator_of_ones_own_loop_is_that_of_a_run(tiny):
    from apit.models.discriminators import make_discriminator

    run = tiny("ctx-stft-i3-m")
    (config,) = run.discriminators
    critic = run.adversary.stft
    ours = make_discriminator(run, config, (64, 32))
    own = apit.discriminator(
        4, (64, 32), critic.channels, condition_on_mixture=True,
        kernel=critic.kernel, stride=critic.stride,
    )  # fmt: skip
    own.load_state_dict(ours.state_dict())
    mixture, sources = torch.rand(2, 64, 32), torch.rand(2, 4, 64, 32)
    assert torch.equal(own(mixture, sources), ours(mixture, sources))
    with pytest.raises(apit.UserError, match=r"^20 values are too few .* give fewer channels"):
        apit.discriminator(4, (20,), (8, 8, 8, 8))
    with pytest.raises(ValueError, match="'instance' or 'context'"):
        apit.discriminator(4, (20,), (8,), kind="contxt")
    with pytest.raises(apit.UserError, match=r"must be \(time,\) or \(bins, frames\)"):
        apit.discriminator(4, (20, 20, 2), (8, 8, 8, 8))
