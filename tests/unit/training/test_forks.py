"""Runs that go on from the end of another: the same as one long run, where nothing else differs."""

import json
import os
import shutil
import signal

import numpy as np
import pandas as pd
import pytest
import torch
from folders import same_bits
from steps import CPU, same, weights

from apit.data.examples import open_examples
from apit.data.remixing import training_batches
from apit.errors import Interrupted, UserError
from apit.identity import Identity
from apit.training import train as training
from apit.training.record import read_end
from apit.training.state import TrainState
from apit.training.train import train

USUAL = ("training.ema_decay=0.9", "training.lr_step=1000")
WARMED = "fork-ctx-stft-i3-m"


@pytest.fixture(scope="module")
def parent(tiny, mixtures, tmp_path_factory):
    """A run of four steps."""
    folder = tmp_path_factory.mktemp("parent") / "pit"
    train(tiny("pit", *USUAL), mixtures, folder)
    return folder


def fork_of(tiny, *settings, experiment="fork-pit"):
    warm_up = ["experiment.warm_up=3"] if experiment == WARMED else []
    return tiny(experiment, *USUAL, *warm_up, *settings)


def names_in(monkeypatch, *functions):
    """Names of the examples in every batch that these functions of the loop get, by function."""
    seen = {name: [] for name in functions}
    for name in functions:
        usual = getattr(training, name)

        def noted(state, batch, usual=usual, name=name):
            seen[name].append(batch.names)
            return usual(state, batch)

        monkeypatch.setattr(training, name, noted)
    return seen


def test_a_fork_with_nothing_else_of_its_own_is_its_parent_trained_longer(
    tiny, mixtures, parent, tmp_path
):
    train(fork_of(tiny), mixtures, tmp_path / "fork", start=parent)
    train(tiny("pit", *USUAL, "training.steps=8"), mixtures, tmp_path / "longer")
    fork, longer = read_end(tmp_path / "fork"), read_end(tmp_path / "longer")
    for part in ("separator", "ema"):
        assert same(fork["state"][part], longer["state"][part])
    for one, other in zip(
        fork["state"]["optimiser"]["state"].values(),
        longer["state"]["optimiser"]["state"].values(),
        strict=True,
    ):
        assert same(one, other)
    assert fork["batches"] == longer["batches"] == {"made": 16}
    histories = [pd.read_csv(tmp_path / name / "history.csv") for name in ("fork", "longer")]
    assert histories[0]["step"].tolist() == [1, 2, 3, 4]
    pd.testing.assert_frame_equal(
        histories[0].drop(columns="step"),
        histories[1].drop(columns="step").iloc[4:].reset_index(drop=True),
        check_exact=True,
    )
    record = json.loads((tmp_path / "fork" / "record.json").read_text())
    assert record["start"] == str(parent)
    assert record["run"]["start_from"]["experiment"] == "pit"
    inputs = Identity.read(tmp_path / "fork").inputs
    assert inputs["start"] == Identity.read(parent).stamp
    assert inputs.keys() == Identity.read(tmp_path / "longer").inputs.keys() | {"start"}


def test_moments_are_the_parent_s_and_rates_betas_and_schedule_the_fork_s(tiny, parent):
    run = fork_of(tiny, "training.learning_rate=0.25", "training.betas=[0.1, 0.2]")
    state, end = TrainState(run, CPU), read_end(parent)["state"]
    fresh = weights(state.separator)
    state.start_from(end)
    assert not same(fresh, weights(state.separator))
    assert same(end["separator"], weights(state.separator))
    assert same(end["ema"], weights(state.ema))
    (group,) = state.optimiser.param_groups
    assert (group["lr"], group["betas"]) == (0.25, (0.1, 0.2))
    first = state.optimiser.state[group["params"][0]]
    assert torch.equal(first["exp_avg"], end["optimiser"]["state"][0]["exp_avg"])
    assert first["step"] == 4
    assert (state.schedule.last_epoch, state.progress.step) == (0, 0)


