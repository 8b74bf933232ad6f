"""What is measured, and what it is compared with."""

from typing import Annotated, Literal

from pydantic import (
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from apit.config.base import Config, Transform

# Depth of the hole rate that tables show, to which the inverse STFT refills small patches [ours].
HEADLINE_DB = 15
# Systems without training that bound every table, from below and from above.
TRIVIAL = ("mixture", "mixture-over-k", "mixture-in-one-slot")
IDEAL = ("ideal-binary-mask", "ideal-ratio-mask")
ORACLES = TRIVIAL + IDEAL
Published = Literal["1", "2", "3", "4", "2-4"]


class BSSEval(Config):
    """BSS Eval: windows in seconds, and how many first examples the workflow spends it on."""

    window: PositiveFloat
    hop: PositiveFloat
    examples: PositiveInt


class Evaluation(Config):
    """What is measured beyond SI-SNR, and what is kept to be looked at."""

    batch_size: PositiveInt
    hole_depths_db: Annotated[tuple[PositiveFloat, ...], Field(strict=False, min_length=1)]
    bss_eval: BSSEval
    keep_examples: NonNegativeInt  # of the evaluation split, from its first on
    resamples: PositiveInt  # of the bootstrap over mixtures

    @model_validator(mode="after")
    def _headline(self) -> "Evaluation":
        if HEADLINE_DB not in self.hole_depths_db:
            raise ValueError(f"hole_depths_db: lacks {HEADLINE_DB}, the depth that tables show")
        return self


class Slots(Config):
    """Of `Audio` only what files of estimates do not say themselves."""

    sources: Annotated[int, Field(ge=1, le=6)]


class Scoring(Config):
    """What scores of any program's estimates depend on; rate and length are the references'."""

    audio: Slots
    stft: Transform
    evaluation: Evaluation


class Reported(Config):
    """A published number: what it is of, on which data, by which measure, and where it was read.

    Metric A is the paper's SI-SNR, B the FUSS evaluator's.
    """

    system: str
    experiment: str | None = None  # of ours, or an oracle, that is the same
    values: dict[Published, float]  # dB
    data: str
    metric: str
    read_in: str

    @field_validator("values", mode="before")
    @classmethod
    def _names(cls, values: object) -> object:
        # YAML reads the key `2` as a number.
        return {str(k): v for k, v in values.items()} if isinstance(values, dict) else values


class Guard(Config):
    """What must hold beside a claim: how much another measure's mean difference may be."""

    measure: str
    rises_at_most: float | None = None
    falls_at_most: float | None = None

    @model_validator(mode="after")
    def _says_something(self) -> "Guard":
        if self.rises_at_most is None and self.falls_at_most is None:
            raise ValueError("give rises_at_most, falls_at_most, or both")
        return self


class Claim(Config):
    """A claim of the paper as a contrast: `experiment` − `baseline` in one aggregate of scores."""

    claim: str
    experiment: str
    baseline: str
    measure: str  # a key of `apit.measure.statistics.AGGREGATES`
    better: Literal["higher", "lower"]
    worthwhile: PositiveFloat  # an improvement below it is none
    relative: bool = False  # worthwhile is a share of the baseline's mean
    provided: tuple[Guard, ...] = Field(default=(), strict=False)
