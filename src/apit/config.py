"""Configuration: `configs/method.yaml`, then `configs/<scale>.yaml`, then an experiment's entry.

Later layers override earlier ones key by key. There are no defaults in code: every value that a
run depends on stands in a file under `configs/`, or in a `--set key=value`.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from apit.errors import UserError
from apit.provenance import digest

CONFIGS = Path("configs")
NOT_SCALES = ("method", "experiments", "reported")  # files in configs/ with another purpose

Domain = Literal["wave", "stft", "mask"]
Split = Literal["train", "validation", "eval"]
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


class Fuss(Frozen):
    """The FUSS data set: mixtures that somebody else made."""

    kind: Literal["fuss"]
    address: str
    bytes: PositiveInt
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Recipe(Frozen):
    """How clips become mixtures (after FUSS; levels are RMS over active samples, not LUFS)."""

    seed: int
    examples: dict[Split, PositiveInt]
    clip_shares: dict[Split, PositiveFloat]  # of the clips, disjoint
    background_level_db: Annotated[float, Field(le=0)]  # relative to full scale
    background_min_seconds: PositiveFloat  # shorter clips are foregrounds only
    foregrounds: Annotated[tuple[NonNegativeInt, NonNegativeInt], Field(strict=False)]
    foreground_snr_db: Range  # against the background

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


class Separator(Frozen):
    """The TDCN++ of the FUSS baseline at any size, and how its output becomes masks."""

    architecture: Literal["tdcnpp"]
    masks: Literal["sigmoid", "softmax"]
    repeats: PositiveInt
    blocks: PositiveInt  # per repeat; block b has dilation 2^b
    bottleneck: PositiveInt
    channels: PositiveInt
    kernel: PositiveInt


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
    gradient_clip: PositiveFloat  # norm
    log_every: PositiveInt
    validate_every: PositiveInt
    threads: PositiveInt


class Evaluation(Frozen):
    """What is measured beyond SI-SNR, and what is kept to be looked at."""

    batch_size: PositiveInt
    hole_depths_db: Annotated[tuple[PositiveFloat, ...], Field(strict=False, min_length=1)]
    keep_examples: NonNegativeInt  # of the evaluation split, from its first on
    resamples: PositiveInt  # of the bootstrap over mixtures


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
    caption: str  # one sentence that stands under every table
    experiments: Annotated[tuple[str, ...], Field(strict=False, min_length=1)]
    seeds: Annotated[tuple[int, ...], Field(strict=False, min_length=1)]

    @model_validator(mode="after")
    def _consistent(self) -> "Scale":
        if self.training.crop_seconds > self.audio.seconds:
            raise ValueError(
                f"training.crop_seconds: {self.training.crop_seconds} s exceed the examples' "
                f"audio.seconds of {self.audio.seconds} s"
            )
        if self.data.recipe and self.data.recipe.foregrounds[1] >= self.audio.sources:
            raise ValueError(
                f"data.recipe.foregrounds: {self.data.recipe.foregrounds[1]} foregrounds and one "
                f"background are more than audio.sources = {self.audio.sources}"
            )
        return self


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
    evaluation: Evaluation

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
        return digest(self.model_dump(mode="json", exclude={"evaluation"}))


class Layers:
    """A stack of configuration files (and `--set`s): merged values, and which file set a key."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self._stack: list[tuple[str, Mapping[str, Any]]] = []

    def add(self, origin: str, values: Mapping[str, Any]) -> None:
        """Put a layer on top."""
        self._stack.append((origin, values))
        self.values = merge(self.values, values)

    def origin(self, location: Sequence[str | int]) -> str:
        """The topmost layer that holds the longest part of a key's path."""
        best, longest = self._stack[-1][0], 0
        for origin, values in self._stack:
            node: Any = values
            depth = 0
            for part in location:
                if not (isinstance(node, Mapping) and part in node):
                    break
                node, depth = node[part], depth + 1
            if depth and depth >= longest:
                best, longest = origin, depth
        return best

    def validate(self, model: type[Part]) -> Part:
        """Make `model` of the merged values, or raise an error that says which key is wrong."""
        try:
            return model.model_validate(self.values)
        except ValidationError as error:
            lines = [self._explain(model, dict(problem)) for problem in error.errors()]
            raise UserError("\n".join(lines)) from None

    def _explain(self, model: type[BaseModel], problem: dict[str, Any]) -> str:
        # Discriminated unions put their tag into the path; the files do not have it.
        location = [p for p in problem["loc"] if p not in ("procedural", "package", "fuss")]
        key = ".".join(map(str, location))
        where = f"{self.origin(location)}: {key}" if key else self.origin(location)
        if problem["type"] == "extra_forbidden":
            valid = fields_at(model, location[:-1])
            return f"{where}: unknown key; {_nearest(str(location[-1]), valid)}"
        if problem["type"] == "missing":
            return f"{where}: is missing"
        message = problem["msg"].removeprefix("Value error, ")
        got = problem.get("input")
        shown = "" if isinstance(got, dict | list | BaseModel) else f" (it is {got!r})"
        return f"{where}: {message}{shown}"


