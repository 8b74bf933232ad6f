import shutil
from contextlib import suppress

import pytest

from apit import artefacts
from apit.artefacts import Artefacts, accept, others, remove, today
from apit.errors import UserError
from apit.identity import Identity, Stamp, beside, end_of
from apit.layers import load_run
from apit.training.identities import of_run

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


FORKS = "experiments=[fork-pit, pit, fork-pit-aa]"


def test_a_fork_is_of_its_parent_and_a_parent_of_no_fork(repository):
    scale, without = Artefacts("smoke", [FORKS, "seeds=[0, 1]"]), Artefacts("smoke")
    assert list(scale.runs)[:3] == ["fork-pit-s0", "fork-pit-s1", "pit-s0"]  # rows as they are
    assert [path for path in scale.identities if "/runs/" in path] == [
        f"results/smoke/runs/{name}-s{seed}"
        for name in ("pit", "fork-pit", "fork-pit-aa") for seed in (0, 1)
    ]  # fmt: skip
    of = {name: scale.identities[f"results/smoke/runs/{name}"] for name in scale.runs}
    assert all(
        of[f"{fork}-s{seed}"].inputs["start"] == of[f"pit-s{seed}"].stamp
        for fork in ("fork-pit", "fork-pit-aa") for seed in (0, 1)
    )  # fmt: skip
    path = repository / "configs" / "smoke.yaml"
    path.write_text(
        path.read_text().replace("  - ctx-wave-i0-m\n", "  - ctx-wave-i0-m\n  - fork-pit\n")
    )
    assert "fork-pit-s0" in Artefacts("smoke").runs
    assert Artefacts("smoke").identities[CODE] == without.identities[CODE]
    assert "start" not in without.identities[CODE].inputs
    forks = {"start_from", "warm_up", "batches"}
    assert not forks & without.identities[CODE].configuration.keys()
    assert of["fork-pit-aa-s0"].configuration["batches"] == "other"
    longer = Artefacts("smoke", [FORKS, "training.steps=7"])
    fork = "results/smoke/runs/fork-pit-s0"
    own = Artefacts("smoke", ["experiments=[pit, {name: fork-pit, training: {steps: 7}}]"])
    assert len({s.identities[fork].id for s in (scale, longer, own)}) == 3


def test_what_is_as_costly_as_a_fork_is_no_other_for_keys_that_do_not_count():
    run = load_run("smoke", "pit-long", 0)
    other = run.as_costly_as.model_copy(update={"warm_up": 3, "batches": "b", "start_from": run})
    stamp = Stamp("0", "1")
    assert of_run(run.model_copy(update={"as_costly_as": other}), stamp) == of_run(run, stamp)
    assert of_run(run.model_copy(update={"warm_up": 3}), stamp) != of_run(run, stamp)


def test_a_scale_that_lacks_a_parent_is_refused(repository):
    said = "fork-pit-s0 starts from the end of pit-s0, which is no run of smoke: list pit, with th"
    for listed in ("[fork-pit]", "[{name: pit, seeds: [1]}, fork-pit]"):
        with pytest.raises(UserError, match=said):
            Artefacts("smoke", [f"experiments={listed}"])


def test_forks_of_the_same_runs_are_of_one_length(repository):
    rows = "experiments=[pit, fork-pit, {name: fork-pit-aa, training: {steps: 77}}]"
    with pytest.raises(UserError, match="of pit for 600 steps, and fork-pit-aa for 77: forks"):
        Artefacts("smoke", [rows])


def test_forks_have_no_trials(repository):
    axes = "{training.learning_rate: [1e-3], training.batch_size: [2]}"
    grid = f"tuning={{grid: {axes}, steps: 2, seed: 9}}"
    assert list(Artefacts("smoke", [FORKS, grid]).trials) == ["pit-0.001-2"]


def test_the_last_checkpoint_of_a_run_comes_and_goes_with_it(repository):
    scale = Artefacts("smoke")
    old = made(CODE, of_other_code(scale.identities[CODE]))
    end_of(old).write_bytes(b"end")
    (new,) = accept(scale, ("run",), why="a name")
    assert not end_of(old).exists()
    assert end_of(new).read_bytes() == b"end"
    assert end_of(new).name == f"{new.name}.end.pt"
    assert end_of(new).parent == beside(new).parent
    remove(new)
    assert not end_of(new).exists()
