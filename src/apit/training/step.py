"""One step of training: separate → align → fakes → discriminators' update → separator's update."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.checkpoint import checkpoint

from apit.config import Domain
from apit.data.batches import Batch
from apit.losses.adversarial import (
    discriminator_loss,
    rank_slots,
    replaced,
    replaced_positions,
    separator_loss,
)
from apit.losses.permutation import absolute_distances, assign, reorder
from apit.losses.reconstruction import best_permutation, pit_loss
from apit.models.discriminators import Discriminator
from apit.models.separators import Outputs
from apit.models.views import View, Views, auc, near_zero
from apit.training.state import TrainState


@dataclass
class Step:
    """What a step did: terms to be logged, and whether all of them were finite."""

    terms: dict[str, Tensor] = field(default_factory=dict)
    finite: bool = True

    def add(self, name: str, value: Tensor) -> None:
        """Log a term, or a further part's share of it."""
        value = value.detach()
        self.terms[name] = self.terms[name] + value if name in self.terms else value


def train_step(state: TrainState, batch: Batch) -> Step:
    """Update the discriminators, then the separator, on the same fakes. [paper]

    A batch in several parts gives the same updates: their gradients add up.
    """
    done, parts = discriminators_step(state, batch)
    update_separator(state, parts, done)
    return done


def discriminators_step(state: TrainState, batch: Batch) -> tuple[Step, list["Part"]]:
    """Update the discriminators alone → what was done, and the batch's parts, separated."""
    done = Step()
    count = state.run.training.grad_accum_steps
    ranks, shift = draw(state, len(batch.references))
    parts = [
        Part(state, part, own, shift)
        for part, own in zip(batch.split(count), ranks.chunk(count), strict=True)
    ]
    if state.discriminator_optimiser is not None:
        update_discriminators(state, state.discriminator_optimiser, parts, done)
    return done, parts


def update_discriminators(
    state: TrainState, optimiser: Optimizer, parts: Sequence["Part"], done: Step
) -> None:
    """On real and fake; the separator is fixed."""
    trained = {n: d for n, d in state.discriminators.items() if not d.config.frozen}
    optimiser.zero_grad(set_to_none=True)
    for part in parts:
        for name, discriminator in trained.items():
            view = part.view(discriminator.config.domain)
            real = discriminator(view.mixture, view.real)
            fake = discriminator(view.mixture, part.fake(discriminator).detach())
            loss = discriminator_loss(real, fake) / len(parts)
            loss.backward()  # type: ignore[no-untyped-call]
            done.add(f"loss/discriminator/{name}", loss)
            done.add(f"accuracy/{name}/real", (real > 0).float().mean() / len(parts))
            done.add(f"accuracy/{name}/fake", (fake < 0).float().mean() / len(parts))
    for name, discriminator in trained.items():
        norm = clipped(list(discriminator.parameters()), state)
        done.add(f"gradient/discriminator/{name}", norm)
    if all_finite(state, done):
        optimiser.step()


def update_separator(state: TrainState, parts: Sequence["Part"], done: Step) -> None:
    """By L_sep + λ L_PIT; the discriminators are fixed.

    Gradients of both at the separator's outputs first, of the whole batch, since λ depends on them;
    then back through the network, once for their sum.
    """
    adversarial, pit = [], []
    for part in parts:
        adversarial.append(part.gradient(adversarial_loss(state, part, done, len(parts))))
        pit.append(part.gradient(reconstruction_loss(state, part, done, len(parts))))
    weight = pit_weight(state, adversarial, pit, done)
    state.optimiser.zero_grad(set_to_none=True)
    for part, of_sep, of_pit in zip(parts, adversarial, pit, strict=True):
        part.back(total(of_sep, of_pit, weight))
    done.add("gradient/separator", clipped(list(state.separator.parameters()), state))
    if all_finite(state, done):
        state.optimiser.step()
        if state.ema is not None:
            state.ema.update_parameters(state.separator)
    state.schedule.step()


def draw(state: TrainState, own: int) -> tuple[Tensor, tuple[int, int]]:
    """Ranks of the slots [batch, source] of this process's part of the batch; shift of spectra."""
    adversary = state.run.adversary
    if adversary is None:
        return torch.zeros(own, 0), (0, 0)
    every = rank_slots(own * state.world.size, state.run.audio.sources, state.slots)
    first = own * state.world.rank
    bins, frames = torch.randint(adversary.shift + 1, (2,), generator=state.shifts).tolist()
    return every[first : first + own].to(state.world.device), (bins, frames)


