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
def test_a_commit_is_marked_where_code_or_configuration_differ(
    tmp_path, monkeypatch, changed, marked
):
    file = tmp_path / changed
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("before")
    git(tmp_path, "init", "--quiet")
    commit(tmp_path)
    monkeypatch.chdir(file.parent)
    clean = provenance.commit()
    assert len(clean) == 40
    file.write_text("after")
    assert provenance.commit() == clean + ("-modified" if marked else "")


def test_without_a_repository_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert provenance.commit() == "unknown (no git repository here)"


def test_seeds_stay_the_same():
    """No identity tells of them, and with others no number could be had again."""
    assert provenance.seed_of(3, "data") == 9031833541568789944
    seed = provenance.seed_of("test", 0)
    array, expected = provenance.array_generator("test", 0), np.random.default_rng(seed)
    assert array.integers(1000, size=3).tolist() == expected.integers(1000, size=3).tolist()
    assert provenance.tensor_generator("test", 0).initial_seed() == seed
