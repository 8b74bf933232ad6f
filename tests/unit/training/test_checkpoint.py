"""Runs that are interrupted, killed, damaged and taken up again: the same bits, or a refusal."""

import errno
import io
import json
import os
import shutil
import signal
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pandas as pd
import pytest
import torch
from folders import same_bits

from apit.errors import Interrupted, UserError
from apit.identity import Identity
from apit.training import train as training
from apit.training import validation
from apit.training.checkpoint import Checkpoints
from apit.training.train import train

EXPERIMENT = "pit-six"  # every moving part there is


@pytest.fixture(scope="module")
def whole(tiny, mixtures, tmp_path_factory):
    """A run that nothing disturbed, of six steps, the last of which is neither logged nor due."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    train(run_of(tiny), mixtures, folder)
    return folder


def run_of(tiny, *settings, steps=7):
    usual = (f"steps={steps}", "ema_decay=0.9", "validate_every=3", "log_every=2")
    return tiny(EXPERIMENT, *(f"training.{setting}" for setting in usual), *settings)


def interrupted_at(monkeypatch, step, number=signal.SIGTERM):
    """Send this process a signal in the middle of its step of that number (from 1)."""
    usual, calls = training.train_step, []

    def signalled(state, batch):
        calls.append(batch)
        if len(calls) == step:
            os.kill(os.getpid(), number)
        return usual(state, batch)

    monkeypatch.setattr(training, "train_step", signalled)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("step", [1, 2, 3, 5, 7])
def test_an_interrupted_run_goes_on_to_the_same_bits(
    tiny, mixtures, tmp_path, whole, monkeypatch, capsys, step, number
):
    output = tmp_path / "run"
    with monkeypatch.context() as context:
        interrupted_at(context, step, number)
        with pytest.raises(Interrupted, match=f"after step {step}; the same command") as caught:
            train(run_of(tiny), mixtures, output)
    assert caught.value.number == number
    assert not output.exists()
    train(run_of(tiny), mixtures, output)
    assert f"goes on after step {step}" in capsys.readouterr().err
    same_bits(output, whole)
    record = json.loads((output / "record.json").read_text())
    assert (record["steps"], record["skipped_steps"]) == (7, 0)


def test_a_signal_in_the_middle_of_a_validation_is_heeded_at_once(
    tiny, mixtures, tmp_path, monkeypatch
):
    run = run_of(tiny, "training.validation_batch=1")
    usual, looked_at = validation.whole_examples, []

    def signalled(*arguments):
        for batch in usual(*arguments):
            looked_at.append(batch)
            if len(looked_at) == 2:
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch

    with monkeypatch.context() as context:
        context.setattr(validation, "whole_examples", signalled)
        with pytest.raises(Interrupted, match="after step 3"):
            train(run, mixtures, tmp_path / "run")
    assert len(looked_at) == 2  # of four
    train(run, mixtures, tmp_path / "run")
    train(run, mixtures, tmp_path / "whole")
    same_bits(tmp_path / "run", tmp_path / "whole")


def stopped(tiny, mixtures, output, monkeypatch, step=5, *settings):
    """Leave a run as a SIGKILL leaves it after its checkpoints of all steps before `step`."""

    class Killed(BaseException):
        pass

    usual, calls = training.train_step, []

    def killed(state, batch):
        calls.append(batch)
        if len(calls) == step:
            raise Killed
        return usual(state, batch)

    with monkeypatch.context() as context:
        context.setattr(training, "train_step", killed)
        with pytest.raises(Killed):
            train(run_of(tiny, *settings), mixtures, output, checkpoint_seconds=0)
    return output.with_name("run.work")


def test_the_last_two_checkpoints_are_kept_and_one_of_a_finished_run(
    tiny, mixtures, tmp_path, monkeypatch, whole
):
    work = stopped(tiny, mixtures, tmp_path / "run", monkeypatch)
    assert [p.name for p in sorted(work.glob("*.pt"))] == ["step-000000003.pt", "step-000000004.pt"]
    finished = whole.with_name("run.work")
    assert [p.name for p in finished.glob("*.pt")] == ["step-000000007.pt"]


def flipped(data):
    """One bit of the middle the other way."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"", flipped])
def test_a_truncated_checkpoint_falls_back_to_the_one_before(
    tiny, mixtures, tmp_path, monkeypatch, capsys, whole, damage
):
    work = stopped(tiny, mixtures, tmp_path / "run", monkeypatch)
    newest = work / "step-000000004.pt"
    newest.write_bytes(damage(newest.read_bytes()))
    monkeypatch.setattr(Checkpoints, "save", kept_after(Checkpoints.save, seen := []))
    train(run_of(tiny), mixtures, tmp_path / "run", checkpoint_seconds=0)
    said = capsys.readouterr().err
    assert "step-000000004.pt: cannot be read" in said
    assert "goes on after step 3" in said
    same_bits(tmp_path / "run", whole)
    names = ["step-000000003.pt", "step-000000004.pt", "step-000000004.unreadable"]
    assert seen[0] == names  # the new fourth is kept beside the damaged one


