"""Where sounds come from, and how they become mixtures."""

from typing import Annotated, Literal, get_args

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from apit.config.base import Frozen, Range, Split


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
