"""Layers of configuration: `method.yaml`, `<scale>.yaml`, an experiment's entry, `--set`s.

Later layers override earlier ones key by key; errors name the layer that holds the wrong key.
"""

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from apit.config import (
    ORACLES,
    Claim,
    Config,
    Domain,
    Experiment,
    Recorded,
    Reported,
    Run,
    Scale,
    Scoring,
    Tuning,
)
from apit.errors import UserError


def shipped(file: Path, root: Path = Path()) -> Path:
    """A file as a folder has it; or else as the package comes with it, in a wheel or a clone."""
    package = Path(__file__).parent
    places = [place / file for place in (root, package, package.parents[1])]
    return next(filter(Path.is_file, places), places[0])


def configs_of(root: Path) -> Path:
    """A folder's own configurations; those that are shipped, where it has none."""
    return shipped(Path("configs", "method.yaml"), root).parent


CONFIGS = configs_of(Path())
NOT_SCALES = ("method", "experiments", "reported", "claims")  # files of configs/ for other ends
NO_UTF_8 = "[\udc80-\udcff]"  # bytes of names, as `surrogateescape` has them
LIKE = "like"  # in a scale's file: another scale, which it differs from in what it says

Part = TypeVar("Part", bound=Config)


class Layers:
    """A stack of configuration files (and `--set`s): merged values, and which file set a key."""

    def __init__(self, origin: str, values: Any):
        self.values: dict[str, Any] = {}
        self._stack: list[tuple[str, Mapping[str, Any]]] = []
        self.add(origin, values)

    def add(self, origin: str, values: Any) -> None:
        """Put a layer on top; raises UserError unless it is a mapping."""
        if not isinstance(values, Mapping):
            raise UserError(f"{origin}: must hold keys and values (it is {values!r})")
        if values or not self._stack:
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
        location = self._without_tags(problem["loc"])
        key = ".".join(map(str, location))
        where = f"{self.origin(location)}: {key}" if key else self.origin(location)
        if problem["type"] == "extra_forbidden":
            nearest = _nearest(str(location[-1]), _siblings(model, location))
            return f"{where}: unknown key; {nearest}"
        if problem["type"] == "missing":
            return f"{where}: is missing"
        message = problem["msg"].removeprefix("Value error, ")
        got = problem.get("input")
        shown = "" if isinstance(got, dict | list | BaseModel) else f" (it is {got!r})"
        return f"{where}: {message}{shown}"

    def _without_tags(self, location: Sequence[str | int]) -> list[str | int]:
        """A key's path as the files have it: pydantic puts tags of unions between."""
        key: list[str | int] = []
        node: Any = self.values
        tag = None
        for part in location:
            if isinstance(node, Mapping) and part != tag:
                node = node.get(part)
                tag = node.get("kind") if isinstance(node, Mapping) else None
                key.append(part)
            elif isinstance(node, list) and isinstance(part, int):
                node = node[part] if part < len(node) else None
                key.append(part)
            else:
                tag = None
        return key


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


def _siblings(model: type[BaseModel], location: Sequence[str | int]) -> list[str]:
    """Valid keys beside one, of all kinds of what stands there, to suggest the nearest one."""
    models = [model]
    for name in (part for part in location[:-1] if isinstance(part, str)):
        fields = (m.model_fields[name] for m in models if name in m.model_fields)
        models = [inner for field in fields for inner in _models_in(field.annotation)]
    return [name for m in models if location[-1] not in m.model_fields for name in m.model_fields]


def _nearest(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models_in(inner)]


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML 1.2 file that holds a mapping (so `1e-3` is a number, and keys are unique)."""
    values = _parsed(path)
    if not isinstance(values, dict):
        raise UserError(f"{path}: must hold keys and values")
    return values


def load_reported(configs: Path = CONFIGS) -> list[Reported]:
    """Read the published numbers.

    Raises UserError naming file, position and key.
    """
    return _load_list(configs / "reported.yaml", Reported)


def load_claims(configs: Path = CONFIGS) -> list[Claim]:
    """Read the claims that verdicts are given on.

    Raises UserError naming file, position and key, or the nearest experiment.
    """
    path = configs / "claims.yaml"
    claims = _load_list(path, Claim)
    known = experiment_names(configs)
    for contrast in (contrast for claim in claims for contrast in claim.contrasts):
        for name, there in (
            (contrast.experiment, known),
            (contrast.baseline, [*known, *ORACLES]),
        ):
            if name not in there:
                raise _unknown("experiment", name, there, path)
    return claims


def _load_list(path: Path, model: type[Part]) -> list[Part]:
    entries = _parsed(path)
    if not isinstance(entries, list):
        raise UserError(f"{path}: must hold a list")
    numbered = enumerate(entries, 1)
    return [Layers(f"{path}: entry {n}", entry).validate(model) for n, entry in numbered]


def reported_for(scale: Scale, configs: Path = CONFIGS) -> list[Reported]:
    """The published numbers that may stand beside a scale's own: those of the same data."""
    sounds = scale.data.sounds
    if sounds.kind != "fuss":
        return []
    return [reported for reported in load_reported(configs) if reported.data == sounds.name]


