"""Everything in a run that moves: made, saved and loaded here, and nowhere else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor
from torch.optim.lr_scheduler import StepLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.checkpoint import checkpoint

from apit.config import Domain, Run
from apit.errors import UserError
from apit.losses.balance import Balance
from apit.losses.reconstruction import Reconstruction, make_reconstruction
from apit.models.discriminators import Discriminator, make_discriminator
from apit.models.separators import MaskingSeparator, make_separator
from apit.models.tdcnpp import TDCNBlock
from apit.models.unet import ResNetBlock
from apit.provenance import seed_of, tensor_generator
from apit.training.team import Team


@dataclass
class Progress:
    """How far a run has come, and what it has seen of itself."""

    step: int = 0
    spent: float = 0.0  # seconds in steps, without validation and logging
    waited: float = 0.0  # of them for data
    skipped: int = 0  # steps whose loss or gradient was not finite
    skipped_in_a_row: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    validated: bool = True  # whether the last row has its validation, if it is to have one
    last: dict[str, Any] | None = (
        None  # row of a last step that is not one of those to be validated
    )
    best_value: float = -float("inf")
    best_step: int = 0
    best_weights: dict[str, Tensor] = field(default_factory=dict)


class State:
    """All moving parts of one run: networks, average, optimisers, schedule, generators, progress.

    Its generators are named, and all derive from the run's seed: initialisation (the separator's),
    data, slots and shifts of fakes, and one for each discriminator's weights. So every ablation of
    a seed starts from the same separator and sees the same mixtures in the same order.
    """

    def __init__(self, run: Run, team: Team):
        self.run, self.team = run, team
        torch.manual_seed(
            seed_of(run.seed, "torch", team.rank)
        )  # for losses of one's own that draw
        device, training = team.device, run.training
        self.reconstruction: Reconstruction = make_reconstruction(run.reconstruction, run.log_mse)
        with seeded(run.seed, "initialisation"):
            self.separator = make_separator(run.separator, run.stft, run.audio).to(device).train()
        self.optimiser = torch.optim.Adam(
            self.separator.parameters(), training.learning_rate, training.betas, fused=True
        )
        self.schedule = StepLR(self.optimiser, training.halve_every, gamma=0.5)
        self.average: AveragedModel | None = None
        if training.average_decay:
            ema = get_ema_multi_avg_fn(training.average_decay)  # type: ignore[no-untyped-call]
            self.average = AveragedModel(self.separator, multi_avg_fn=ema)
        self.discriminators: dict[str, Discriminator] = {}
        for config in run.discriminators:
            assert run.adversary is not None
            with seeded(run.seed, "discriminators", config.name):
                made = make_discriminator(
                    config, run.adversary, run.audio.sources, self.shape(config.domain)
                )
            self.discriminators[config.name] = made.to(device)
        self.discriminator_optimiser = self._discriminator_optimiser()
        self._check_shift()
        self.balance = Balance(run.adversary.balance_decay if run.adversary else 0.0)
        self.slots = tensor_generator(run.seed, "replacement")
        self.shifts = tensor_generator(run.seed, "shifts")
        self.progress = Progress()
        self._prepare_networks()

    def shape(self, domain: Domain) -> Sequence[int]:
        """Of what a discriminator of a domain sees of each source: (time,), or (bins, frames)."""
        samples = self.run.audio.samples
        if domain == "wave":
            return (samples,)
        return self.separator.mask_shape(samples)

    def _check_shift(self) -> None:
        adversary = self.run.adversary
        if adversary and adversary.shift >= min(self.shape("stft")):
            bins, frames = self.shape("stft")
            raise UserError(
                f"adversary.shift: {adversary.shift} moves everything out of spectra of {bins} "
                f"bins and {frames} frames"
            )

    def _discriminator_optimiser(self) -> torch.optim.Optimizer | None:
        """One Adam for all that are trained; those of waveforms and of spectra have rates each."""
        groups = []
        for discriminator in self.discriminators.values():
            if not discriminator.config.frozen:
                critic = discriminator.critic
                weights = list(discriminator.parameters())
                groups.append(
                    {"params": weights, "lr": critic.learning_rate, "betas": critic.betas}
                )
        return torch.optim.Adam(groups, fused=True) if groups else None

    def _prepare_networks(self) -> None:
        """Precision, recomputation and compilation, which change neither weights nor names."""
        training = self.run.training
        self.separator.precision = training.precision
        for discriminator in self.discriminators.values():
            discriminator.precision = training.precision
        if training.recompute:
            for module in self.separator.modules():
                if isinstance(module, TDCNBlock | ResNetBlock):
                    module.forward = partial(  # type: ignore[method-assign]
                        checkpoint, module.forward, use_reentrant=False
                    )
        if training.compile:
            self.separator.network.compile()
            for discriminator in self.discriminators.values():
                discriminator.layers.compile()

    @property
    def result(self) -> MaskingSeparator:
        """The separator that is validated and kept: its average, where there is one."""
        if self.average is None:
            return self.separator
        return cast(MaskingSeparator, self.average.module)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on, but for its batch."""
        optimiser = self.discriminator_optimiser
        return {
            "separator": self.separator.state_dict(),
            "average": self.average.state_dict() if self.average else None,
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "discriminators": {n: d.state_dict() for n, d in self.discriminators.items()},
            "discriminator_optimiser": optimiser.state_dict() if optimiser else None,
            "balance": self.balance.state,
            "slots": self.slots.get_state(),
            "shifts": self.shifts.get_state(),
            "torch": torch.get_rng_state(),
            "progress": vars(self.progress),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self.separator.load_state_dict(state["separator"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        for name, discriminator in self.discriminators.items():
            discriminator.load_state_dict(state["discriminators"][name])
        if self.discriminator_optimiser:
            self.discriminator_optimiser.load_state_dict(state["discriminator_optimiser"])
        self.balance.state = state["balance"]
        self.slots.set_state(state["slots"])
        self.shifts.set_state(state["shifts"])
        torch.set_rng_state(state["torch"])
        self.progress = Progress(**state["progress"])


class seeded:
    """Run a block with torch's global generator seeded by names, and restore it after."""

    def __init__(self, *names: str | int):
        self.seed = seed_of(*names)

    def __enter__(self) -> None:
        self.state = torch.get_rng_state()
        torch.manual_seed(self.seed)

    def __exit__(self, *error: object) -> None:
        torch.set_rng_state(self.state)
