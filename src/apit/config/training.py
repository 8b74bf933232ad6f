"""Networks, losses, and how a run is optimised."""

from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from apit.config.base import Domain, Frozen, Range


class TDCNppSizes(Frozen):
    """The TDCN++ of the FUSS baseline at any size."""

    repeats: PositiveInt
    blocks: PositiveInt  # per repeat; block b has dilation 2^b
    bottleneck: PositiveInt
    channels: PositiveInt
    kernel: PositiveInt


class UNetSizes(Frozen):
    """A residual U-Net at any size: each level after the first halves bins and frames."""

    channels: Annotated[tuple[PositiveInt, ...], Field(strict=False, min_length=2)]  # per level
    kernel: PositiveInt
    recurrent: PositiveInt  # units of the LSTM at the bottom, in each direction
    recurrent_layers: PositiveInt

    @model_validator(mode="after")
    def _whole_groups(self) -> "UNetSizes":
        if odd := [c for c in self.channels if c >= 8 and c % 8]:
            raise ValueError(f"channels: {odd[0]} is not a multiple of 8")
        return self


class Separator(Frozen):
    """Which network makes masks, and how; its sizes stand under its own name."""

    architecture: Literal["tdcnpp", "unet"]
    masks: Literal["sigmoid", "softmax"]
    tdcnpp: TDCNppSizes | None  # None where a scale does not offer it
    unet: UNetSizes | None

    @model_validator(mode="after")
    def _sized(self) -> "Separator":
        if getattr(self, self.architecture) is None:
            raise ValueError(f"{self.architecture}: its sizes are missing")
        return self

    @property
    def chosen(self) -> "Separator":
        """Without the sizes of the other architecture, which do not matter to a run."""
        others = {name: None for name in ("tdcnpp", "unet") if name != self.architecture}
        return self.model_copy(update=others)


class LogMSE(Frozen):
    """Thresholds of the log-MSE, and what the permutation is searched with."""

    active_threshold_db: float
    silent_threshold_db: float
    search: Literal["loss", "unthresholded"]


class Convolutions(Frozen):
    """A stack of strided convolutions; its length is its depth."""

    channels: Annotated[tuple[PositiveInt, ...], Field(strict=False, min_length=1)]
    kernel: PositiveInt
    stride: PositiveInt


class Adversary(Frozen):
    """What all discriminators share."""

    objective: Literal["hinge", "least_squares"]
    fake_masks: Literal["ratio", "network"]  # of the estimates themselves, or the separator's own
    weight: PositiveFloat  # λ, shared out evenly over an experiment's discriminators
    learning_rate: PositiveFloat
    betas: Range
    wave: Convolutions
    spectral: Convolutions  # both stft and mask


class Training(Frozen):
    """The separator's optimisation, and how often it is looked at."""

    steps: PositiveInt
    batch_size: PositiveInt
    crop_seconds: PositiveFloat
    remix: Literal["none", "sources", "clips"]  # of what mixtures are made anew in every step
    learning_rate: PositiveFloat
    halve_every: PositiveInt  # steps after which the learning rate is halved
    average_decay: Annotated[float, Field(ge=0, lt=1)]  # of averaged weights; 0: none
    gradient_clip: PositiveFloat  # norm
    precision: Literal["float32", "bfloat16"]  # of the networks' arithmetic
    compile: bool  # the networks, by torch.compile
    accumulate: PositiveInt  # parts that a batch is computed in, to save memory
    recompute: bool  # activations in the backward pass, to save memory
    skip_at_most: NonNegativeInt  # steps in a row whose loss or gradient is not finite
    log_every: PositiveInt
    validate_every: PositiveInt
    validation_batch: PositiveInt
    threads: PositiveInt

    @model_validator(mode="after")
    def _whole_parts(self) -> "Training":
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"accumulate: {self.accumulate} parts of a batch of {self.batch_size} are not whole"
            )
        return self


class Discriminator(Frozen):
    """One discriminator of an experiment; `replace` is the I of I-replacement."""

    kind: Literal["instance", "context"]
    domain: Domain
    replace: NonNegativeInt = 0
    weight: PositiveFloat | None = None  # λ_d; λ/N if not given
    condition_on_mixture: bool = False
    frozen: bool = False

    @property
    def name(self) -> str:
        """Key of its weights, its history columns and its figures' legends."""
        parts = ["inst" if self.kind == "instance" else "ctx", self.domain]
        if self.replace:
            parts.append(f"i{self.replace}")
        if self.condition_on_mixture:
            parts.append("mix")
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


class Experiment(Frozen):
    """An entry of `configs/experiments.yaml`: what differs from plain PIT.

    Only here may keys be left out, so that an ablation stays one short entry.
    """

    discriminators: tuple[Discriminator, ...] = Field(default=(), strict=False)
    reconstruction: str = "log_mse"  # or si_snr, or package.module:function
    separator: dict[str, Any] = Field(default_factory=dict)  # keys of the scale's that differ
    train_as_long_as: str | None = None  # another experiment, whose wall-clock time is matched

    @model_validator(mode="after")
    def _names_differ(self) -> "Experiment":
        names = [discriminator.name for discriminator in self.discriminators]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"discriminators: {name} is listed twice")
        return self
