import numpy as np
import pytest
from repositories import commit, git

from apit import provenance


@pytest.mark.parametrize(
    ("changed", "marked"),
    [
        ("configs/mini.yaml", True),
        ("src/results.py", True),
        ("results/mini/runs/pit-s0/3f2a9c1b/record.json", False),  # the workflow's own
        ("dvc.lock", False),
        ("params.yaml", False),  # chooses a scale
    ],
)
def test_a_commit_is_marked_where_code_or_configuration_differ(tmp_path, changed, marked):
    file = tmp_path / changed
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("before")
    git(tmp_path, "init", "--quiet")
    commit(tmp_path)
    clean = provenance.commit(file.parent)
    assert len(clean) == 40
    file.write_text("after")
    assert provenance.commit(file.parent) == clean + ("-modified" if marked else "")


def test_without_a_repository_there_is_no_commit(tmp_path, capsys):
    assert provenance.commit(tmp_path) == "unknown (no git repository here)"
    assert capsys.readouterr().err == ""


def test_the_commit_is_the_codes_whoever_calls_it_from_where(tmp_path, monkeypatch):
    ours = provenance.commit()
    git(tmp_path, "init", "--quiet")
    commit(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert provenance.commit() == ours
    monkeypatch.setenv("GIT_DIR", str(tmp_path / ".git"))
    assert provenance.commit() == ours
    (tmp_path / ".venv").mkdir()  # an environment in somebody's repository
    assert provenance.commit(tmp_path / ".venv") == "unknown (no git repository here)"


def test_a_refusal_of_git_is_told(tmp_path, monkeypatch, capsys):
    git(tmp_path, "init", "--quiet")
    commit(tmp_path)
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "true")  # a clone of another user
    assert provenance.commit(tmp_path) == "unknown (git refused)"
    said = capsys.readouterr().err
    assert said.startswith("the commit is not known, and not recorded: git says: fatal: ")
    assert "safe.directory" in said


def test_seeds_stay_the_same():
    """No identity tells of them, and with others no number could be had again."""
    assert provenance.seed_of(3, "data") == 9031833541568789944
    seed = provenance.seed_of("test", 0)
    array, expected = provenance.array_generator("test", 0), np.random.default_rng(seed)
    assert array.integers(1000, size=3).tolist() == expected.integers(1000, size=3).tolist()
    assert provenance.tensor_generator("test", 0).initial_seed() == seed
