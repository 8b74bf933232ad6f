"""One step of training: discriminators, then the separator, on the same fakes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import StepLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.checkpoint import checkpoint

from apit.config import Run
from apit.data.batches import Batch
from apit.losses.adversarial import OBJECTIVES, rank_slots, replaced_positions
from apit.losses.permutation import reorder
from apit.losses.reconstruction import (
    PIT,
    is_silent,
    make_reconstruction,
    permutation_invariant,
)
from apit.models.discriminators import (
    MixtureViews,
    PatchDiscriminator,
    SourceSet,
    make_discriminator,
)
from apit.models.separators import MaskingSeparator, Separation, make_separator
from apit.models.tdcnpp import TDCNBlock
from apit.models.unet import ResidualBlock
from apit.provenance import seed_of, tensor_generator
from apit.training.team import Team


class Training:
    """All moving parts of one run.

    Its generators are named, and all derive from the run's seed: initialisation (the separator's),
    data, replacement, and one for each discriminator's weights. So every ablation of a seed
    starts from the same separator and sees the same batches.
    """

    def __init__(self, run: Run, team: Team):
        self.run, self.team = run, team
        device = team.device
        self.reconstruction = make_reconstruction(run.reconstruction, run.log_mse)
        with seeded(run.seed, "initialisation"):
            self.separator = make_separator(run.separator, run.stft, run.audio).to(device)
        self.optimiser = torch.optim.Adam(
            self.separator.parameters(), lr=run.training.learning_rate, fused=True
        )
        self.schedule = StepLR(self.optimiser, run.training.halve_every, gamma=0.5)
        self.discriminators: dict[str, PatchDiscriminator] = {}
        for config in run.discriminators:
            assert run.adversary is not None
            with seeded(run.seed, "discriminators", config.name):
                made = make_discriminator(config, run.adversary, run.audio.sources).to(device)
            self.discriminators[config.name] = made
        trained = [
            weight
            for discriminator in self.discriminators.values()
            if not discriminator.config.frozen
            for weight in discriminator.parameters()
        ]
        self.discriminator_optimiser: torch.optim.Optimizer | None = None
        if trained:
            assert run.adversary is not None
            self.discriminator_optimiser = torch.optim.Adam(
                trained, lr=run.adversary.learning_rate, betas=run.adversary.betas, fused=True
            )
        if run.adversary is not None:
            self.objective = OBJECTIVES[run.adversary.objective]
        self.averaged: AveragedModel | None = None
        if run.training.average_decay:
            average = get_ema_multi_avg_fn(run.training.average_decay)  # type: ignore[no-untyped-call]
            self.averaged = AveragedModel(self.separator, multi_avg_fn=average)
        self._prepare_networks()
        self.replacement = tensor_generator(run.seed, "replacement")

    def _prepare_networks(self) -> None:
        """Precision, recomputation and compilation, which change neither weights nor names."""
        training = self.run.training
        self.separator.precision = training.precision
        for discriminator in self.discriminators.values():
            discriminator.precision = training.precision
        if training.recompute:
            for module in self.separator.modules():
                if isinstance(module, TDCNBlock | ResidualBlock):
                    module.forward = partial(  # type: ignore[method-assign]
                        checkpoint, module.forward, use_reentrant=False
                    )
        if training.compile:
            self.separator.network.compile()
            for discriminator in self.discriminators.values():
                discriminator.layers.compile()

    def step(self, batch: Batch) -> "Step":
        """One discriminator update, then one separator update, on the same fakes.

        Of a batch in several parts, every part is separated anew for the second update: to save
        memory, it keeps nothing of the first.
        """
        done = Step(batch)
        parts = batch.split(self.run.training.accumulate)
        ranks = torch.split(self._ranks(len(batch.references)), len(parts[0].references))
        fakes: list[Fakes] = []
        if self.discriminators and (len(parts) == 1 or self.discriminator_optimiser):
            with torch.set_grad_enabled(len(parts) == 1):
                fakes = [self._fakes(*part) for part in zip(parts, ranks, strict=True)]
            self._update_discriminators(fakes, done)
        if len(parts) > 1:
            fakes.clear()
        self.optimiser.zero_grad(set_to_none=True)
        for number, (part, own) in enumerate(zip(parts, ranks, strict=True)):
            last = fakes[number] if fakes else self._fakes(part, own)
            self._separator_loss(last, done, len(parts)).backward()  # type: ignore[no-untyped-call]
        done.judged = last.judged
        norm = self._clipped(self.separator.parameters())
        done.add("gradient/separator", norm)
        finite = bool(torch.isfinite(norm) & torch.isfinite(done.terms["loss/total"]))
        done.finite &= not self.team.any(not finite)
        if done.finite:
            self.optimiser.step()
            if self.averaged is not None:
                self.averaged.update_parameters(self.separator)
        self.schedule.step()
        return done

    def _ranks(self, own: int) -> Tensor:
        """Ranks of the slots [batch, source] of this process's part of the whole batch."""
        if not self.discriminators:
            return torch.zeros(own, 0)
        every = rank_slots(own * self.team.size, self.run.audio.sources, self.replacement)
        return every[own * self.team.rank : own * (self.team.rank + 1)].to(self.team.device)

    def _fakes(self, batch: Batch, ranks: Tensor) -> "Fakes":
        """Separate a part of a batch and align its estimates; with discriminators, its fakes."""
        separation = self.separator(batch.mixture)
        pit = permutation_invariant(
            self.reconstruction, separation.estimates, batch.references, batch.mixture
        )
        judged = self.judged_sets(batch, pit, separation, ranks) if self.discriminators else None
        return Fakes(pit, judged)

    def judged_sets(
        self, batch: Batch, pit: PIT, separation: Separation, ranks: Tensor
    ) -> "JudgedSets":
        """The real sources of a batch, and its fakes for every number of replaced slots.

        Ranks [batch, source] say which slots are replaced first.
        """
        assert self.run.adversary is not None
        own = self.run.adversary.fake_masks == "network"
        mixture = MixtureViews(batch.mixture, self.separator.stft)
        real = mixture.sources(batch.references)
        aligned = reorder(separation.estimates, pit.permutation)
        masks = reorder(separation.masks, pit.permutation) if own else None
        estimated = mixture.sources(aligned, masks)
        # Discriminators with the same I share one set of fakes, and so its STFTs and masks.
        fakes = {
            replace: estimated.replaced(real, replaced_positions(ranks, replace))
            if replace
            else estimated
            for replace in {0} | {d.config.replace for d in self.discriminators.values()}
        }
        return JudgedSets(batch, mixture, real, fakes)

    def _update_discriminators(self, fakes: Sequence["Fakes"], done: "Step") -> None:
        """Update them all, unless a loss or gradient is not finite."""
        trained = {n: d for n, d in self.discriminators.items() if not d.config.frozen}
        if self.discriminator_optimiser is None:
            return
        self.discriminator_optimiser.zero_grad(set_to_none=True)
        for part in fakes:
            assert part.judged is not None
            total = torch.zeros((), device=self.team.device)
            for name, discriminator in trained.items():
                loss = self.objective.discriminator_loss(
                    part.judged.real(discriminator), part.judged.fake(discriminator, detached=True)
                )
                total = total + loss / len(fakes)
                done.add(f"loss/discriminator/{name}", loss / len(fakes))
            total.backward()  # type: ignore[no-untyped-call]
        for name, discriminator in trained.items():
            done.add(f"gradient/discriminator/{name}", self._clipped(discriminator.parameters()))
        finite = bool(torch.stack([torch.isfinite(term) for term in done.terms.values()]).all())
        done.finite = not self.team.any(not finite)
        if done.finite:
            self.discriminator_optimiser.step()

    def _separator_loss(self, part: "Fakes", done: "Step", parts: int) -> Tensor:
        """A part's share of L_PIT + Σ_d λ_d · L_d."""
        loss = part.pit.loss
        done.add("loss/pit", loss / parts)
        for name, discriminator in self.discriminators.items():
            assert part.judged is not None
            discriminator.requires_grad_(False)  # the separator's step leaves them untouched
            term = self.objective.separator_loss(part.judged.fake(discriminator))
            discriminator.requires_grad_(not discriminator.config.frozen)
            loss = loss + self.run.weight(discriminator.config) * term
            done.add(f"loss/separator/{name}", term / parts)
        done.add("loss/total", loss / parts)
        return loss / parts

    def _clipped(self, weights: Iterable[nn.Parameter]) -> Tensor:
        """Average gradients over the team and clip them → their norm before."""
        weights = list(weights)
        self.team.average_gradients(weights)
        return nn.utils.clip_grad_norm_(weights, self.run.training.gradient_clip)

    @property
    def result(self) -> MaskingSeparator:
        """The separator that is validated and kept: its average, where there is one."""
        if self.averaged is None:
            return self.separator
        return cast(MaskingSeparator, self.averaged.module)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on, but for its batch."""
        return {
            "separator": self.separator.state_dict(),
            "averaged": self.averaged.state_dict() if self.averaged else None,
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "discriminators": {n: d.state_dict() for n, d in self.discriminators.items()},
            "discriminator_optimiser": self.discriminator_optimiser.state_dict()
            if self.discriminator_optimiser
            else None,
            "replacement": self.replacement.get_state(),
            "torch": torch.get_rng_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self.separator.load_state_dict(state["separator"])
        if self.averaged is not None:
            self.averaged.load_state_dict(state["averaged"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        for name, discriminator in self.discriminators.items():
            discriminator.load_state_dict(state["discriminators"][name])
        if self.discriminator_optimiser:
            self.discriminator_optimiser.load_state_dict(state["discriminator_optimiser"])
        self.replacement.set_state(state["replacement"])
        torch.set_rng_state(state["torch"])

    @torch.no_grad()
    def accuracies(self, step: "Step") -> dict[str, float]:
        """Each discriminator's accuracy on real, fake (I = 0) and replaced inputs of a batch.

        Separately for mixtures of K sources (`full`) and of fewer: where slots are silent, exact
        zeros give the ground truth away, and that shortcut shows as a difference between the two.
        Of a batch in several parts, the last one.
        """
        found: dict[str, float] = {}
        if step.judged is None:
            return found
        full = ~is_silent(step.judged.batch.references).any(1)
        for name, discriminator in self.discriminators.items():
            right = {
                "real": step.judged.real(discriminator).verdict > 0,
                "fake": step.judged.fake(discriminator, replace=0).verdict < 0,
            }
            if discriminator.config.replace:
                right["replaced"] = step.judged.fake(discriminator).verdict < 0
            for kind, values in right.items():
                share = values.float().mean(1)  # [batch]
                for group, members in (("full", full), ("fewer", ~full)):
                    found[f"accuracy/{name}/{kind}/{group}"] = share[members].mean().item()
        return found


@dataclass(frozen=True)
class JudgedSets:
    """The real sources of a batch, and its fakes by number of replaced slots."""

    batch: Batch
    mixture: MixtureViews
    references: SourceSet
    fakes: Mapping[int, SourceSet]

    def real(self, discriminator: PatchDiscriminator) -> Any:
        """Judge the ground truth."""
        return discriminator(self.references.view(discriminator.config.domain), self.mixture)

    def fake(
        self,
        discriminator: PatchDiscriminator,
        *,
        replace: int | None = None,
        detached: bool = False,
    ) -> Any:
        """Judge the fakes of a discriminator's own I, or of another."""
        replace = discriminator.config.replace if replace is None else replace
        view = self.fakes[replace].view(discriminator.config.domain)
        return discriminator(view.detach() if detached else view, self.mixture)


@dataclass(frozen=True)
class Fakes:
    """A part of a batch, separated: its PIT loss, and what discriminators judge."""

    pit: PIT
    judged: JudgedSets | None


@dataclass
class Step:
    """What a step did, to be logged."""

    batch: Batch
    terms: dict[str, Tensor] = field(default_factory=dict)
    judged: JudgedSets | None = None
    finite: bool = True  # all losses and gradients; else what is not was left out

    def add(self, name: str, value: Tensor) -> None:
        """Log a term, or a further part's share of it."""
        value = value.detach()
        self.terms[name] = self.terms[name] + value if name in self.terms else value


class seeded:
    """Run a block with torch's global generator seeded by names, and restore it after."""

    def __init__(self, *names: str | int):
        self.seed = seed_of(*names)

    def __enter__(self) -> None:
        self.state = torch.get_rng_state()
        torch.manual_seed(self.seed)

    def __exit__(self, *error: object) -> None:
        torch.set_rng_state(self.state)
