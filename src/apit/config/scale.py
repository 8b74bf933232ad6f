"""A scale with all that its runs share, and a run with all that it depends on."""

from typing import Annotated, Any

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from apit.config.base import Audio, Config, Transform
from apit.config.data import Data
from apit.config.measuring import Evaluation
from apit.config.training import Adversary, Discriminator, LogMSE, Separator, Training
from apit.provenance import digest


class Tuning(Config):
    """Trials of rate × batch, the same for every experiment, judged on validation alone."""

    learning_rates: Annotated[tuple[PositiveFloat, ...], Field(strict=False, min_length=1)]
    batch_sizes: Annotated[tuple[PositiveInt, ...], Field(strict=False, min_length=1)]
    steps: PositiveInt  # of a trial; the learning rate falls in proportion
    seed: int  # of trials, and of no run


class Scale(Config):
    """All of a scale: what its runs share, and which runs it has."""

    audio: Audio
    data: Data
    stft: Transform
    separator: Separator
    log_mse: LogMSE
    adversary: Adversary
    tuning: Tuning | None
    tuned: dict[str, dict[str, Any]]  # by experiment, keys of `training` that are not the scale's
    training: Training
    evaluation: Evaluation
    caption: str  # what stands under every table beside the facts from the runs' records
    experiments: Annotated[tuple[str, ...], Field(strict=False, min_length=1)]
    seeds: Annotated[tuple[int, ...], Field(strict=False, min_length=1)]
    once: Annotated[tuple[str, ...], Field(strict=False)]  # experiments of the first seed alone

    @property
    def runs(self) -> list[tuple[str, int]]:
        """Experiment and seed of every run."""
        return [
            (experiment, seed)
            for experiment in self.experiments
            for seed in (self.seeds[:1] if experiment in self.once else self.seeds)
        ]

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
        if others := [name for name in self.once if name not in self.experiments]:
            raise ValueError(f"once: {others[0]} is none of the scale's experiments")
        if self.tuning and self.tuning.seed in self.seeds:
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


OF_MIXING_ALONE = {
    *("examples", "level", "background_level", "foreground_max_seconds", "foregrounds"),
    *("foreground_snr_db", "overhang", "fade_seconds"),
}


def bank_digest(audio: Audio, data: Data) -> str:
    """Hash of what a bank of clips and rooms depends on."""
    recipe = data.recipe
    return digest(
        {
            "audio": audio.model_dump(),
            "sounds": data.sounds.model_dump(),
            "recipe": recipe.model_dump(exclude=OF_MIXING_ALONE) if recipe else None,
            "rooms": dict(recipe.examples) if recipe and recipe.rooms else None,
        }
    )


def mixing_digest(audio: Audio, data: Data) -> str:
    """Hash of what mixtures depend on."""
    return digest({"audio": audio.model_dump(), "data": data.model_dump()})
