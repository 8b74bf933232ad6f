"""Where sounds come from, and how they become mixtures."""

from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from apit.config.base import Config, Range, Split


class Procedural(Config):
    """Sounds computed from seeds, of the families in `apit.data.synthesis`."""

    kind: Literal["procedural"]
    clips_per_family: PositiveInt


class Package(Config):
    """A Debian package of recordings, which lie in one of its folders."""

    name: str
    folder: str
    licence: str  # of its recordings


class Packages(Config):
    """Recordings from Debian packages (or from a folder of one's own in their place)."""

    kind: Literal["packages"]
    packages: Annotated[tuple[Package, ...], Field(strict=False, min_length=1)]


class Folder(Config):
    """Recordings in a folder of this machine."""

    kind: Literal["folder"]
    folder: str | None = None  # else whoever makes the bank gives one


class Fuss(Config):
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


class Boxes(Config):
    """What box-shaped rooms are drawn from; ranges are in metres."""

    kind: Literal["box"]
    at_most: PositiveInt  # rooms of a split; more examples share them
    length: Range
    width: Range
    height: Range
    margin: Annotated[float, Field(gt=0)]  # of microphone and sources from every surface
    walls: Annotated[tuple[str, ...], Field(strict=False, min_length=1)]  # pyroomacoustics' names
    floors: Annotated[tuple[str, ...], Field(strict=False, min_length=1)]
    ceilings: Annotated[tuple[str, ...], Field(strict=False, min_length=1)]
    reflections: NonNegativeInt  # in a row, at the most

    @model_validator(mode="after")
    def _sides(self) -> "Boxes":
        for name in ("length", "width", "height"):
            low, high = getattr(self, name)
            if not 2 * self.margin < low <= high:
                raise ValueError(
                    f"{name}: [{low}, {high}] must rise, and leave room for a margin of "
                    f"{self.margin} m on both sides"
                )
        return self


class Recorded(Config):
    """Impulse responses in a folder of this machine, laid out as FUSS_rir_data is."""

    kind: Literal["recorded"]
    gain_db: float  # of every response
    folder: str | None = None  # else whoever makes the bank gives one


class Recipe(Config):
    """How clips become mixtures (after FUSS, whose values stand in `configs/fuss-recipe.yaml`)."""

    seed: int
    examples: dict[Split, PositiveInt]
    # What is in one split only: a clip, a whole family, or the folder of a split's name. A mixture
    # has no clip twice, and no family, if those are kept apart, as long as there are others.
    split_by: Literal["clip", "family", "folder"]
    clip_shares: dict[Split, PositiveFloat]
    held_out: Annotated[tuple[str, ...], Field(strict=False)]  # folders, for out_of_domain alone
    silence_db: Annotated[float, Field(lt=0)]  # below a clip's peak, trimmed at both its ends
    clipped_at_most: Annotated[float, Field(ge=0, le=1)]  # share of a usable clip's samples
    level: Literal["rms", "lufs"]  # of samples within 40 dB of the peak, or by ITU-R BS.1770-4
    background_level: Annotated[float, Field(le=0)]  # in dB relative to full scale, or LUFS
    background_min_seconds: PositiveFloat  # shorter clips are foregrounds only
    foreground_max_seconds: PositiveFloat | None  # longer clips are backgrounds only
    foregrounds: Annotated[tuple[NonNegativeInt, NonNegativeInt], Field(strict=False)]
    foreground_snr_db: Range  # against the background
    overhang: Literal["cut", "moved"]  # foregrounds that would sound on after the end
    fade_seconds: NonNegativeFloat  # at both ends of a foreground
    rooms: Annotated[Boxes | Recorded, Field(discriminator="kind")] | None  # None: as dry as clips

    @model_validator(mode="before")
    @classmethod
    def _nothing_held_out(cls, values: Any) -> Any:
        """Where no folder is held out, there is no split of what is."""
        if not isinstance(values, dict) or values.get("held_out"):
            return values
        examples = values.get("examples")
        if not isinstance(examples, dict):
            return values
        kept = {split: count for split, count in examples.items() if split != "out_of_domain"}
        return {**values, "examples": kept}

    @model_validator(mode="after")
    def _all_splits(self) -> "Recipe":
        for name, found in (("examples", self.examples), ("clip_shares", self.clip_shares)):
            if missing := sorted({"train", "validation", "eval"} - set(found)):
                raise ValueError(f"{name}: lacks {', '.join(missing)}")
        if "out_of_domain" in self.clip_shares:
            raise ValueError("clip_shares: out_of_domain has the folders of held_out, no share")
        if self.held_out and "out_of_domain" not in self.examples:
            raise ValueError("examples: lack out_of_domain, and held_out names folders for it")
        return self

    @model_validator(mode="after")
    def _ordered(self) -> "Recipe":
        for name in ("foregrounds", "foreground_snr_db"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name}: the lower end {low} is above the upper end {high}")
        return self


class Data(Config):
    """Where sounds come from, and how they are mixed; FUSS is mixed already, and has no recipe."""

    sounds: Annotated[Procedural | Packages | Folder | Fuss, Field(discriminator="kind")]
    recipe: Recipe | None

    @model_validator(mode="before")
    @classmethod
    def _mixed_already(cls, values: Any) -> Any:
        sounds = values.get("sounds") if isinstance(values, dict) else None
        if isinstance(sounds, dict) and sounds.get("kind") == "fuss":
            return {**values, "recipe": None}
        return values

    @model_validator(mode="after")
    def _recipe_where_mixed(self) -> "Data":
        if self.recipe is None and self.sounds.kind != "fuss":
            raise ValueError("recipe: is null, and these sounds need one to be mixed by")
        return self
