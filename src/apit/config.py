"""Configuration: what a scale, an experiment and a run consist of.

There are no defaults in code: every value that a run depends on stands in a file under `configs/`
(`apit.layers` reads them), or in a `--set key=value`.
"""

from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from apit.provenance import digest

HEADLINE_DB = 20  # depth of the hole rate that tables show [ours]
# Systems without training that bound every table, from below and from above.
TRIVIAL = ("mixture", "mixture-over-k", "mixture-in-one-slot")
IDEAL = ("ideal-binary-mask", "ideal-ratio-mask")
ORACLES = TRIVIAL + IDEAL

Domain = Literal["wave", "stft", "mask"]
Split = Literal["train", "validation", "eval"]
Published = Literal["gain", "1", "2", "3", "4", "2-4"]
Range = Annotated[tuple[float, float], Field(strict=False)]


class Frozen(BaseModel):
    """A part of the configuration: unknown keys and wrong types fail, nothing changes later."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


Part = TypeVar("Part", bound=Frozen)


class Audio(Frozen):
    """What one example is: `sources` slots (K) of `seconds` at `sample_rate`."""

    sample_rate: PositiveInt
    seconds: PositiveFloat
    sources: Annotated[int, Field(ge=1, le=6)]  # the assignment tries all K! permutations

    @model_validator(mode="after")
    def _long_enough(self) -> "Audio":
        if self.samples < 1:
            raise ValueError(f"seconds: {self.seconds} is less than a sample")
        return self

    @property
    def samples(self) -> int:
        """Length of an example in samples."""
        return round(self.seconds * self.sample_rate)


class Procedural(Frozen):
    """Sounds computed from seeds, of the families in `apit.data.synthesis`."""

    kind: Literal["procedural"]
    clips_per_family: PositiveInt


class Package(Frozen):
    """Recordings from a Debian package (or from the folder given by `apit mix --clips`)."""

    kind: Literal["package"]
    package: str
    folder: str  # of the package, where its recordings lie


class Fuss(Frozen):
    """The FUSS data set: an archive of mixtures that somebody else made."""

    kind: Literal["fuss"]
    name: str  # as published numbers call it
    address: Annotated[str, Field(pattern="^(https?|file)://.*/[^/]+$")]
    bytes: PositiveInt
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]

    @property
    def archive(self) -> str:
        """Name of the archive's file."""
        return self.address.rpartition("/")[2]


class Rooms(Frozen):
    """What box-shaped rooms are drawn from; ranges are in metres."""

    length: Range
    width: Range
    height: Range
    margin: Annotated[float, Field(gt=0)]  # of microphone and sources from every surface
    walls: Annotated[tuple[str, ...], Field(strict=False, min_length=1)]  # pyroomacoustics' names
    floors: Annotated[tuple[str, ...], Field(strict=False, min_length=1)]
    ceilings: Annotated[tuple[str, ...], Field(strict=False, min_length=1)]
    reflections: NonNegativeInt  # in a row, at the most

    @model_validator(mode="after")
    def _sides(self) -> "Rooms":
        for name in ("length", "width", "height"):
            low, high = getattr(self, name)
            if not 2 * self.margin < low <= high:
                raise ValueError(
                    f"{name}: [{low}, {high}] must rise, and leave room for a margin of "
                    f"{self.margin} m on both sides"
                )
        return self


