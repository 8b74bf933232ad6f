"""Everything in a run that moves: made, saved and loaded here, and nowhere else."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import StepLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.checkpoint import checkpoint

from apit.config import Domain, Run
from apit.errors import UserError
from apit.losses.balance import Balance
from apit.losses.reconstruction import Reconstruction, make_reconstruction
from apit.models.discriminators import Discriminator, make_discriminator
from apit.models.separators import Separator, make_separator
from apit.models.tdcnpp import TDCNBlock
from apit.models.unet import ResNetBlock
from apit.provenance import seed_of, tensor_generator
from apit.training.world import World


@dataclass
class Progress:
    """How far a run has come, and what it has seen of itself."""

    step: int = 0
    warmed_up: int = 0  # steps before the first, of the discriminators alone
    spent: float = 0.0  # seconds in steps, without warm-up, validation and logging
    waited: float = 0.0  # of them for data
    skipped: int = 0  # steps whose loss or gradient was not finite
    skipped_in_a_row: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    validated: bool = True  # whether the last row has its validation, if it is to have one
    last: dict[str, Any] | None = None  # row of a last step that isn't one of those to be validated
    best_value: float = -float("inf")
    best_step: int = 0
    best_weights: dict[str, Tensor] = field(default_factory=dict)


class TrainState:
    """All moving parts of one run: networks, EMA, optimisers, schedule, generators, progress.

    Its generators are named, and all derive from the run's seed: initialisation (the separator's),
    data, slots and shifts of fakes, and one for each discriminator's weights. So every ablation of
    a seed starts from the same separator and sees the same mixtures in the same order.
    """

    def __init__(self, run: Run, world: World):
        self.run, self.world = run, world
        torch.manual_seed(seed_of(run.seed, "torch", world.rank))  # for own losses that draw
        device, training = world.device, run.training
        self.reconstruction: Reconstruction = make_reconstruction(run.reconstruction, run.log_mse)
        with seeded(run.seed, "initialisation"):
            self.separator = make_separator(run.separator, run.stft, run.audio).to(device).train()
        self.optimiser = torch.optim.Adam(
            self.separator.parameters(), training.learning_rate, training.betas, fused=True
        )
        self.schedule = StepLR(self.optimiser, training.lr_step, gamma=0.5)
        self.ema: AveragedModel | None = None
        if training.ema_decay:
            update = get_ema_multi_avg_fn(training.ema_decay)  # type: ignore[no-untyped-call]
            self.ema = AveragedModel(self.separator, multi_avg_fn=update)
        self.discriminators: dict[str, Discriminator] = {}
        for config in run.discriminators:
            shape = self.shape(config.domain)
            with seeded(run.seed, "discriminators", config.name):
                made = make_discriminator(run, config, shape)
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
        return (samples,) if domain == "wave" else self.separator.mask_shape(samples)

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
        groups = [
            {"params": list(d.parameters()), "lr": critic.learning_rate, "betas": critic.betas}
            for d in self.discriminators.values()
            if not d.config.frozen
            for critic in [self.run.critic(d.config)]
        ]
        return torch.optim.Adam(groups, fused=True) if groups else None

    def _prepare_networks(self) -> None:
        """Precision, checkpointing and compilation, which change neither weights nor names."""
        training = self.run.training
        self.separator.precision = training.precision
        for discriminator in self.discriminators.values():
            discriminator.precision = training.precision
        if training.activation_checkpointing:
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
    def result(self) -> Separator:
        """The separator that is validated and kept: its EMA, where there is one."""
        return self.separator if self.ema is None else cast(Separator, self.ema.module)

    @property
    def _stateful(self) -> dict[str, Any]:
        """What has a `state_dict` of its own."""
        parts = {
            "separator": self.separator,
            "ema": self.ema,
            "optimiser": self.optimiser,
            "schedule": self.schedule,
            "discriminators": nn.ModuleDict(self.discriminators),
            "discriminator_optimiser": self.discriminator_optimiser,
        }
        return {name: part for name, part in parts.items() if part is not None}

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on, but for its batch."""
        return {name: part.state_dict() for name, part in self._stateful.items()} | {
            "balance": self.balance.state,
            "slots": self.slots.get_state(),
            "shifts": self.shifts.get_state(),
            "torch": torch.get_rng_state(),
            "progress": vars(self.progress),
        }

    def start_from(self, end: Mapping[str, Any]) -> None:
        """Go on from the end of another run: its separator, EMA and Adam's moments.

        Everything else starts as in any run: rates, betas and schedule, discriminators, generators.
        """
        self.separator.load_state_dict(end["separator"])
        self.result.load_state_dict(end["separator"])  # an EMA begins there, if that run has none
        if self.ema is not None and "ema" in end:
            self.ema.load_state_dict(end["ema"])
        self.optimiser.load_state_dict(
            self.optimiser.state_dict() | {"state": end["optimiser"]["state"]}
        )

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        for name, part in self._stateful.items():
            part.load_state_dict(state[name])
        self.balance.state = state["balance"]
        self.slots.set_state(state["slots"])
        self.shifts.set_state(state["shifts"])
        torch.set_rng_state(state["torch"])
        vars(self.progress).update(state["progress"])


@contextmanager
def seeded(*names: str | int) -> Iterator[None]:
    """Run a block with torch's global generator seeded by names, and restore it after."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(*names))
        yield