def test_an_average_may_begin_with_a_fork_or_end(tiny, mixtures, parent, tmp_path):
    state = TrainState(tiny("fork-pit", "training.ema_decay=0"), CPU)
    state.start_from(read_end(parent)["state"])
    assert state.ema is None
    train(tiny("pit"), mixtures, tmp_path / "plain")
    state, end = TrainState(fork_of(tiny), CPU), read_end(tmp_path / "plain")["state"]
    assert "ema" not in end
    state.start_from(end)
    assert same(weights(state.result), end["separator"])
    state.separator.load_state_dict(TrainState(fork_of(tiny), CPU).separator.state_dict())
    state.ema.update_parameters(state.separator)  # the first value of an average is no mean
    assert same(weights(state.result), weights(state.separator))


@pytest.mark.parametrize("remix", ["none", "sources", "clips"])
def test_the_position_in_the_batches_is_one_of_examples_whatever_the_batch(
    tiny, mixtures, bank, remix
):
    run = tiny("pit", f"training.remix={remix}")

    def stream(size, **own):
        one = run.model_copy(
            update={"training": run.training.model_copy(update={"batch_size": size}), **own}
        )
        examples = open_examples(mixtures, "train", run.audio)
        return training_batches(one, examples, bank if remix == "clips" else None, CPU.device)

    of_two, of_three = stream(2), stream(3)
    twelve, more = [next(of_three) for _ in range(4)], [next(of_three) for _ in range(2)]
    assert of_three.state_dict() == {"made": 18}
    of_two.load_state_dict({"made": 12})
    went_on = [next(of_two) for _ in range(3)]
    assert sum((batch.names for batch in went_on), ()) == sum((batch.names for batch in more), ())
    assert torch.equal(*(torch.cat([b.references for b in some]) for some in (went_on, more)))
    odd = stream(5)
    odd.load_state_dict({"made": 12})  # which is no whole number of its batches
    assert next(odd).names == sum((batch.names for batch in more), ())[:5]
    others = [next(stream_) for stream_ in [stream(3, batches="other")] for _ in range(4)]
    assert not any(
        torch.equal(a.references, b.references) for a, b in zip(others, twelve, strict=True)
    )


def test_a_fork_sees_what_its_parent_would_have_seen_next_in_batches_of_any_size(
    tiny, mixtures, parent, tmp_path, monkeypatch
):
    seen = names_in(monkeypatch, "train_step", "discriminators_step")

    def steps(name, run, start=None):
        for names in seen.values():
            names.clear()
        train(run, mixtures, tmp_path / name, start=start)
        return sum(seen["train_step"], ())

    longer = steps("longer", tiny("pit", *USUAL, "training.steps=12"))[8:]
    assert steps("control", fork_of(tiny), parent) == longer[:8]
    assert steps("wide", fork_of(tiny, "training.batch_size=4"), parent) == longer
    assert steps("warmed", fork_of(tiny, experiment=WARMED), parent) == longer[:8]
    assert len(seen["discriminators_step"]) == 3
    own = sum(seen["discriminators_step"], ())
    assert own != longer[:6]  # batches of a generator of its own
    assert sorted(steps("aa", fork_of(tiny, experiment="fork-pit-aa"), parent)) != sorted(
        longer[:8]
    )


def test_in_a_warm_up_discriminators_train_alone(tiny, mixtures, parent, tmp_path, monkeypatch):
    before, after = [], []
    usual = training.discriminators_step

    def watched(state, batch):
        before.append((weights(state.result), weights(state.discriminators["ctx-stft-i3-m"])))
        done = usual(state, batch)
        after.append((weights(state.result), weights(state.discriminators["ctx-stft-i3-m"])))
        assert same(state.optimiser.state_dict()["state"][0], end["optimiser"]["state"][0])
        return done

    end = read_end(parent)["state"]
    monkeypatch.setattr(training, "discriminators_step", watched)
    train(fork_of(tiny, experiment=WARMED), mixtures, tmp_path / "fork", start=parent)
    assert len(before) == 3
    for (separator, judge), (then, judge_then) in zip(before, after, strict=True):
        assert same(separator, then)
        assert not same(judge, judge_then)
    assert pd.read_csv(tmp_path / "fork" / "history.csv")["step"].tolist() == [1, 2, 3, 4]
    assert json.loads((tmp_path / "fork" / "record.json").read_text())["steps"] == 4


