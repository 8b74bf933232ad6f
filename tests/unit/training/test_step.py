import gc
import weakref

import pytest
import torch
from steps import CPU, batches_of, same, weights

from apit.data.batches import Batch
from apit.errors import UserError
from apit.layers import experiment_names, load_run, scale_names
from apit.losses.adversarial import discriminator_loss, separator_loss
from apit.losses.permutation import absolute_distances, assign, reorder
from apit.losses.reconstruction import best_permutation, pit_loss
from apit.training.state import TrainState
from apit.training.step import Part, Step, draw, pit_weight, shortcuts, total, train_step
from apit.training.world import World


@pytest.mark.parametrize("experiment", experiment_names())
def test_every_ablation_starts_alike_sees_the_same_batches_and_takes_a_step(
    tiny, mixtures, experiment
):
    plain, run = tiny("pit"), tiny(experiment)
    state = TrainState(run, CPU)
    if run.separator == plain.separator:
        assert same(weights(state.separator), weights(TrainState(plain, CPU).separator))
    for one, other in zip(batches_of(run, mixtures), batches_of(plain, mixtures), strict=True):
        is_same = torch.equal(one.references, other.references) and one.names == other.names
        assert is_same == (experiment != "fork-pit-aa")  # which is to see others
    before = weights(state.separator)
    step = train_step(state, batches_of(run, mixtures)[0])
    assert all(torch.isfinite(term) for term in step.terms.values())
    assert not same(before, weights(state.separator))
    for name, discriminator in state.discriminators.items():
        key = f"loss/discriminator/{name}"
        assert (key in step.terms) != discriminator.config.frozen
    assert ("loss/pit" in step.terms) == (run.reconstruction != "none")
    assert f"{run.experiment}-s0" == run.name