def _parsed(path: Path) -> Any:
    try:
        return _yaml(path.read_text("utf-8-sig"))
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such file; run from the repository's root, or give --configs DIR"
        ) from None
    except (YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is not valid YAML: {error}") from None


@cache
def _yaml(text: str) -> Any:
    """What a text says; once for all runs of a scale, which are made of the same few texts."""
    return YAML(typ="safe", pure=True).load(text)


def scale_names(configs: Path = CONFIGS) -> list[str]:
    """All scales: the files of `configs/` that are not something else."""
    return sorted(p.stem for p in configs.glob("*.yaml") if p.stem not in NOT_SCALES)


def experiment_names(configs: Path = CONFIGS) -> list[str]:
    """All experiments, in the order of `configs/experiments.yaml`."""
    return list(read_yaml(configs / "experiments.yaml"))


def _unknown(what: str, name: str, known: Sequence[str], where: Path) -> UserError:
    return UserError(f"{where}: no {what} is called {name!r}; {_nearest(name, known)}")


def _overrides(settings: Sequence[str]) -> dict[str, Any]:
    """Nested mapping of `key.key=value` settings; values are read as YAML.

    One with bytes that are no UTF-8, as names of files may be, is a text as it stands.
    """
    nested: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not re.fullmatch(r"[\w-]+(\.[\w-]+)*", key):
            raise UserError(f"--set {setting}: write key=value, such as training.steps=40")
        try:
            value: Any = text if re.search(NO_UTF_8, text) else _yaml(text)
        except YAMLError as error:
            raise UserError(f"--set {setting}: the value is not valid YAML: {error}") from None
        for part in reversed(key.split(".")):
            value = {part: value}
        nested = merge(nested, value)
    return nested


def _scale_layers(
    scale: str, own: Mapping[str, Any], configs: Path, experiment: str | None = None
) -> Layers:
    """All layers of a scale, and `--set`s; with what its trials chose for an experiment."""
    if scale not in scale_names(configs):
        raise _unknown("scale", scale, scale_names(configs), configs)
    layers = Layers(str(configs / "method.yaml"), read_yaml(configs / "method.yaml"))
    path = configs / f"{scale}.yaml"
    files = [(path, read_yaml(path))]
    while (like := files[-1][1].get(LIKE)) is not None:
        if like not in scale_names(configs):
            raise _unknown("scale", str(like), scale_names(configs), files[-1][0])
        other = configs / f"{like}.yaml"
        if other in dict(files):
            raise UserError(f"{files[-1][0]}: like: {like} is itself like this scale")
        files.append((other, read_yaml(other)))
    for file, values in reversed(files):
        layers.add(str(file), {key: value for key, value in values.items() if key != LIKE})
    rows = merge(layers.values, own).get("experiments") or ()
    for row in (row for row in rows if isinstance(row, Mapping) and row.get("name") == experiment):
        chosen = {part: row[part] for part in ("adversary", "training") if part in row}
        layers.add(f"{path}: experiments: {experiment}", chosen)
    layers.add("--set", own)
    return layers


def load_scale(name: str, settings: Sequence[str] = (), configs: Path = CONFIGS) -> Scale:
    """Read a scale's configuration.

    Raises UserError naming file, key and the nearest valid key.
    """
    own = _overrides(settings)
    own.pop("experiment", None)
    scale = _scale_layers(name, own, configs).validate(Scale)
    known = experiment_names(configs)
    for experiment in scale.names:
        if experiment not in known:
            raise _unknown("experiment", experiment, known, configs / "experiments.yaml")
    return scale


def trial_settings(run: Run, tuning: Tuning, point: Mapping[str, float]) -> list[str]:
    """How a trial differs from a run: a point of the grid, steps, how soon the rate is halved.

    `*` in a key of the point is every domain. A part of its batch is no larger than one of the
    run's, so that it fits where that does.
    """
    training, steps = run.training, tuning.steps
    part = training.batch_size // training.grad_accum_steps
    batch = int(point.get("training.batch_size", training.batch_size))
    counts = (n for n in range(1, batch + 1) if batch % n == 0)
    keys = [
        (key.replace("*", domain), value)
        for key, value in point.items()
        for domain in (get_args(Domain) if "*" in key else [""])
    ]
    return [
        *(f"{key}={value}" for key, value in keys),
        f"training.grad_accum_steps={next(n for n in counts if batch // n <= part)}",
        f"training.steps={steps}",
        f"training.lr_step={max(training.lr_step * steps // training.steps, 1)}",
    ]


def own_folders_settings(scale: Scale, clips: str | None, rooms: str | None) -> list[str]:
    """How a scale differs where folders of one's own take the place of its sounds and rooms.

    What is held out of the scale's own packages does not apply then. Raises UserError where a scale
    has no place for them, or needs one.
    """
    sounds, recipe = scale.data.sounds, scale.data.recipe
    settings: list[str] = []
    if recipe is None:
        if clips or rooms:
            raise UserError("this scale is mixed already: clips and rooms of your own need another")
        return settings
    if clips:
        settings += ["data.sounds.kind=folder", f"data.sounds.folder={_quoted(clips)}"]
        packages = (p.name for p in sounds.packages) if sounds.kind == "packages" else ()
        if of_packages := set(recipe.held_out).intersection(packages):
            left = [folder for folder in recipe.held_out if folder not in of_packages]
            settings.append(f"data.recipe.held_out={json.dumps(left)}")
    elif sounds.kind == "folder" and not sounds.folder:
        raise UserError("this scale mixes a folder of yours: add clips=FOLDER")
    recorded = recipe.rooms if isinstance(recipe.rooms, Recorded) else None
    if rooms and recorded is None:
        raise UserError("rooms: data.recipe.rooms has no kind: recorded, which would read them")
    if recorded and not rooms and not recorded.folder:
        raise UserError("this scale has recorded rooms of yours: add rooms=FOLDER")
    return settings + ([f"data.recipe.rooms.folder={_quoted(rooms)}"] if rooms else [])


def _quoted(text: str) -> str:
    """A text as YAML has it, which knows no pairs of surrogates, and single ones as escapes."""
    quoted = json.dumps(text, ensure_ascii=False)
    return re.sub(NO_UTF_8, lambda byte: rf"\u{ord(byte[0]):x}", quoted)


def load_scoring(settings: Sequence[str] = (), configs: Path = CONFIGS) -> Scoring:
    """What `method.yaml` says of measuring, for estimates that belong to no scale.

    Raises UserError naming file, key and the nearest valid key.
    """
    path = configs / "method.yaml"
    values = read_yaml(path)
    layers = Layers(str(path), {k: values[k] for k in Scoring.model_fields if k in values})
    layers.add("--set", _overrides(settings))
    return layers.validate(Scoring)


def load_run(
    scale_name: str,
    experiment_name: str,
    seed: int,
    settings: Sequence[str] = (),
    configs: Path = CONFIGS,
    within: Sequence[str] = (),
) -> Run:
    """Resolve one experiment at one scale; `--set experiment.KEY=…` reaches into its entry.

    `within` are the experiments whose entries lead to it.
    Raises UserError naming file, key and the nearest valid key.
    """
    path = configs / "experiments.yaml"
    entries = read_yaml(path)
    if experiment_name not in entries:
        raise _unknown("experiment", experiment_name, list(entries), path)
    own = _overrides(settings)
    entry = Layers(f"{path}: {experiment_name}", entries[experiment_name])
    entry.add("--set experiment", own.pop("experiment", {}))
    experiment = entry.validate(Experiment)
    others: dict[str, Run | None] = {}
    for key in ("as_costly_as", "start_from"):
        other: str | None = getattr(experiment, key)
        if other in (way := [*within, experiment_name]):
            raise UserError(f"{path}: {way[-1]}: {key}: {other} is the experiment itself")
        shared = [setting for setting in settings if not setting.startswith("experiment.")]
        others[key] = load_run(scale_name, other, seed, shared, configs, way) if other else None

    layers = _scale_layers(scale_name, own, configs, experiment_name)
    parts = ("separator", "adversary", "training")
    keys = {part: getattr(experiment, part) for part in parts if getattr(experiment, part)}
    layers.add(entry.origin([*keys]), keys)
    layers.add("--set", own)
    scale = layers.validate(Scale)
    run = {name: getattr(scale, name) for name in Run.model_fields if hasattr(scale, name)} | {
        "scale": scale_name,
        "experiment": experiment_name,
        "seed": seed,
        "separator": scale.separator.chosen,
        "reconstruction": experiment.reconstruction,
        "discriminators": experiment.discriminators,
        "adversary": scale.adversary if experiment.discriminators else None,
        "warm_up": experiment.warm_up,
        "batches": experiment.batches,
        **others,
    }
    return Layers(f"{path}: {experiment_name}", run).validate(Run)