@pytest.fixture(scope="module")
def whole(tiny, mixtures, parent, tmp_path_factory):
    """A fork that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    train(fork_of(tiny, experiment=WARMED), mixtures, folder, start=parent)
    return folder


@pytest.mark.parametrize(
    ("function", "call"), [("discriminators_step", 1), ("discriminators_step", 3),
                           ("train_step", 1), ("train_step", 3)]
)  # fmt: skip
def test_an_interrupted_fork_goes_on_to_the_same_bits(
    tiny, mixtures, parent, whole, tmp_path, monkeypatch, function, call
):
    run, calls, usual = fork_of(tiny, experiment=WARMED), [], getattr(training, function)

    def signalled(state, batch):
        calls.append(batch)
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGTERM)
        return usual(state, batch)

    with monkeypatch.context() as context:
        context.setattr(training, function, signalled)
        with pytest.raises(Interrupted, match="the same command goes on"):
            train(run, mixtures, tmp_path / "run", start=parent)
    moved = shutil.copytree(parent, tmp_path / "pit")  # whose last checkpoint is needed no more
    train(run, mixtures, tmp_path / "run", start=moved)
    same_bits(tmp_path / "run", whole)


def test_a_killed_fork_goes_on_to_the_same_bits(
    tiny, mixtures, parent, whole, tmp_path, monkeypatch
):
    class Killed(BaseException):
        pass

    run = fork_of(tiny, experiment=WARMED)
    for function, moment in (("discriminators_step", 2), ("train_step", 1), ("train_step", 2)):
        usual, calls = getattr(training, function), []

        def killed(state, batch, usual=usual, calls=calls, moment=moment):
            calls.append(batch)
            if len(calls) == moment:
                raise Killed
            return usual(state, batch)

        with monkeypatch.context() as context:
            context.setattr(training, function, killed)
            with pytest.raises(Killed):
                train(run, mixtures, tmp_path / "run", start=parent, checkpoint_seconds=0)
    train(run, mixtures, tmp_path / "run", start=parent)
    same_bits(tmp_path / "run", whole)


def test_what_no_fork_can_start_from_is_refused(tiny, mixtures, parent, tmp_path):
    def refused(said, run, start):
        with pytest.raises(UserError, match=said):
            train(run, mixtures, tmp_path / "run", start=start)

    fork = fork_of(tiny)
    refused(r"fork-pit-s0 starts from the end of pit-s0: give that run \(--start\)", fork, None)
    refused("start_from is not set, so --start has no meaning", tiny("pit"), parent)
    refused("nowhere: holds no record.json", fork, tmp_path / "nowhere")
    refused(
        "pit: seed is not that of pit-s1, from which fork-pit-s1", tiny("fork-pit", seed=1), parent
    )
    wide = tiny("fork-pit", "separator.unet.channels=[8, 16]")
    refused("pit: separator is not that of pit-s0, from which fork-pit-s0 starts", wide, parent)
    alone = shutil.copytree(parent, tmp_path / "pit")
    refused("last checkpoint is not here .*pit.end.pt, or in .*pit.work", fork, alone)
    kept = next(parent.with_name("pit.work").glob("*.pt"))
    apart = tmp_path / "pit.end.pt"
    apart.write_bytes(kept.read_bytes()[:-1])
    refused(r"pit\.end\.pt: cannot be read \(its checksum is wrong\)", fork, alone)
    shutil.copy(kept, apart)
    train(fork, mixtures, tmp_path / "run", start=alone)
    assert np.isfinite(pd.read_csv(tmp_path / "run" / "history.csv")["loss/pit"]).all()


def test_a_run_that_is_not_finished_is_no_start(tiny, mixtures, parent, tmp_path, monkeypatch):
    shutil.copytree(parent, tmp_path / "pit")
    usual = training.train_step

    def signalled(state, batch):
        os.kill(os.getpid(), signal.SIGTERM)
        return usual(state, batch)

    monkeypatch.setattr(training, "train_step", signalled)
    with pytest.raises(Interrupted):
        train(tiny("pit", *USUAL), mixtures, tmp_path / "pit")
    with pytest.raises(UserError, match=r"cannot be read \(the run was not finished\)"):
        read_end(tmp_path / "pit")
