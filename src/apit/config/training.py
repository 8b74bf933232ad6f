"""Networks, losses, and how a run is optimised."""

from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from apit.config.base import Betas, Config, Decay, Domain, Name


class Architecture(Config):
    """What every network has: how its logits become masks, and where consistency is asked for."""

    masks: Literal["softmax", "sigmoid"]
    consistency: Literal["inference", "training"]  # training: at inference, too


class TDCNpp(Architecture):
    """The TDCN++ of the FUSS baseline at any size."""

    repeats: PositiveInt
    blocks: PositiveInt  # per repeat; block b has dilation 2^b
    bottleneck: PositiveInt
    channels: PositiveInt
    kernel: PositiveInt


class UNet(Architecture):
    """The paper's one-dimensional U-Net at any size: each level halves the frames."""

    channels: Annotated[tuple[PositiveInt, ...], Field(strict=False, min_length=2)]  # per level
    kernel: Annotated[int, Field(ge=1)]
    depth: PositiveInt  # convolutions of a ResNet block
    heads: PositiveInt  # of the self-attention
    input_power: PositiveFloat  # of the magnitudes that it sees
    standardise: bool  # those, over bins and frames

    @model_validator(mode="after")
    def _whole(self) -> "UNet":
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel: {self.kernel} is even, and has no middle")
        if self.channels[-1] % self.heads:
            raise ValueError(f"heads: {self.heads} do not share {self.channels[-1]} channels")
        return self


ARCHITECTURES = ("unet", "tdcnpp")


