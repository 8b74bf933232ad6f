import shutil
from contextlib import suppress

import pytest

from apit import artefacts
from apit.artefacts import Artefacts, accept, others, remove, today
from apit.identity import Identity, beside

CODE = "results/smoke/runs/pit-s0"


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A folder with the configurations, and nothing else."""
    shutil.copytree("configs", tmp_path / "configs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def made(path, identity, large=b"weights"):
    """What a job of that identity would leave."""
    folder = artefacts.Path(path, identity.id)
    folder.mkdir(parents=True)
    identity.write(folder)
    apart = beside(folder)
    apart.parent.mkdir(parents=True, exist_ok=True)
    apart.write_bytes(large)
    return folder


def of_other_code(identity):
    return Identity(identity.kind, identity.configuration, identity.inputs, "0123")


def test_every_seed_of_every_row_is_a_run_and_every_system_has_scores(repository):
    scale = Artefacts("smoke", ["seeds=[0, 1]", "experiments=[pit, {name: ctx-all, seeds: [5]}]"])
    assert list(scale.runs) == ["pit-s0", "pit-s1", "ctx-all-s5"]
    assert [path for path in scale.identities if "/scores/" not in path] == [
        *("data/smoke/bank", "data/smoke/mixtures", "data/smoke/packed"),
        *(f"results/smoke/runs/{run}" for run in scale.runs),
    ]
    assert len({identity.id for identity in scale.identities.values()}) == len(scale.identities)


def test_a_name_leads_to_today_s_and_else_to_the_newest(repository):
    scale = Artefacts("smoke")
    path = artefacts.Path(CODE)
    assert today(path) == path
    old = made(CODE, Artefacts("smoke", ["training.steps=7"]).identities[CODE])
    assert today(path) == old
    new = made(CODE, scale.identities[CODE])
    newest = made(CODE, Artefacts("smoke", ["training.steps=8"]).identities[CODE])
    assert today(path) == new
    shutil.rmtree(new)
    assert today(path) == newest
    assert today(old) == old


def test_what_is_not_today_s_says_in_what_it_differs_and_can_be_removed(repository):
    scale = Artefacts("smoke", ["experiments=[{name: pit, training: {steps: 7}}]"])
    made(CODE, scale.identities[CODE])
    old = made(
        CODE,
        Artefacts("smoke", ["experiments=[{name: pit, training: {steps: 8}}]"]).identities[CODE],
    )
    gone = made("results/smoke/runs/six-s0", scale.identities[CODE])
    assert list(others(scale)) == [
        (old, "training.steps is 7 and was 8"),
        (gone, "the scale has it no more"),
    ]
    for folder, _ in list(others(scale)):
        remove(folder)
        assert not beside(folder).exists()
    assert list(others(scale)) == []
    assert today(artefacts.Path(CODE)).exists()


def test_results_of_other_code_are_accepted_with_all_that_was_made_of_them(repository):
    scale = Artefacts("smoke")
    scores = "results/smoke/scores/pit-s0"
    run, then = scale.identities[CODE], of_other_code(scale.identities[CODE])
    before = Identity("scores", scale.identities[scores].configuration,
                      scale.identities[scores].inputs | {"run": then.stamp}, "4567")  # fmt: skip
    made(CODE, then), made(scores, before)
    elsewhere = made("results/smoke/runs/pit-ctx-all-s0", run)  # of another configuration
    accepted = accept(scale, ("run", "scores"), by="Somebody", why="a name")
    assert accepted == [scale.at(path) for path in (CODE, scores)]
    assert all(beside(folder).read_bytes() == b"weights" for folder in accepted)
    found = Identity.read(accepted[0])
    assert found == run
    assert found.accepted == ({"id": then.id, "code": "0123", "by": "Somebody", "why": "a name"},)
    assert [folder for folder, _ in others(scale)] == [elsewhere]
    assert accept(scale, ("run", "scores"), why="again") == []


def test_what_was_accepted_half_way_is_none_of_today_s_and_is_gone_on_with(repository, monkeypatch):
    scale = Artefacts("smoke")
    then = made(CODE, of_other_code(scale.identities[CODE]))
    with monkeypatch.context() as broken, suppress(ZeroDivisionError):
        broken.setattr(artefacts, "replace", lambda *_, **__: 1 / 0)
        accept(scale, ("run",), why="a name")
    assert then.exists()
    assert [folder for folder, _ in others(scale)] == [then]
    (accepted,) = accept(scale, ("run",), why="a name")
    assert beside(accepted).read_bytes() == b"weights"
    assert list(others(scale)) == []


def test_a_name_is_the_same_from_anywhere(repository, monkeypatch):
    scale = Artefacts("smoke")
    new = made(CODE, scale.identities[CODE])
    made(CODE, Artefacts("smoke", ["training.steps=8"]).identities[CODE])
    assert today(repository / CODE) == repository / new
    monkeypatch.chdir("results/smoke/runs")
    assert today(artefacts.Path("pit-s0")) == artefacts.Path("pit-s0", new.name)
    assert beside(artefacts.Path("pit-s0", new.name)).read_bytes() == b"weights"