class Recipe(Frozen):
    """How clips become mixtures (after FUSS; levels are RMS over active samples, not LUFS)."""

    seed: int
    examples: dict[Split, PositiveInt]
    split_by: Literal["family", "clip"]  # what is in one split only: a whole family, or a clip
    clip_shares: dict[Split, PositiveFloat]
    background_level_db: Annotated[float, Field(le=0)]  # relative to full scale
    background_min_seconds: PositiveFloat  # shorter clips are foregrounds only
    foregrounds: Annotated[tuple[NonNegativeInt, NonNegativeInt], Field(strict=False)]
    foreground_snr_db: Range  # against the background
    rooms: Rooms | None  # None: sources are mixed as dry as their clips

    @model_validator(mode="after")
    def _all_splits(self) -> "Recipe":
        for name in ("examples", "clip_shares"):
            if missing := sorted(set(get_args(Split)) - set(getattr(self, name))):
                raise ValueError(f"{name}: lacks {', '.join(missing)}")
        return self

    @model_validator(mode="after")
    def _ordered(self) -> "Recipe":
        for name in ("foregrounds", "foreground_snr_db"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name}: the lower end {low} is above the upper end {high}")
        return self


class Data(Frozen):
    """Where sounds come from, and how they are mixed (not for FUSS, which is mixed already)."""

    sounds: Annotated[Procedural | Package | Fuss, Field(discriminator="kind")]
    recipe: Recipe | None

    @model_validator(mode="after")
    def _recipe_where_mixed(self) -> "Data":
        if (self.recipe is None) != (self.sounds.kind == "fuss"):
            raise ValueError("recipe: is null for kind: fuss, and only for it")
        return self


class Transform(Frozen):
    """Short-time Fourier transform, in seconds."""

    window: PositiveFloat
    hop: PositiveFloat

    @model_validator(mode="after")
    def _overlapping(self) -> "Transform":
        if self.hop > self.window / 2:
            raise ValueError(f"hop: {self.hop} s exceeds half the window of {self.window} s")
        return self


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


class Windows(Frozen):
    """BSS Eval's windows in seconds; in the workflow, over the first examples alone: it is slow."""

    window: PositiveFloat
    hop: PositiveFloat
    examples: PositiveInt


class Evaluation(Frozen):
    """What is measured beyond SI-SNR, and what is kept to be looked at."""

    batch_size: PositiveInt
    hole_depths_db: Annotated[tuple[PositiveFloat, ...], Field(strict=False, min_length=1)]
    bss_eval: Windows
    keep_examples: NonNegativeInt  # of the evaluation split, from its first on
    resamples: PositiveInt  # of the bootstrap over mixtures

    @model_validator(mode="after")
    def _headline(self) -> "Evaluation":
        if HEADLINE_DB not in self.hole_depths_db:
            raise ValueError(f"hole_depths_db: lacks {HEADLINE_DB}, the depth that tables show")
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
    separator: dict[str, Any] = {}  # keys of the scale's separator that differ
    train_as_long_as: str | None = None  # another experiment, whose wall-clock time is matched

    @model_validator(mode="after")
    def _names_differ(self) -> "Experiment":
        names = [discriminator.name for discriminator in self.discriminators]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"discriminators: {name} is listed twice")
        return self


class Scale(Frozen):
    """All of a scale: what its runs share, and which runs it has."""

    audio: Audio
    data: Data
    stft: Transform
    separator: Separator
    log_mse: LogMSE
    adversary: Adversary
    training: Training
    evaluation: Evaluation
    caption: str  # what stands under every table beside the facts from the runs' records
    experiments: Annotated[tuple[str, ...], Field(strict=False, min_length=1)]
    seeds: Annotated[tuple[int, ...], Field(strict=False, min_length=1)]

    @model_validator(mode="after")
    def _consistent(self) -> "Scale":
        if self.training.crop_seconds > self.audio.seconds:
            raise ValueError(
                f"training.crop_seconds: {self.training.crop_seconds} s exceed the examples' "
                f"audio.seconds of {self.audio.seconds} s"
            )
        window, hop = (round(s * self.audio.sample_rate) for s in (self.stft.window, self.stft.hop))
        if hop < 1 or window < 2 or self.training.crop_seconds < self.stft.window:
            raise ValueError(
                f"stft: at {self.audio.sample_rate} Hz a window of {window} samples and a hop of "
                f"{hop} do not fit crops of {self.training.crop_seconds} s"
            )
        if self.data.recipe and self.data.recipe.foregrounds[1] >= self.audio.sources:
            raise ValueError(
                f"data.recipe.foregrounds: {self.data.recipe.foregrounds[1]} foregrounds and one "
                f"background are more than audio.sources = {self.audio.sources}"
            )
        return self


