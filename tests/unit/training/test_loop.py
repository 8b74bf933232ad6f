import io
import json
import platform

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from apit.data.batches import Batch, whole_examples
from apit.data.examples import open_examples
from apit.data.remixing import training_batches
from apit.errors import UserError
from apit.layers import experiment_names, load_run, scale_names
from apit.losses.adversarial import OBJECTIVES
from apit.losses.reconstruction import is_silent
from apit.measure.si_snr import si_snr
from apit.models.separators import Separation
from apit.training.loop import Course, Progress, train, validate
from apit.training.record import load_separator
from apit.training.step import Step, Training
from apit.training.team import Team

CPU = Team(torch.device("cpu"))


def batches_of(run, mixtures, count=2):
    stream = training_batches(run, open_examples(mixtures, "train", run.audio), None, CPU.device)
    return [next(stream) for _ in range(count)]


def weights(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


@pytest.mark.parametrize("experiment", experiment_names())
def test_every_ablation_starts_alike_sees_the_same_batches_and_takes_a_step(
    tiny, mixtures, experiment
):
    plain, run = tiny("pit"), tiny(experiment)
    training = Training(run, CPU)
    assert same(weights(training.separator), weights(Training(plain, CPU).separator))
    for one, other in zip(batches_of(run, mixtures), batches_of(plain, mixtures), strict=True):
        assert torch.equal(one.references, other.references)
        assert one.names == other.names
    before = weights(training.separator)
    step = training.step(batches_of(run, mixtures)[0])
    assert all(torch.isfinite(term) for term in step.terms.values())
    assert not same(before, weights(training.separator))
    for name, discriminator in training.discriminators.items():
        key = f"loss/discriminator/{name}"
        assert (key in step.terms) != discriminator.config.frozen
    assert f"{run.experiment}-s0" == run.name


@pytest.mark.parametrize("scale", scale_names())
@pytest.mark.parametrize("experiment", experiment_names())
def test_every_shipped_configuration_resolves_and_builds(scale, experiment):
    run = load_run(scale, experiment, 0)
    with torch.device("meta"):
        training = Training(run, Team(torch.device("meta")))
    assert list(training.discriminators) == [d.name for d in run.discriminators]


@pytest.mark.parametrize("scale", ["smoke", "mini"])
@pytest.mark.parametrize("experiment", experiment_names())
def test_every_ablation_takes_a_step_at_the_shipped_scales(scale, experiment, generator):
    run = load_run(scale, experiment, 0)
    samples = round(run.training.crop_seconds * run.audio.sample_rate)
    references = torch.randn(1, 4, samples, generator=generator)
    step = Training(run, CPU).step(Batch(references, ("a",)))
    assert all(torch.isfinite(term) for term in step.terms.values())


def test_the_separators_step_leaves_discriminators_untouched_and_the_reverse(tiny, mixtures):
    training = Training(tiny("multi-all-i1"), CPU)
    (batch,) = batches_of(training.run, mixtures, 1)
    fakes = training._fakes(batch, training._ranks(len(batch.references)))
    separator = weights(training.separator)
    training._update_discriminators([fakes], Step(batch))
    assert same(separator, weights(training.separator))
    assert all(w.grad is None for w in training.separator.parameters())
    gradients = {
        name: [w.grad.clone() for w in d.parameters()]
        for name, d in training.discriminators.items()
    }
    training._update_discriminators = lambda fakes, done: None
    before = {name: weights(d) for name, d in training.discriminators.items()}
    training.step(batch)
    assert not same(separator, weights(training.separator))
    for name, discriminator in training.discriminators.items():
        assert same(before[name], weights(discriminator))
        for kept, weight in zip(gradients[name], discriminator.parameters(), strict=True):
            assert torch.equal(kept, weight.grad)
            assert weight.requires_grad


def test_the_loss_is_pit_plus_weighted_terms_and_lambda_is_shared_out(tiny, mixtures):
    run = tiny("multi-ctx-i1", "adversary.weight=0.9")
    assert [run.weight(d) for d in run.discriminators] == pytest.approx([0.3] * 3)
    training = Training(run, CPU)
    step = training.step(batches_of(run, mixtures)[0])
    expected = step.terms["loss/pit"] + 0.3 * sum(
        step.terms[f"loss/separator/{d.name}"] for d in run.discriminators
    )
    torch.testing.assert_close(step.terms["loss/total"], expected)


def test_discriminators_are_trained_on_the_separators_own_fakes(tiny, mixtures):
    run = tiny("ctx-stft-i1")
    training = Training(run, CPU)
    separations = []
    training.separator.register_forward_hook(lambda *call: separations.append(call[2]))
    step = training.step(batches_of(run, mixtures)[0])
    assert len(separations) == 1
    fresh = Training(run, CPU).discriminators["ctx-stft-i1"]
    hinge = OBJECTIVES["hinge"]
    loss = hinge.discriminator_loss(step.judged.real(fresh), step.judged.fake(fresh))
    torch.testing.assert_close(loss, step.terms["loss/discriminator/ctx-stft-i1"])


def test_fake_masks_may_be_the_networks_own(tiny, mixtures):
    run = tiny("ctx-mask-i1", "adversary.fake_masks=network", "separator.masks=sigmoid")
    step = Training(run, CPU).step(batches_of(run, mixtures)[0])
    ratios, own = step.judged.references.view("mask"), step.judged.fakes[1].view("mask")
    replaced = (ratios == own).all((-2, -1))
    assert (replaced.sum(1) >= 1).all()
    assert not torch.allclose(own.sum(1), ratios.sum(1), atol=0.1)  # sigmoids do not sum to one


def test_fakes_are_sorted_to_the_ground_truth_and_then_partly_replaced(tiny, generator):
    training = Training(tiny("ctx-wave-i1"), CPU)
    references = torch.randn(8, 4, 3200, generator=generator)
    error = 0.1 * torch.randn(8, 4, 3200, generator=generator).requires_grad_()
    training.separator.forward = lambda mixture: Separation(
        (references + error)[:, [2, 0, 3, 1]], torch.ones(8, 4, 129, 26)
    )
    step = training.step(Batch(references, tuple("abcdefgh")))
    rms = references.sum(1).square().mean(-1).sqrt()[:, None, None]
    aligned = (references + error) / rms
    torch.testing.assert_close(step.judged.fakes[0].view("wave"), aligned)
    mixed = step.judged.fakes[1].view("wave")
    real = (mixed == references / rms).all(-1)
    assert (real.sum(1) == 1).all()
    torch.testing.assert_close(mixed[~real], aligned[~real])
    assert torch.equal(step.judged.references.view("wave"), references / rms)


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
            before = si_snr(reference=batch.references[0], estimate=batch.mixture)
            after = torch.tensor([-80.0, 80.0, 80.0, 80.0], dtype=torch.float64)
            expected += (after - before)[active].tolist()
    assert expected
    found = validate(FirstSourceIsLost(), examples, run, CPU)
    assert found == pytest.approx(sum(expected) / len(expected), abs=1e-2)


def test_a_frozen_discriminator_never_moves(tiny, mixtures):
    training = Training(tiny("frozen-ctx-stft-i1"), CPU)
    (discriminator,) = training.discriminators.values()
    before = weights(discriminator)
    for batch in batches_of(training.run, mixtures):
        training.step(batch)
    assert same(before, weights(discriminator))


def test_accuracies_stand_apart_for_full_and_for_fewer_sources(tiny, mixtures):
    training = Training(tiny("ctx-stft-i1"), CPU)
    (discriminator,) = training.discriminators.values()
    with torch.no_grad():
        discriminator.layers[-1].weight.zero_()
        discriminator.layers[-1].bias.fill_(1)  # calls everything real
    references = torch.randn(3, 4, 3200)
    references[0, 2:] = 0
    step = training.step(Batch(references, ("a", "b", "c")))
    with torch.no_grad():
        discriminator.layers[-1].weight.zero_()
        discriminator.layers[-1].bias.fill_(1)
    found = training.accuracies(step)
    assert found == {
        f"accuracy/ctx-stft-i1/{kind}/{group}": float(kind == "real")
        for kind in ("real", "fake", "replaced")
        for group in ("full", "fewer")
    }


@pytest.fixture(scope="module")
def trained(tiny, mixtures, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    train(tiny("ctx-stft-i1"), mixtures, folder)
    return folder


def test_the_same_seed_gives_the_same_bytes_and_another_others(trained, tiny, mixtures, tmp_path):
    train(tiny("ctx-stft-i1"), mixtures, tmp_path / "again")
    train(tiny("ctx-stft-i1", seed=1), mixtures, tmp_path / "other")
    for name in ("model.safetensors", "history.csv"):
        assert (tmp_path / "again" / name).read_bytes() == (trained / name).read_bytes()
        assert (tmp_path / "other" / name).read_bytes() != (trained / name).read_bytes()


def test_a_run_leaves_weights_history_and_record(trained, tiny):
    record = json.loads((trained / "record.json").read_text())
    assert record["run"] == json.loads(tiny("ctx-stft-i1").model_dump_json())
    assert record["steps"] == 4
    assert record["threads"] == 1
    assert record["hardware"]["host"] == platform.node()
    for key in ("commit", "versions", "hardware", "training_seconds", "date", "networks"):
        assert record[key]
    history = pd.read_csv(trained / "history.csv")
    for column in (
        "loss/pit",
        "loss/total",
        "loss/separator/ctx-stft-i1",
        "loss/discriminator/ctx-stft-i1",
        "gradient/separator",
        "gradient/discriminator/ctx-stft-i1",
    ):
        assert history[column].notna().all()
    best = history["validation/si_snri_all"].idxmax()
    assert record["best_step"] == history["step"][best]
    run, separator = load_separator(trained)
    assert run == tiny("ctx-stft-i1")
    assert same(load_file(trained / "model.safetensors"), weights(separator))


def test_pit_long_gets_the_time_of_its_model(tiny, mixtures, tmp_path, trained):
    model = tmp_path / "model"
    model.mkdir()
    record = json.loads((trained / "record.json").read_text()) | {"training_seconds": 0.3}
    (model / "record.json").write_text(json.dumps(record))
    train(tiny("pit-long"), mixtures, tmp_path / "long", match=model)
    record = json.loads((tmp_path / "long" / "record.json").read_text())
    assert record["training_seconds"] >= 0.3
    assert record["steps"] > 4


@pytest.mark.parametrize("architecture", ["tdcnpp", "unet"])
def test_each_separator_learns_one_batch_by_heart(tiny, mixtures, architecture):
    run = tiny(
        "pit",
        "training.learning_rate=3e-3",
        f"separator.architecture={architecture}",
        "separator.tdcnpp={bottleneck: 24, channels: 32}",
        "separator.unet={channels: [8, 16], recurrent: 16}",
    )
    training = Training(run, CPU)
    (batch,) = batches_of(run, mixtures, 1)
    losses = [training.step(batch).terms["loss/pit"].item() for _ in range(100)]
    assert sum(losses[-5:]) / 5 < losses[0] - 8  # dB


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


@pytest.mark.parametrize("seconds", [None, 2.0])
def test_a_terminal_shows_loss_msi_and_time_left(tiny, monkeypatch, seconds):
    monkeypatch.setattr("sys.stderr", Terminal())
    monkeypatch.setenv("COLUMNS", "0")  # as in containers: the width is not known
    progress = Progress(tiny("pit"), Course(seconds=seconds))
    for step in range(1, 4):
        row = {"step": step, "loss/total": -3.25, "validation/si_snri_all": 1.5}
        progress.show(Course(step=step, spent=0.5 * step, seconds=seconds, history=[row]))
    progress.close()
    last = progress.bar.fp.getvalue().split("\r")[-1]
    assert "pit-s0:  75%" in last
    assert "loss -3.25, MSi(all) +1.50 dB" in last
    assert "<00:0" in last  # time left


def stepped(run, batch):
    """Logged terms and weights after one step."""
    training = Training(run, CPU)
    step = training.step(batch)
    return {k: v.item() for k, v in step.terms.items()}, weights(training.separator)


@pytest.mark.parametrize("experiment", ["pit", "multi-all-i1"])
def test_a_batch_in_parts_gives_the_step_of_the_whole(tiny, mixtures, experiment):
    whole = tiny(experiment, "training.batch_size=4")
    (batch,) = batches_of(whole, mixtures, 1)
    expected, weights_of_whole = stepped(whole, batch)
    parts = tiny(experiment, "training.batch_size=4", "training.accumulate=2")
    found, weights_of_parts = stepped(parts, batch)
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-5)
    for name, weight in weights_of_whole.items():
        torch.testing.assert_close(weights_of_parts[name], weight, atol=2e-5, rtol=1e-3)
    with pytest.raises(UserError, match="3 parts of a batch of 4 are not whole"):
        tiny(experiment, "training.batch_size=4", "training.accumulate=3")


@pytest.mark.parametrize(
    ("setting", "tolerance"),
    [
        ("training.recompute=true", 1e-5),
        ("training.precision=bfloat16", 1e-2),
        pytest.param("training.compile=true", 1e-5, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("architecture", ["tdcnpp", "unet"])
def test_what_saves_time_or_memory_changes_the_loss_by_no_more_than_its_bound(
    tiny, mixtures, setting, tolerance, architecture
):
    chosen = f"separator.architecture={architecture}"
    (batch,) = batches_of(tiny("ctx-stft-i1"), mixtures, 1)
    expected, before = stepped(tiny("ctx-stft-i1", chosen), batch)
    found, after = stepped(tiny("ctx-stft-i1", chosen, setting), batch)
    assert before.keys() == after.keys()  # the weights keep their names
    for name in ("loss/pit", "loss/total"):
        assert found[name] == pytest.approx(expected[name], rel=tolerance)
    gradient = "gradient/separator"
    if "bfloat16" not in setting:  # whose gradients are only as good as its products
        assert found[gradient] == pytest.approx(expected[gradient], rel=1e-3)
    for name, weight in before.items():  # Adam's first step is of the learning rate, 5e-4
        torch.testing.assert_close(after[name], weight, atol=1.1e-3, rtol=0)


def test_averaged_weights_are_the_exponential_average_and_what_is_kept(tiny, mixtures, tmp_path):
    run = tiny("pit", "training.average_decay=0.75")
    training = Training(run, CPU)
    first, second, third = batches_of(run, mixtures, 3)
    training.step(first)
    expected = weights(training.separator)  # the average starts with the first step
    for batch in (second, third):
        training.step(batch)
        now = weights(training.separator)
        expected = {name: 0.75 * expected[name] + 0.25 * now[name] for name in now}
    for name, weight in weights(training.result).items():
        torch.testing.assert_close(weight, expected[name])
    assert not same(weights(training.result), weights(training.separator))
    train(run, mixtures, tmp_path / "run")
    load_separator(tmp_path / "run")
