import io
import json
import platform

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from steps import CPU, batches_of, same, weights

from apit.data.batches import whole_examples
from apit.data.examples import open_examples
from apit.errors import UserError
from apit.losses.reconstruction import is_silent
from apit.measure import si_snr
from apit.models.separators import Separation
from apit.training.log import Log
from apit.training.record import load_separator
from apit.training.state import TrainState
from apit.training.step import train_step
from apit.training.train import train
from apit.training.validation import validate


def test_validation_takes_all_active_targets_of_mixtures_of_two_or_more(tiny, mixtures):
    run = tiny("pit")
    examples = open_examples(mixtures, "eval", run.audio)

    class FirstSourceIsLost(torch.nn.Module):
        """Gives every target but the first, which it silences: −80 dB, and not counted."""

        precision = "float32"

        def forward(self, mixture):
            batch = next(
                b
                for b in whole_examples(examples, run.training.validation_batch)
                if torch.equal(b.mixture, mixture)
            )
            estimates = batch.references.clone()
            estimates[:, 0] = 0
            return Separation(estimates, torch.empty(0))

    expected = []
    for batch in whole_examples(examples, 1):
        (active,) = ~is_silent(batch.references)
        if active.sum() > 1:
            before = si_snr.si_snr(reference=batch.references[0], estimate=batch.mixture)
            after = torch.tensor([-80.0, 80.0, 80.0, 80.0], dtype=torch.float64)
            expected += (after - before)[active].tolist()
    assert expected
    found = validate(FirstSourceIsLost(), examples, run, CPU)
    mean = sum(expected) / len(expected)
    assert found["validation/si_snri_all"] == pytest.approx(mean, abs=1e-2)
    assert found["validation/si_snr_i"] > mean + 3  # where silence scores 0 dB


@pytest.fixture(scope="module")
def trained(tiny, mixtures, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    train(tiny("ctx-stft-i3-m"), mixtures, folder)
    return folder


def test_the_same_seed_gives_the_same_bytes_and_another_others(trained, tiny, mixtures, tmp_path):
    train(tiny("ctx-stft-i3-m"), mixtures, tmp_path / "again")
    train(tiny("ctx-stft-i3-m", seed=1), mixtures, tmp_path / "other")
    for name in ("model.safetensors", "history.csv"):
        assert (tmp_path / "again" / name).read_bytes() == (trained / name).read_bytes()
        assert (tmp_path / "other" / name).read_bytes() != (trained / name).read_bytes()


def test_a_run_leaves_weights_history_and_record(trained, tiny):
    record = json.loads((trained / "record.json").read_text())
    assert record["run"] == json.loads(tiny("ctx-stft-i3-m").model_dump_json())
    assert record["steps"] == 4
    assert record["threads"] == 1
    assert record["hardware"]["host"] == platform.node()
    for key in ("commit", "versions", "hardware", "training_seconds", "date", "networks"):
        assert record[key]
    history = pd.read_csv(trained / "history.csv")
    for column in (
        "loss/adversarial",
        "loss/total",
        "loss/separator/ctx-stft-i3-m",
        "loss/discriminator/ctx-stft-i3-m",
        "gradient/separator",
        "gradient/discriminator/ctx-stft-i3-m",
        "accuracy/ctx-stft-i3-m/real",
        "gradient/outputs/adversarial",
        "shortcut/stft",
    ):
        assert history[column].notna().all()
    best = history["validation/si_snri_all"].idxmax()
    assert record["best_step"] == history["step"][best]
    run, separator = load_separator(trained)
    assert run == tiny("ctx-stft-i3-m")
    assert same(load_file(trained / "model.safetensors"), weights(separator))


def test_a_diverging_run_says_where_and_leaves_nothing(tiny, mixtures, tmp_path):
    settings = ("learning_rate=1e38", "skip_at_most=1", "validate_every=4")
    run = tiny("pit", *(f"training.{setting}" for setting in settings))
    said = r"step 3 is number 2 in a row whose loss or gradient is not finite \(loss/pit is nan"
    with pytest.raises(UserError, match=said + ".*on the examples example"):
        train(run, mixtures, tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_your_own_loss_trains(tiny, mixtures, tmp_path, monkeypatch):
    (tmp_path / "my_losses.py").write_text(
        "def mean_absolute_error(estimates, references, mixture):\n"
        "    return (estimates - references).abs().mean(-1)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    run = tiny("pit", "experiment.reconstruction=my_losses:mean_absolute_error")
    train(run, mixtures, tmp_path / "run")
    history = pd.read_csv(tmp_path / "run" / "history.csv")
    assert history["loss/pit"].between(0, 1).all()


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_shows_loss_msi_and_time_left(tiny, monkeypatch, tmp_path):
    monkeypatch.setattr("sys.stderr", Terminal())
    monkeypatch.setenv("COLUMNS", "0")  # as in containers: the width is not known
    state = TrainState(tiny("pit"), CPU)
    log = Log(state, tmp_path, 4, quiet=False)
    for step in range(1, 4):
        state.progress.step, state.progress.spent = step, 0.5 * step
        log.row({"step": step, "loss/total": -3.25, "validation/si_snri_all": 1.5})
        log.step()
    log.close()
    last = log.bar.fp.getvalue().split("\r")[-1]
    assert "pit-s0:  75%" in last
    assert "loss -3.25, MSi(all) +1.50 dB" in last
    assert "<00:0" in last  # time left


def test_the_history_is_on_disk_while_a_run_goes_on(tiny, mixtures, tmp_path, monkeypatch):
    seen = []
    usual = Log.row

    def watched(self, row):
        usual(self, row)
        seen.append(pd.read_csv(self.folder / "history.csv")["step"].tolist())

    monkeypatch.setattr(Log, "row", watched)
    train(tiny("ctx-wave-i3-m"), mixtures, tmp_path / "run", work=tmp_path / "work")
    assert seen == [[1], [1, 2], [1, 2, 3], [1, 2, 3, 4]]


def test_averaged_weights_are_the_exponential_average_and_what_is_kept(tiny, mixtures, tmp_path):
    run = tiny("pit", "training.ema_decay=0.75")
    state = TrainState(run, CPU)
    first, second, third = batches_of(run, mixtures, 3)
    train_step(state, first)
    expected = weights(state.separator)  # the average starts with the first step
    for batch in (second, third):
        train_step(state, batch)
        now = weights(state.separator)
        expected = {name: 0.75 * expected[name] + 0.25 * now[name] for name in now}
    for name, weight in weights(state.result).items():
        torch.testing.assert_close(weight, expected[name])
    assert not same(weights(state.result), weights(state.separator))
    train(run, mixtures, tmp_path / "run")
    load_separator(tmp_path / "run")


def test_curves_lie_beside_the_checkpoints_for_tensorboard(tiny, mixtures, tmp_path):
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train(tiny("pit-ctx-wave"), mixtures, tmp_path / "run", work=tmp_path / "work")
    found = accumulators.EventAccumulator(str(tmp_path / "work"))
    found.Reload()
    curves = found.Tags()["scalars"]
    for name in ("loss/pit", "weight/pit", "accuracy/ctx-wave-i3-m/fake", "shortcut/wave",
                 "gradient/outputs/adversarial", "validation/si_snr_i"):  # fmt: skip
        assert name in curves
    history = pd.read_csv(tmp_path / "run" / "history.csv")
    logged = [event.value for event in found.Scalars("loss/pit")]
    assert logged == pytest.approx(history["loss/pit"].tolist(), rel=1e-5)