class Separator(Config):
    """Which network separates, and how; all of it stands under its own name."""

    architecture: str  # unet, tdcnpp, or package.module:Class of one's own
    unet: UNet | None  # None where a scale does not offer it
    tdcnpp: TDCNpp | None
    options: dict[str, Any] = Field(default_factory=dict)  # of a class of one's own

    @model_validator(mode="after")
    def _sized(self) -> "Separator":
        if self.architecture in ARCHITECTURES:
            if getattr(self, self.architecture) is None:
                raise ValueError(f"{self.architecture}: its sizes are missing")
            if self.options:
                raise ValueError(f"options: {self.architecture} has none")
        elif ":" not in self.architecture:
            raise ValueError(
                f"architecture: {self.architecture!r} is none of {', '.join(ARCHITECTURES)} and "
                "package.module:Class"
            )
        return self

    @model_serializer(mode="wrap")
    def _without_empty_options(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Records of our architectures say nothing of them, as before there were any."""
        values: dict[str, Any] = serialise(self)
        return {key: value for key, value in values.items() if key != "options" or value}

    @property
    def chosen(self) -> "Separator":
        """Without the sizes of other architectures, which do not matter to a run."""
        others = [name for name in ARCHITECTURES if name != self.architecture]
        return self.model_copy(update=dict.fromkeys(others))

    @property
    def network(self) -> UNet | TDCNpp | None:
        """The chosen architecture's entry; None of a class of one's own."""
        return getattr(self, self.architecture, None)


class LogMSE(Config):
    """Thresholds of the log-MSE, and what the permutation is searched with."""

    active_threshold_db: float
    silent_threshold_db: float
    search: Literal["loss", "unthresholded"]


class Critic(Config):
    """The discriminators of a domain, and their optimiser."""

    channels: Annotated[tuple[PositiveInt, ...], Field(strict=False, min_length=1)]
    kernel: PositiveInt
    stride: PositiveInt
    learning_rate: PositiveFloat
    betas: Betas


class SpectralCritic(Critic):
    """Those of spectra, and what is done to what they see."""

    floor_db: Annotated[float, Field(lt=0)] | None  # under real and fake
    compression: PositiveFloat  # exponent of all magnitudes that they see


class MagnitudeCritic(SpectralCritic):
    """Those of magnitudes."""

    real_magnitudes: Literal["target", "masked"]  # |S_k|, or |M| ⊙ R_k


class Adversary(Config):
    """What all discriminators share, and how heavy L_PIT is beside them."""

    pit_weight: Literal["balanced"] | PositiveFloat  # λ: gradients of one norm, or a number
    balance_decay: Decay  # of λ's running mean; 0: none
    wave: Critic
    stft: MagnitudeCritic
    mask: SpectralCritic
    shift: NonNegativeInt  # bins and frames by which spectra are moved at random, at the most


class Training(Config):
    """The separator's optimisation, and how often it is looked at."""

    steps: PositiveInt
    batch_size: PositiveInt
    crop_seconds: PositiveFloat
    remix: Literal["none", "sources", "clips"]  # of what mixtures are made anew in every step
    learning_rate: PositiveFloat  # of the separator
    betas: Betas
    lr_step: PositiveInt  # steps after each of which the separator's rate is halved
    ema_decay: Decay  # of the weights that are validated and kept; 0: no average
    grad_clip: PositiveFloat  # norm
    precision: Literal["float32", "bfloat16"]  # of the networks' arithmetic
    compile: bool  # the networks, by torch.compile
    grad_accum_steps: PositiveInt  # parts that a batch is computed in, to save memory
    activation_checkpointing: bool  # compute them again going back, to save memory
    skip_at_most: NonNegativeInt  # steps in a row whose loss or gradient is not finite
    log_every: PositiveInt
    validate_every: PositiveInt
    validation_batch: PositiveInt
    threads: PositiveInt

    @model_validator(mode="after")
    def _whole_parts(self) -> "Training":
        if self.batch_size % self.grad_accum_steps:
            raise ValueError(
                f"grad_accum_steps: {self.grad_accum_steps} parts of a batch of {self.batch_size} "
                "are not whole"
            )
        return self


class Discriminator(Config):
    """One discriminator of an experiment; `replace` is the I of I-replacement."""

    kind: Literal["instance", "context"]
    domain: Domain
    replace: NonNegativeInt = 0
    condition_on_mixture: bool = False
    weight: PositiveFloat = 1.0  # of its term in L_sep
    frozen: bool = False

    @property
    def name(self) -> str:
        """Key of its weights, its history columns and its figures' legends."""
        parts = ["inst" if self.kind == "instance" else "ctx", self.domain]
        if self.kind == "context":
            parts.append(f"i{self.replace}")
        if self.condition_on_mixture:
            parts.append("m")
        if self.frozen:
            parts.append("frozen")
        return "-".join(parts)

    @model_validator(mode="after")
    def _context_only(self) -> "Discriminator":
        if self.kind == "instance":
            if self.replace:
                raise ValueError("replace: an instance-based discriminator has no context")
            if self.condition_on_mixture:
                raise ValueError("condition_on_mixture: is for context-based discriminators")
        return self


class Experiment(Config):
    """An entry of `configs/experiments.yaml`: what differs from plain PIT.

    Only here may keys be left out, so that an ablation stays one short entry.
    """

    discriminators: tuple[Discriminator, ...] = Field(default=(), strict=False)
    reconstruction: str = "log_mse"  # or si_snr, none, or package.module:function
    separator: dict[str, Any] = Field(default_factory=dict)  # keys of the scale's that differ
    adversary: dict[str, Any] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)
    as_costly_as: str | None = None  # another experiment, whose multiply-accumulates are matched
    start_from: str | None = None  # another experiment, from whose end it goes on: a fork
    warm_up: NonNegativeInt = 0  # steps before the first, in which discriminators train alone
    batches: Name | None = None  # of another generator of batches than that of all experiments

    @model_validator(mode="after")
    def _says_what_is_learnt(self) -> "Experiment":
        names = [discriminator.name for discriminator in self.discriminators]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"discriminators: {name} is listed twice")
        if self.warm_up and all(discriminator.frozen for discriminator in self.discriminators):
            raise ValueError("warm_up: there is no discriminator to be trained")
        if self.reconstruction == "none" and not self.discriminators:
            raise ValueError(
                "reconstruction: none leaves nothing to learn from; list discriminators"
            )
        return self