def kept_after(usual, seen):
    """Checkpoints.save that notes which files there are after each."""

    def save(self, step, state, **options):
        usual(self, step, state, **options)
        seen.append(sorted(path.name for path in self.folder.glob("step*")))

    return save


def test_checkpoints_execute_no_code(tiny, mixtures, tmp_path, monkeypatch, capsys):
    work = stopped(tiny, mixtures, tmp_path / "run", monkeypatch)
    for path in work.glob("*.pt"):
        buffer = io.BytesIO()
        torch.save({"identity": Path("/"), "finished": False, "state": {}}, buffer)
        path.write_bytes(buffer.getvalue() + sha256(buffer.getvalue()).digest())
    train(run_of(tiny), mixtures, tmp_path / "run")
    assert capsys.readouterr().err.count("cannot be read (Weights only load failed") == 2


def test_leftovers_of_a_killed_write_are_removed(tiny, mixtures, tmp_path, monkeypatch, whole):
    work = stopped(tiny, mixtures, tmp_path / "run", monkeypatch)
    (work / ".partial-1-step-000000005.pt").write_bytes(b"half")
    train(run_of(tiny), mixtures, tmp_path / "run")
    assert not list(work.glob(".partial*"))
    same_bits(tmp_path / "run", whole)


def test_another_configuration_is_refused_with_the_keys_that_differ(
    tiny, mixtures, tmp_path, monkeypatch
):
    work = stopped(tiny, mixtures, tmp_path / "run", monkeypatch)
    other = run_of(tiny, "training.learning_rate=0.25", "adversary.pit_weight=2")
    said = (
        r"adversary.pit_weight is 2.0 and was 'balanced'; training.learning_rate is 0.25 and was "
        r"0.0005.*--restart.*--work"
    )
    with pytest.raises(UserError, match=said):
        train(other, mixtures, tmp_path / "run")
    assert len(list(work.glob("*.pt"))) == 2
    train(other, mixtures, tmp_path / "run", restart=True)
    assert json.loads((tmp_path / "run" / "record.json").read_text())["steps"] == 7


def test_another_number_of_threads_is_refused_unless_asked_for(
    tiny, mixtures, tmp_path, monkeypatch
):
    stopped(tiny, mixtures, tmp_path / "run", monkeypatch)
    other = run_of(tiny, "training.threads=2")
    try:
        with pytest.raises(UserError, match=r"training\.threads is 2 and was 1"):
            train(other, mixtures, tmp_path / "run")
        train(other, mixtures, tmp_path / "run", any_threads=True)
    finally:
        torch.set_num_threads(1)
    assert json.loads((tmp_path / "run" / "record.json").read_text())["threads"] == 2


@pytest.mark.parametrize("what", ["data", "code"])
def test_other_data_or_code_is_refused_or_if_finished_starts_over(
    tiny, mixtures, tmp_path, monkeypatch, what
):
    work = stopped(tiny, mixtures, tmp_path / "run", monkeypatch)
    others = shutil.copytree(mixtures, tmp_path / "others")
    replace(Identity.read(mixtures), code="other").write(others)
    of_run = training.of_run
    with monkeypatch.context() as context:
        if what == "code":
            context.setattr(training, "of_run", lambda *of: replace(of_run(*of), code="other"))
        said = {"data": r"inputs\.data is '\w{8}'", "code": "code is 'other'"}[what]
        with pytest.raises(UserError, match=f"another run: {said} and was '"):
            train(run_of(tiny), others if what == "data" else mixtures, tmp_path / "run")
    train(run_of(tiny), mixtures, tmp_path / "run")  # as it was: goes on, and is finished
    (work / "step-000000007.pt").rename(work / "step-000000006.pt")  # to be seen to go
    train(run_of(tiny), others, tmp_path / "run")
    assert [p.name for p in work.glob("*.pt")] == ["step-000000007.pt"]


