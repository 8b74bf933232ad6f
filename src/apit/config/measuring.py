"""What is measured, and what it is compared with."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

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


class Planning(Config):
    """What is taken for the noise of SI-SNR where it was not measured yet: deviations in dB."""

    between_runs: PositiveFloat
    between_mixtures: PositiveFloat  # of the difference of two systems


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
    """What must hold beside a claim: by how much another measure may rise, or fall, at the most.

    It holds where the whole interval of the difference does.
    """

    measure: str
    rises_less_than: PositiveFloat | None = None
    falls_less_than: PositiveFloat | None = None

    @model_validator(mode="after")
    def _says_something(self) -> "Guard":
        if (self.rises_less_than is None) == (self.falls_less_than is None):
            raise ValueError("give one of rises_less_than and falls_less_than")
        return self


class Contrast(Config):
    """Two experiments (or an oracle as baseline), an aggregate of scores, and what it is to show.

    superior: the difference is above 0, and `margin` is what is worthwhile; noninferior: it is
    above −margin; equivalent: within ±margin.
    """

    of: str = ""  # which part of the statement
    experiment: str
    baseline: str
    measure: str  # a key of `apit.measure.statistics.AGGREGATES`
    test: Literal["superior", "noninferior", "equivalent"] = "superior"
    better: Literal["higher", "lower"] = "higher"
    margin: PositiveFloat
    relative: bool = False  # margin is a share of the baseline's mean
    provided: tuple[Guard, ...] = Field(default=(), strict=False)


class Claim(Config):
    """A statement of the paper; it is reproduced where all of its contrasts are that were run."""

    claim: str
    paper: str | None = None  # what its text gives for it; without, it is no claim of the paper
    contrasts: Annotated[tuple[Contrast, ...], Field(strict=False, min_length=1)]

    @model_validator(mode="before")
    @classmethod
    def _shared(cls, values: Any) -> Any:
        """What a claim says, each of its contrasts does."""
        if not isinstance(values, Mapping) or not isinstance(values.get("contrasts"), list):
            return values
        own = {k: values[k] for k in ("claim", "paper") if k in values}
        shared = {k: v for k, v in values.items() if k not in (*own, "contrasts")}
        contrasts = [{**shared, **c} if isinstance(c, Mapping) else c for c in values["contrasts"]]
        return {**own, "contrasts": contrasts}