class Part:
    """A part of a batch, separated: what its network gave, and all that follows from it.

    Everything after the network hangs on `outputs`, which are cut from its graph: losses are
    differentiated down to them, and `back` goes on from there.
    """

    def __init__(
        self,
        state: TrainState,
        batch: Batch,
        ranks: Tensor,
        shift: tuple[int, int] = (0, 0),
        ends: Outputs | None = None,
    ):
        self.state, self.batch, self.ranks = state, batch, ranks
        separator = state.separator
        if ends is not None:
            self.ends = ends
        elif state.run.training.grad_accum_steps == 1:
            self.ends = separator.outputs(batch.mixture)
        else:  # of several parts, activations are computed again going back
            self.ends = checkpoint(separator.outputs, batch.mixture, use_reentrant=False)
        self.outputs = tuple(end.detach().requires_grad_() for end in self.ends)
        # Nothing here refers to the part itself: a cycle would keep its spectra until the garbage
        # collector comes by.
        masks, given, mixture = separator.to_masks(self.outputs), self.outputs, batch.mixture
        self.estimates = cache(lambda: separator.estimates(masks, mixture, given))
        if state.run.adversary is not None:
            self.views = Views(
                separator, state.run.adversary, mixture, batch.references, masks,
                self.estimates, shift,
            )  # fmt: skip
        self._permutations: dict[Domain, Tensor] = {}
        self._fakes: dict[tuple[Domain, int], Tensor] = {}

    def view(self, domain: Domain) -> View:
        """What discriminators of a domain see of it."""
        return self.views.view(domain)

    def permutation(self, domain: Domain) -> Tensor:
        """P* of a domain: that of L_PIT for waveforms; of L1 for magnitudes and masks. [paper]"""
        if domain not in self._permutations:
            references, mixture = self.batch.references, self.batch.mixture
            if domain == "wave":
                best = best_permutation(
                    self.state.reconstruction, self.estimates().detach(), references, mixture
                )
            else:
                view = self.view(domain)
                best = assign(absolute_distances(view.fake.detach(), view.real))
            self._permutations[domain] = best
        return self._permutations[domain]

    def fake(self, discriminator: Discriminator) -> Tensor:
        """What a discriminator takes for fake [batch, source, …]."""
        config = discriminator.config
        view = self.view(config.domain)
        if config.kind == "instance":
            return view.fake
        key = (config.domain, config.replace)
        if key not in self._fakes:
            fake = reorder(view.fake, self.permutation(config.domain))
            if config.replace:
                fake = replaced(view.real, fake, replaced_positions(self.ranks, config.replace))
            self._fakes[key] = fake
        return self._fakes[key]

    def gradient(self, loss: Tensor | None) -> list[Tensor] | None:
        """Of a loss for the outputs."""
        if loss is None:
            return None
        return list(
            torch.autograd.grad(
                loss, self.outputs, retain_graph=True, allow_unused=True, materialize_grads=True
            )
        )

    def back(self, gradients: Sequence[Tensor]) -> None:
        """From the outputs through the network to its weights, where gradients add up."""
        torch.autograd.backward(self.ends, list(gradients))


def adversarial_loss(state: TrainState, part: Part, done: Step, parts: int) -> Tensor | None:
    """A part's share of L_sep: the sum over discriminators of −E[D(fake)]. [paper]"""
    if not state.discriminators:
        return None
    summed = torch.zeros((), device=state.world.device)
    for name, discriminator in state.discriminators.items():
        view = part.view(discriminator.config.domain)
        discriminator.requires_grad_(False)  # the separator's update leaves them untouched
        term = separator_loss(discriminator(view.mixture, part.fake(discriminator))) / parts
        discriminator.requires_grad_(not discriminator.config.frozen)
        summed = summed + discriminator.config.weight * term
        done.add(f"loss/separator/{name}", term)
    done.add("loss/adversarial", summed)
    return summed


def reconstruction_loss(state: TrainState, part: Part, done: Step, parts: int) -> Tensor | None:
    """A part's share of L_PIT; None where training is purely adversarial."""
    if state.run.reconstruction == "none":
        return None
    batch = part.batch
    loss = pit_loss(
        state.reconstruction, part.estimates(), batch.references, batch.mixture,
        part.permutation("wave"),
    ) / parts  # fmt: skip
    done.add("loss/pit", loss)
    return loss


Gradients = Sequence[list[Tensor] | None]


def pit_weight(state: TrainState, adversarial: Gradients, pit: Gradients, done: Step) -> float:
    """λ: balanced by the norms of both gradients at the outputs of the whole batch, or fixed."""
    norms = {}
    for name, gradients in (("adversarial", adversarial), ("pit", pit)):
        squares = [g.square().sum() for part in gradients if part is not None for g in part]
        if squares:
            norms[name] = state.world.sum(torch.stack(squares).sum()).sqrt() / state.world.size
            done.add(f"gradient/outputs/{name}", norms[name])
    weight = 1.0
    if len(norms) == 2:
        assert state.run.adversary is not None
        fixed = state.run.adversary.pit_weight
        weight = (
            state.balance(norms["adversarial"], norms["pit"]) if isinstance(fixed, str) else fixed
        )
        done.add("weight/pit", torch.tensor(weight, device=state.world.device))
    terms = done.terms
    zero = torch.zeros((), device=state.world.device)
    summed = terms.get("loss/adversarial", zero) + weight * terms.get("loss/pit", zero)
    done.add("loss/total", summed)
    return weight


def total(
    adversarial: list[Tensor] | None, pit: list[Tensor] | None, weight: float
) -> list[Tensor]:
    """The gradient of L_sep + λ L_PIT, of whichever there is."""
    if adversarial is None or pit is None:
        return adversarial or pit or []
    return [a.add_(p, alpha=weight) for a, p in zip(adversarial, pit, strict=True)]


def clipped(weights: Sequence[nn.Parameter], state: TrainState) -> Tensor:
    """Average gradients over the world and clip them → their norm before."""
    state.world.average_gradients(weights)
    return nn.utils.clip_grad_norm_(weights, state.run.training.grad_clip)


def all_finite(state: TrainState, done: Step) -> bool:
    """Whether all terms so far are finite, in all processes; remembered in the step."""
    finite = bool(torch.isfinite(torch.stack([t.float() for t in done.terms.values()])).all())
    done.finite = done.finite and not state.world.any(not finite)
    return done.finite


@torch.no_grad()
def shortcuts(state: TrainState, batch: Batch) -> Mapping[str, Tensor]:
    """How well the share of values near zero alone tells real from fake, as an AUC, by domain.

    Of a batch in several parts, in the first.
    """
    if not state.discriminators:
        return {}
    first = batch.split(state.run.training.grad_accum_steps)[0]
    part = Part(state, first, torch.zeros(len(first.references), 0))
    domains = {d.config.domain for d in state.discriminators.values()}
    return {f"shortcut/{name}": auc(*near_zero(part.view(name))) for name in sorted(domains)}