def test_data_of_another_configuration_are_refused_with_the_keys_that_differ(
    tiny, mixtures, tmp_path
):
    other = run_of(tiny, "data.recipe.seed=1", "data.recipe.fade_seconds=0.02")
    said = (
        r"mixtures: was made for another configuration \(data\.recipe\.fade_seconds is 0\.02 and "
        r"was 0\.01; data\.recipe\.seed is 1 and was 0\)"
    )
    with pytest.raises(UserError, match=said):
        train(other, mixtures, tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_more_steps_extend_a_finished_run_to_the_bits_of_a_longer_one(tiny, mixtures, tmp_path):
    train(run_of(tiny, steps=4), mixtures, tmp_path / "run")
    train(run_of(tiny, steps=8), mixtures, tmp_path / "run")
    train(run_of(tiny, steps=8), mixtures, tmp_path / "longer")
    same_bits(tmp_path / "run", tmp_path / "longer")
    with pytest.raises(UserError, match=r"has taken 8 steps already, and training\.steps is 5"):
        train(run_of(tiny, steps=5), mixtures, tmp_path / "run")


def test_a_finished_run_is_exported_again_without_a_step(
    tiny, mixtures, tmp_path, whole, monkeypatch
):
    train(run_of(tiny), mixtures, tmp_path / "run")
    monkeypatch.setattr(training, "train_step", None)
    train(run_of(tiny), mixtures, tmp_path / "run")
    same_bits(tmp_path / "run", whole)


def test_a_full_disk_leaves_the_last_checkpoint(tiny, mixtures, tmp_path, monkeypatch, whole):
    work = stopped(tiny, mixtures, tmp_path / "run", monkeypatch)
    usual = Path.write_bytes

    def full(self, data):
        usual(self, data[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))

    with monkeypatch.context() as context:
        context.setattr(Path, "write_bytes", full)
        with pytest.raises(UserError, match="No space left on device; those before it are whole"):
            train(run_of(tiny), mixtures, tmp_path / "run", checkpoint_seconds=0)
    assert [p.name for p in sorted(work.glob("*.pt"))] == ["step-000000003.pt", "step-000000004.pt"]
    train(run_of(tiny), mixtures, tmp_path / "run")
    same_bits(tmp_path / "run", whole)


def test_two_processes_do_not_train_one_run(tiny, mixtures, tmp_path):
    with (
        Checkpoints(tmp_path / "run.work", {}).locked(),
        pytest.raises(UserError, match="another process trains this run"),
    ):
        train(run_of(tiny), mixtures, tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_a_step_that_is_not_finite_is_skipped_and_counted(tiny, mixtures, tmp_path, monkeypatch):
    usual, calls, seen = training.train_step, [], []

    def poisoned(state, batch):
        calls.append(batch)
        if len(calls) == 2:
            batch.references[0, 0, 5] = float("nan")
            before = {k: v.clone() for k, v in state.separator.state_dict().items()}
            step = usual(state, batch)
            after = state.separator.state_dict()
            seen.append(all(torch.equal(before[k], after[k]) for k in before))
            return step
        return usual(state, batch)

    monkeypatch.setattr(training, "train_step", poisoned)
    train(run_of(tiny), mixtures, tmp_path / "run")
    assert seen == [True]
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    assert (record["steps"], record["skipped_steps"]) == (7, 1)
    history = pd.read_csv(tmp_path / "run" / "history.csv")
    assert history["loss/pit"].isna().tolist() == [True, False, False, False, False]


def test_a_signal_while_the_last_checkpoint_is_written_is_heeded(
    tiny, mixtures, tmp_path, whole, monkeypatch
):
    usual = Checkpoints.save

    def signalled(self, step, state, *, finished=False):
        if finished:
            os.kill(os.getpid(), signal.SIGTERM)
        usual(self, step, state, finished=finished)

    with monkeypatch.context() as context:
        context.setattr(Checkpoints, "save", signalled)
        with pytest.raises(Interrupted, match="after step 7; the same command"):
            train(run_of(tiny), mixtures, tmp_path / "run")
    train(run_of(tiny), mixtures, tmp_path / "run")
    same_bits(tmp_path / "run", whole)


def test_foreign_files_in_the_folder_of_checkpoints_stay_and_hide_no_error(
    tiny, mixtures, tmp_path
):
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "mine.txt").touch()
    run = run_of(tiny, "training.learning_rate=1e38", "training.skip_at_most=0")
    with pytest.raises(UserError, match="not finite"):
        train(run, mixtures, tmp_path / "run", work=tmp_path / "work")
    assert [p.name for p in (tmp_path / "work").iterdir()] == ["mine.txt"]


def test_another_number_of_processes_or_another_torch_is_refused_unless_asked_for(
    tiny, mixtures, tmp_path, monkeypatch
):
    stopped(tiny, mixtures, tmp_path / "run", monkeypatch)
    monkeypatch.setattr(torch, "__version__", "9.9")
    with pytest.raises(UserError, match=r"torch is '9\.9' and was"):
        train(run_of(tiny), mixtures, tmp_path / "run")
    train(run_of(tiny), mixtures, tmp_path / "run", any_threads=True)