class Slots(Frozen):
    """Of `Audio` only what files of estimates do not say themselves."""

    sources: Annotated[int, Field(ge=1, le=6)]


class Scoring(Frozen):
    """What scores of any program's estimates depend on; rate and length are the references'."""

    audio: Slots
    stft: Transform
    evaluation: Evaluation


class Run(Frozen):
    """Everything that one training depends on, resolved; saved in its record."""

    scale: str
    experiment: str
    seed: int
    audio: Audio
    data: Data
    stft: Transform
    separator: Separator
    log_mse: LogMSE
    reconstruction: str
    discriminators: Annotated[tuple[Discriminator, ...], Field(strict=False)]
    adversary: Adversary | None  # None without discriminators: none of its keys matter then
    training: Training
    train_as_long_as: str | None

    @model_validator(mode="after")
    def _replacements_leave_a_fake(self) -> "Run":
        for discriminator in self.discriminators:
            if discriminator.replace >= self.audio.sources:
                raise ValueError(
                    f"discriminators: {discriminator.name} replaces {discriminator.replace} of "
                    f"{self.audio.sources} estimates, which leaves no fake; replace must lie "
                    f"between 0 and {self.audio.sources - 1}"
                )
        return self

    @property
    def name(self) -> str:
        """Name of the run's folder."""
        return f"{self.experiment}-s{self.seed}"

    def weight(self, discriminator: Discriminator) -> float:
        """λ_d of one of the run's discriminators: its own, or λ/N."""
        if discriminator.weight is not None:
            return discriminator.weight
        assert self.adversary is not None, "a run with discriminators has an adversary"
        return self.adversary.weight / len(self.discriminators)

    @property
    def training_digest(self) -> str:
        """Hash of what the trained weights depend on."""
        return digest(self.model_dump(mode="json"))

    @property
    def resume_digest(self) -> str:
        """The same but for the number of steps, which may grow in a run that is taken up again."""
        return digest(self.resume_identity)

    @property
    def resume_identity(self) -> dict[str, Any]:
        """What a checkpoint must agree in with the run that goes on from it."""
        identity = self.model_dump(mode="json")
        del identity["training"]["steps"]
        return identity


class Reported(Frozen):
    """A published number: what it is of, on which data, by which measure, and where it was read."""

    system: str
    values: dict[Published, float]  # dB
    data: str
    metric: str
    read_in: str

    @field_validator("values", mode="before")
    @classmethod
    def _names(cls, values: object) -> object:
        # YAML reads the key `2` as a number.
        return {str(k): v for k, v in values.items()} if isinstance(values, dict) else values


class Guard(Frozen):
    """What must hold beside a claim: how much another measure's mean difference may be."""

    measure: str
    rises_at_most: float | None = None
    falls_at_most: float | None = None

    @model_validator(mode="after")
    def _says_something(self) -> "Guard":
        if self.rises_at_most is None and self.falls_at_most is None:
            raise ValueError("give rises_at_most, falls_at_most, or both")
        return self


class Claim(Frozen):
    """A claim of the paper as a contrast: `experiment` − `baseline` in one aggregate of scores."""

    claim: str
    experiment: str
    baseline: str
    measure: str  # a key of `apit.measure.statistics.AGGREGATES`
    better: Literal["higher", "lower"]
    worthwhile: PositiveFloat  # an improvement below it is none
    relative: bool = False  # worthwhile is a share of the baseline's mean
    provided: tuple[Guard, ...] = Field(default=(), strict=False)


def mixing_digest(scale: Scale) -> str:
    """Hash of what a scale's mixtures depend on."""
    return digest({"audio": scale.audio.model_dump(), "data": scale.data.model_dump()})