def test_the_same_mixtures_come_in_the_same_order_whatever_the_batch(tiny, mixtures):
    names = {}
    for size in (2, 3, 4):
        stream = batches_of(tiny("pit", f"training.batch_size={size}"), mixtures, 12 // size)
        names[size] = [name for batch in stream for name in batch.names]
    assert names[2] == names[3] == names[4]
    crops = []
    for size in (2, 4):
        run = tiny("pit", f"training.batch_size={size}", "training.crop_seconds=0.3")
        stream = batches_of(run, mixtures, 12 // size)
        crops.append(torch.cat([batch.references for batch in stream]))
    assert torch.equal(*crops)


@pytest.mark.parametrize("scale", scale_names())
@pytest.mark.parametrize("experiment", experiment_names())
def test_every_shipped_configuration_resolves_and_builds(scale, experiment):
    run = load_run(scale, experiment, 0)
    with torch.device("meta"):
        state = TrainState(run, World(torch.device("meta")))
    assert list(state.discriminators) == [d.name for d in run.discriminators]


@pytest.mark.parametrize("experiment", experiment_names())
def test_every_ablation_takes_a_step_at_the_shipped_scales(experiment, generator):
    run = load_run("smoke", experiment, 0)
    samples = round(run.training.crop_seconds * run.audio.sample_rate)
    references = torch.randn(1, 4, samples, generator=generator)
    step = train_step(TrainState(run, CPU), Batch(references, ("a",)))
    assert all(torch.isfinite(term) for term in step.terms.values())


def part_of(state, batch):
    ranks, shift = draw(state, len(batch.references))
    return Part(state, batch, ranks, shift)


def test_the_separators_update_leaves_discriminators_untouched_and_the_reverse(tiny, mixtures):
    frozen = tiny("six", "training.learning_rate=1e-30")
    state = TrainState(frozen, CPU)
    (batch,) = batches_of(frozen, mixtures, 1)
    before = {name: weights(d) for name, d in state.discriminators.items()}
    fresh = TrainState(frozen, CPU).discriminators
    part = part_of(TrainState(frozen, CPU), batch)
    expected = {}
    for name, discriminator in fresh.items():
        view = part.view(discriminator.config.domain)
        loss = discriminator_loss(
            discriminator(view.mixture, view.real),
            discriminator(view.mixture, part.fake(discriminator).detach()),
        )
        expected[name] = torch.autograd.grad(loss, list(discriminator.parameters()))
    step = train_step(state, batch)
    for name, discriminator in state.discriminators.items():
        assert not same(before[name], weights(discriminator))
        norm = torch.stack([g.square().sum() for g in expected[name]]).sum().sqrt()
        torch.testing.assert_close(step.terms[f"gradient/discriminator/{name}"], norm)
        clip = min(1.0, frozen.training.grad_clip / norm.item())
        for weight, gradient in zip(discriminator.parameters(), expected[name], strict=True):
            torch.testing.assert_close(weight.grad, clip * gradient, atol=1e-6, rtol=1e-4)
            assert weight.requires_grad


def test_l_sep_is_the_unweighted_sum_and_instances_are_averaged_over_slots(tiny, mixtures):
    run = tiny("six", "training.learning_rate=1e-30", *(
        f"adversary.{domain}.learning_rate=1e-30" for domain in ("wave", "stft", "mask")
    ))  # fmt: skip
    (batch,) = batches_of(run, mixtures, 1)
    step = train_step(TrainState(run, CPU), batch)
    part = part_of(state := TrainState(run, CPU), batch)
    terms = {}
    for name, discriminator in state.discriminators.items():
        view = part.view(discriminator.config.domain)
        judged = discriminator(view.mixture, part.fake(discriminator))
        assert judged.shape == (2, 4 if name.startswith("inst") else 1)
        terms[name] = separator_loss(judged)
        torch.testing.assert_close(step.terms[f"loss/separator/{name}"], terms[name])
    torch.testing.assert_close(step.terms["loss/adversarial"], sum(terms.values()))
    torch.testing.assert_close(step.terms["loss/total"], sum(terms.values()))
    weighted = tiny("ctx-wave-i1", "experiment.discriminators=[{kind: context, domain: wave, "
                    "replace: 1, weight: 3.0}]")  # fmt: skip
    terms = train_step(TrainState(weighted, CPU), batch).terms
    torch.testing.assert_close(terms["loss/adversarial"], 3 * terms["loss/separator/ctx-wave-i1"])


@pytest.mark.parametrize("domain", ["wave", "stft", "mask"])
def test_p_star_is_that_of_the_domain(tiny, mixtures, domain):
    run = tiny(f"ctx-{domain}-i1", "training.batch_size=8")
    state = TrainState(run, CPU)
    (batch,) = batches_of(run, mixtures, 1)
    part = part_of(state, batch)
    view = part.view(domain)
    if domain == "wave":
        expected = best_permutation(
            state.reconstruction, part.estimates(), batch.references, batch.mixture
        )
    else:
        expected = assign(absolute_distances(view.fake, view.real))
    assert torch.equal(part.permutation(domain), expected)
    fake = part.fake(state.discriminators[f"ctx-{domain}-i1"])
    aligned = reorder(view.fake, expected)
    real = (fake == view.real).flatten(2).all(-1)
    assert (real.sum(1) >= 1).all()
    assert ((fake == aligned).flatten(2).all(-1) | real).all()


def test_the_domains_may_disagree_on_p_star(tiny):
    """One loud and one soft source: masks count soft bins, magnitudes loud ones."""
    run = tiny("six", "training.batch_size=1")
    generator = torch.Generator().manual_seed(3)
    found = set()
    for _ in range(40):
        references = torch.randn(1, 4, 4000, generator=generator)
        references *= torch.tensor([1.0, 0.3, 0.1, 0.03])[:, None]
        part = part_of(TrainState(run, CPU), Batch(references, ("a",)))
        noise = 3 * torch.randn(part.outputs[0].shape, generator=generator)
        made = Part(part.state, part.batch, part.ranks, ends=(noise.requires_grad_(),))
        orders = {d: tuple(made.permutation(d)[0].tolist()) for d in ("wave", "stft", "mask")}
        found.add(len(set(orders.values())))
    assert 3 in found


def test_no_gradient_of_l_pit_reaches_a_purely_adversarial_step(tiny, mixtures, monkeypatch):
    run = tiny("ctx-wave-i3-m")
    (batch,) = batches_of(run, mixtures, 1)
    monkeypatch.setattr("apit.training.step.pit_loss", None)  # is never called
    step = train_step(TrainState(run, CPU), batch)
    assert not [name for name in step.terms if "pit" in name]
    assert torch.equal(step.terms["loss/total"], step.terms["loss/separator/ctx-wave-i3-m"])


@pytest.mark.parametrize(("replace", "reaches"), [(0, False), (3, True)])
def test_with_i_0_targets_reach_the_separator_through_p_star_alone(
    tiny, mixtures, replace, reaches
):
    """Other targets of the same mixture and P*: with I = 0 the gradient stays, with I = 3 not."""
    run = tiny(f"ctx-wave-i{replace}-m", "adversary.wave.learning_rate=1e-30")
    (batch,) = batches_of(run, mixtures, 1)

    def gradient(references):
        state = TrainState(run, CPU)
        part = part_of(state, Batch(references, batch.names))
        part.permutation = lambda domain: torch.arange(4).expand(2, 4)
        (discriminator,) = state.discriminators.values()
        view = part.view("wave")
        loss = separator_loss(discriminator(view.mixture, part.fake(discriminator)))
        return part.gradient(loss)[0]

    shifted = batch.references.clone()
    shifted[:, 0] += 0.1 * batch.references[:, 1]
    shifted[:, 1] -= 0.1 * batch.references[:, 1]
    same_gradient = torch.allclose(gradient(batch.references), gradient(shifted), atol=1e-9)
    assert same_gradient != reaches


def test_without_decay_both_gradients_are_of_one_norm(tiny, mixtures):
    run = tiny("pit-ctx-wave", "adversary.balance_decay=0.0")
    state = TrainState(run, CPU)
    for batch in batches_of(run, mixtures, 3):
        terms = train_step(state, batch).terms
        pulls = terms["weight/pit"] * terms["gradient/outputs/pit"]
        torch.testing.assert_close(pulls, terms["gradient/outputs/adversarial"], rtol=0.01, atol=0)
        expected = terms["loss/adversarial"] + terms["weight/pit"] * terms["loss/pit"]
        torch.testing.assert_close(terms["loss/total"], expected)


def test_a_fixed_weight_is_taken_as_it_is_and_zero_or_less_refused(tiny, mixtures):
    run = tiny("pit-ctx-wave", "adversary.pit_weight=0.25")
    terms = train_step(TrainState(run, CPU), batches_of(run, mixtures)[0]).terms
    assert terms["weight/pit"] == 0.25
    for wrong in ("0", "-1", "none"):
        with pytest.raises(UserError, match=r"adversary\.pit_weight"):
            tiny("pit-ctx-wave", f"adversary.pit_weight={wrong}")


def test_the_total_gradient_is_that_of_the_total_loss(tiny, mixtures):
    run = tiny("pit-ctx-wave", "adversary.pit_weight=0.25")
    (batch,) = batches_of(run, mixtures, 1)
    state = TrainState(run, CPU)
    part = part_of(state, batch)
    (discriminator,) = state.discriminators.values()
    view = part.view("wave")
    adversarial = separator_loss(discriminator(view.mixture, part.fake(discriminator)))
    pit = pit_loss(
        state.reconstruction, part.estimates(), batch.references, batch.mixture,
        part.permutation("wave"),
    )  # fmt: skip
    expected = part.gradient(adversarial + 0.25 * pit)[0]
    found = total(part.gradient(adversarial), part.gradient(pit), 0.25)[0]
    torch.testing.assert_close(found, expected)
    assert pit_weight(state, [part.gradient(adversarial)], [part.gradient(pit)], Step()) == 0.25


def test_a_frozen_discriminator_never_moves(tiny, mixtures):
    state = TrainState(tiny("pit-random"), CPU)
    before = {name: weights(d) for name, d in state.discriminators.items()}
    assert len(before) == 6
    for batch in batches_of(state.run, mixtures):
        terms = train_step(state, batch).terms
        assert terms["weight/pit"] > 0
    assert all(same(before[n], weights(d)) for n, d in state.discriminators.items())


def test_discriminators_of_each_domain_have_rates_of_their_own(tiny):
    run = tiny("six", "adversary.wave.learning_rate=1e-3", "adversary.stft.betas=[0.1, 0.2]")
    groups = TrainState(run, CPU).discriminator_optimiser.param_groups
    assert [g["lr"] for g in groups] == [1e-3, 2e-4, 2e-4] * 2
    assert [tuple(g["betas"]) for g in groups] == [(0.5, 0.9), (0.1, 0.2), (0.5, 0.9)] * 2


def test_accuracies_are_of_the_very_sets_that_were_judged(tiny, mixtures):
    state = TrainState(tiny("ctx-stft-i3-m"), CPU)
    (discriminator,) = state.discriminators.values()
    with torch.no_grad():
        discriminator.layers[-1].weight.zero_()
        discriminator.layers[-1].bias.fill_(0.5)  # calls everything real
    terms = train_step(state, batches_of(state.run, mixtures)[0]).terms
    assert terms["accuracy/ctx-stft-i3-m/real"] == 1
    assert terms["accuracy/ctx-stft-i3-m/fake"] == 0
    torch.testing.assert_close(terms["loss/discriminator/ctx-stft-i3-m"], torch.tensor(0.5 + 1.5))


def test_the_shortcut_is_probed_in_each_domain_that_is_judged(tiny, mixtures):
    state = TrainState(tiny("six"), CPU)
    found = shortcuts(state, batches_of(state.run, mixtures)[0])
    assert found.keys() == {"shortcut/wave", "shortcut/stft", "shortcut/mask"}
    assert all(0 <= value <= 1 for value in found.values())
    assert shortcuts(TrainState(tiny("pit"), CPU), batches_of(state.run, mixtures)[0]) == {}


@pytest.mark.parametrize("architecture", ["tdcnpp", "unet"])
def test_each_separator_learns_one_batch_by_heart(tiny, mixtures, architecture):
    run = tiny(
        "pit",
        "training.learning_rate=3e-3",
        f"separator.architecture={architecture}",
        "separator.tdcnpp={bottleneck: 24, channels: 32}",
        "separator.unet={channels: [32, 32], depth: 2, standardise: true, input_power: 0.33}",
    )
    state = TrainState(run, CPU)
    (batch,) = batches_of(run, mixtures, 1)
    losses = [train_step(state, batch).terms["loss/pit"].item() for _ in range(100)]
    assert sum(losses[-5:]) / 5 < losses[0] - 8  # dB


def stepped(run, batch):
    """Logged terms and weights after one step."""
    state = TrainState(run, CPU)
    step = train_step(state, batch)
    return {k: v.item() for k, v in step.terms.items()}, weights(state.separator)


@pytest.mark.parametrize("experiment", ["pit", "ctx-wave-i3-m", "pit-six"])
def test_a_batch_in_parts_gives_the_step_of_the_whole(tiny, mixtures, experiment):
    whole = tiny(experiment, "training.batch_size=4")
    (batch,) = batches_of(whole, mixtures, 1)
    expected, weights_of_whole = stepped(whole, batch)
    parts = tiny(experiment, "training.batch_size=4", "training.grad_accum_steps=2")
    found, weights_of_parts = stepped(parts, batch)
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-5)
    for name, weight in weights_of_whole.items():
        torch.testing.assert_close(weights_of_parts[name], weight, atol=2e-5, rtol=1e-3)
    with pytest.raises(UserError, match="3 parts of a batch of 4 are not whole"):
        tiny(experiment, "training.batch_size=4", "training.grad_accum_steps=3")


@pytest.mark.parametrize(
    ("architecture", "setting", "tolerance"),
    [
        ("tdcnpp", "training.activation_checkpointing=true", 1e-5),
        ("unet", "training.activation_checkpointing=true", 1e-5),
        ("tdcnpp", "training.precision=bfloat16", 1e-2),
        ("unet", "training.precision=bfloat16", 1e-2),
        pytest.param("unet", "training.compile=true", 1e-5, marks=pytest.mark.slow),
    ],
)
def test_what_saves_time_or_memory_changes_the_loss_by_no_more_than_its_bound(
    tiny, mixtures, architecture, setting, tolerance
):
    chosen = f"separator.architecture={architecture}"
    (batch,) = batches_of(tiny("pit-ctx-stft"), mixtures, 1)
    expected, before = stepped(tiny("pit-ctx-stft", chosen), batch)
    found, after = stepped(tiny("pit-ctx-stft", chosen, setting), batch)
    assert before.keys() == after.keys()  # the weights keep their names
    for name in ("loss/pit", "loss/total"):
        assert found[name] == pytest.approx(expected[name], rel=tolerance)
    gradient = "gradient/separator"
    if "bfloat16" not in setting:  # whose gradients are only as good as its products
        assert found[gradient] == pytest.approx(expected[gradient], rel=1e-3)
    for name, weight in before.items():  # Adam's first step is of the learning rate, 5e-4
        torch.testing.assert_close(after[name], weight, atol=1.1e-3, rtol=0)


def test_a_step_s_spectra_are_freed_with_it(tiny, mixtures, monkeypatch):
    """A reference cycle would keep them until the garbage collector comes by."""
    run = tiny("pit-six")
    state, (batch,) = TrainState(run, CPU), batches_of(run, mixtures, 1)
    kept = []
    usual = Part.back

    def watched(self, gradients):
        kept.extend(weakref.ref(x) for x in (self, self.views, self.view("stft"), self.estimates()))
        usual(self, gradients)

    monkeypatch.setattr(Part, "back", watched)
    gc.disable()
    try:
        train_step(state, batch)
        assert [ref() for ref in kept] == [None] * 4
    finally:
        gc.enable()


def test_spectra_are_not_moved_out_of_sight(tiny):
    with pytest.raises(UserError, match="shift: 32 moves everything out of spectra of 128 bins"):
        TrainState(tiny("six", "adversary.shift=32"), CPU)
