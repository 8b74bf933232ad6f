"""A scale with all that its runs share, and a run with all that it depends on."""

from collections.abc import Iterator
from itertools import product
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from apit.config.base import Audio, Config, Name, Transform
from apit.config.data import Data
from apit.config.measuring import Evaluation, Planning
from apit.config.training import Adversary, Critic, Discriminator, LogMSE, Separator, Training

Values = Annotated[tuple[PositiveInt | PositiveFloat, ...], Field(strict=False, min_length=1)]


class Tuning(Config):
    """Trials of a grid, the same for every experiment, judged on validation alone."""

    grid: Annotated[dict[str, Values], Field(min_length=1)]  # `*`: the same for every domain
    steps: PositiveInt  # of a trial; the learning rate falls in proportion
    seed: int  # of trials, and of no run

    @field_validator("grid")
    @classmethod
    def _of_what_can_be_tuned(cls, grid: dict[str, Any]) -> dict[str, Any]:
        for key in grid:
            if not key.startswith(("training.", "adversary.")):
                raise ValueError(f"{key}: is no key of training or adversary")
        return grid

    def points(self, discriminators: bool) -> Iterator[dict[str, float]]:
        """The grid's points; for an experiment without discriminators, of `training` alone."""
        axes = {k: v for k, v in self.grid.items() if discriminators or "adversary" not in k}
        for values in product(*axes.values()):
            yield dict(zip(axes, values, strict=True))


UNTIL_DECIDED = ((0, 1, 2), (0, 1, 2, 3, 4, 5))  # two looks


class Row(Config):
    """An experiment of a scale: how often it is run, and what its trials chose for it there."""

    name: str
    seeds: Annotated[tuple[int, ...], Field(strict=False, min_length=1)] | None = None
    adversary: dict[str, Any] = Field(default_factory=dict)  # keys that are not the scale's
    training: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _named(cls, values: Any) -> Any:
        """A name alone is a row, too."""
        return {"name": values} if isinstance(values, str) else values


class Scale(Config):
    """All of a scale: what its runs share, and which runs it has."""

    audio: Audio
    data: Data
    stft: Transform
    separator: Separator
    log_mse: LogMSE
    adversary: Adversary
    tuning: Tuning | None
    training: Training
    evaluation: Evaluation
    planning: Planning
    caption: str  # what stands under every table beside the facts from the runs' records
    experiments: Annotated[tuple[Row, ...], Field(strict=False, min_length=1)]
    seeds: Annotated[tuple[int, ...], Field(strict=False, min_length=1)] | Literal["until decided"]

    @property
    def names(self) -> list[str]:
        """Names of the experiments."""
        return [row.name for row in self.experiments]

    @property
    def looks(self) -> tuple[tuple[int, ...], ...]:
        """Seeds of rows without their own, of each look at the claims."""
        return UNTIL_DECIDED if isinstance(self.seeds, str) else (self.seeds,)

    @property
    def runs(self) -> list[tuple[str, int]]:
        """Experiment and seed of every run; of those until decided, at the most."""
        own = [(row.name, row.seeds or self.looks[-1]) for row in self.experiments]
        return [(name, seed) for name, seeds in own for seed in seeds]

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
        names = self.names
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"experiments: {min(twice)} is listed twice")
        if self.tuning and self.tuning.seed in {seed for _, seed in self.runs}:
            raise ValueError(f"tuning.seed: {self.tuning.seed} is one of the seeds of runs, too")
        if self.data.recipe and self.data.recipe.foregrounds[1] >= self.audio.sources:
            raise ValueError(
                f"data.recipe.foregrounds: {self.data.recipe.foregrounds[1]} foregrounds and one "
                f"background are more than audio.sources = {self.audio.sources}"
            )
        return self


class Run(Config):
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
    as_costly_as: "Run | None"  # the run whose multiply-accumulates this one gets, in steps
    training: Training
    # Records of runs that are no forks may lack these.
    start_from: "Run | None" = None  # the run from whose end this one goes on
    warm_up: NonNegativeInt = 0  # steps before the first, in which discriminators train alone
    batches: Name | None = None  # of another generator of batches than that of the seed's runs

    @model_validator(mode="after")
    def _fits_where_it_starts_from(self) -> "Run":
        if (parent := self.start_from) is None:
            return self
        if parent.start_from is not None:
            raise ValueError(f"start_from: {parent.experiment} is itself a fork")
        if parent.separator != self.separator:
            raise ValueError(f"start_from: the separator of {parent.experiment} is another one")
        return self

    @model_validator(mode="after")
    def _discriminators_fit(self) -> "Run":
        if self.discriminators and self.training.crop_seconds != self.audio.seconds:
            raise ValueError(
                f"training.crop_seconds: {self.training.crop_seconds} s are not the whole mixture "
                f"of {self.audio.seconds} s, to which a discriminator's last layer is tied"
            )
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

    def critic(self, discriminator: Discriminator) -> Critic:
        """Sizes and optimiser of one of its discriminators."""
        critic: Critic = getattr(self.adversary, discriminator.domain)
        return critic


OF_MIXING_ALONE = {  # keys of a recipe that its bank does not depend on
    *("examples", "level", "background_level", "foreground_max_seconds", "foregrounds"),
    *("foreground_snr_db", "overhang", "fade_seconds"),
}
