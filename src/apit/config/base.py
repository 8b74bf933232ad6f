"""What all parts of a configuration share."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

Domain = Literal["wave", "stft", "mask"]
Split = Literal["train", "validation", "eval", "out_of_domain"]
Decay = Annotated[float, Field(ge=0, lt=1)]
Betas = Annotated[tuple[Decay, Decay], Field(strict=False)]  # of Adam
Range = Annotated[tuple[float, float], Field(strict=False)]
Name = Annotated[str, Field(pattern=r"^[\w-]+$")]


class Config(BaseModel):
    """A part of the configuration: unknown keys and wrong types fail, nothing changes later."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Audio(Config):
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


class Transform(Config):
    """Short-time Fourier transform, in seconds."""

    window: PositiveFloat
    hop: PositiveFloat

    @model_validator(mode="after")
    def _overlapping(self) -> "Transform":
        if self.hop > self.window / 2:
            raise ValueError(f"hop: {self.hop} s exceeds half the window of {self.window} s")
        return self