def merge(base: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    """Merge mappings key by key; anything else, lists included, is replaced whole.

    A mapping whose `kind` differs is another thing altogether and is replaced too.
    """
    merged = dict(base)
    for key, value in override.items():
        old = merged.get(key)
        if (
            isinstance(old, Mapping)
            and isinstance(value, Mapping)
            and value.get("kind", old.get("kind")) == old.get("kind")
        ):
            merged[key] = merge(old, value)
        else:
            merged[key] = value
    return merged


def fields_at(model: type[BaseModel], location: Sequence[str | int]) -> list[str]:
    """Valid keys at a place in the configuration, to suggest the nearest one."""
    candidates: list[Any] = [model]
    for part in location:
        if isinstance(part, int):
            continue
        candidates = [
            inner
            for candidate in candidates
            if part in candidate.model_fields
            for inner in _models_in(candidate.model_fields[part].annotation)
        ]
    return [field for candidate in candidates for field in candidate.model_fields]


def _nearest(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, UnionType, tuple, list, Annotated):
        return [model for inner in get_args(annotation) for model in _models_in(inner)]
    return []


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML 1.2 file that holds a mapping (so `1e-3` is a number, and keys are unique)."""
    try:
        values = YAML(typ="safe", pure=True).load(path)
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such file; run from the repository's root, or give --configs DIR"
        ) from None
    except YAMLError as error:
        raise UserError(f"{path}: is not valid YAML: {error}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: must hold keys and values")
    return values


def scale_names(configs: Path = CONFIGS) -> list[str]:
    """All scales: the files of `configs/` that are not something else."""
    return sorted(p.stem for p in configs.glob("*.yaml") if p.stem not in NOT_SCALES)


def experiment_names(configs: Path = CONFIGS) -> list[str]:
    """All experiments, in the order of `configs/experiments.yaml`."""
    return list(read_yaml(configs / "experiments.yaml"))


def _unknown(what: str, name: str, known: Sequence[str], where: Path) -> UserError:
    return UserError(f"{where}: no {what} is called {name!r}; {_nearest(name, known)}")


def _overrides(settings: Sequence[str]) -> dict[str, Any]:
    """Nested mapping of `key.key=value` settings; values are read as YAML."""
    nested: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not re.fullmatch(r"[\w-]+(\.[\w-]+)*", key):
            raise UserError(f"--set {setting}: write key=value, such as training.steps=40")
        try:
            value = YAML(typ="safe", pure=True).load(text)
        except YAMLError as error:
            raise UserError(f"--set {setting}: the value is not valid YAML: {error}") from None
        for part in reversed(key.split(".")):
            value = {part: value}
        nested = merge(nested, value)
    return nested


def _scale_layers(scale: str, settings: Sequence[str], configs: Path) -> Layers:
    if scale not in scale_names(configs):
        raise _unknown("scale", scale, scale_names(configs), configs)
    layers = Layers()
    for path in (configs / "method.yaml", configs / f"{scale}.yaml"):
        layers.add(str(path), read_yaml(path))
    settings_tree = {k: v for k, v in _overrides(settings).items() if k != "experiment"}
    if settings_tree:
        layers.add("--set", settings_tree)
    return layers


def load_scale(name: str, settings: Sequence[str] = (), configs: Path = CONFIGS) -> Scale:
    """Read a scale's configuration.

    Raises UserError naming file, key and the nearest valid key.
    """
    scale = _scale_layers(name, settings, configs).validate(Scale)
    known = experiment_names(configs)
    for experiment in scale.experiments:
        if experiment not in known:
            raise _unknown("experiment", experiment, known, configs / "experiments.yaml")
    return scale


def load_run(
    scale_name: str,
    experiment_name: str,
    seed: int,
    settings: Sequence[str] = (),
    configs: Path = CONFIGS,
) -> Run:
    """Resolve one experiment at one scale; `--set experiment.KEY=…` reaches into its entry.

    Raises UserError naming file, key and the nearest valid key.
    """
    path = configs / "experiments.yaml"
    entries = read_yaml(path)
    if experiment_name not in entries:
        raise _unknown("experiment", experiment_name, list(entries), path)
    entry = Layers()
    entry.add(f"{path}: {experiment_name}", entries[experiment_name] or {})
    if chosen := _overrides(settings).get("experiment"):
        entry.add("--set experiment", chosen)
    experiment = entry.validate(Experiment)
    matched = experiment.train_as_long_as
    if matched is not None and matched not in entries:
        raise _unknown("experiment", matched, list(entries), path)

    layers = _scale_layers(scale_name, settings, configs)
    if experiment.separator:
        layers.add(entry.origin(["separator"]), {"separator": experiment.separator})
    scale = layers.validate(Scale)
    parts = {name: getattr(scale, name) for name in Run.model_fields if hasattr(scale, name)}
    try:
        return Run(
            **parts
            | {
                "scale": scale_name,
                "experiment": experiment_name,
                "seed": seed,
                "reconstruction": experiment.reconstruction,
                "discriminators": experiment.discriminators,
                "adversary": scale.adversary if experiment.discriminators else None,
                "train_as_long_as": matched,
            }
        )
    except ValidationError as error:
        message = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise UserError(f"{path}: {experiment_name}: {message}") from None


def mixing_digest(scale: Scale) -> str:
    """Hash of what a scale's mixtures depend on."""
    return digest({"audio": scale.audio.model_dump(), "data": scale.data.model_dump()})
