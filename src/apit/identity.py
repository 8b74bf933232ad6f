"""Identity: what a result depends on, and whether one that is here is of it.

Whatever takes time to make (clips, a bank, mixtures, packed mixtures, a run, scores) stands in a
folder that has its identity in `identity.json`, and in the workflow the identity's hash for a name
(`results/smoke/runs/pit-s0/3f2a9c1b`). So a result is valid if and only if it exists under the name
that configuration, inputs and code give it today.

Code counts as what it computes with: the modules that `CODE` lists beside each kind, without what
changes no number (`computes`).
"""

import importlib.util
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel

from apit.code import code_of
from apit.config import OF_MIXING_ALONE, Audio, Data, Package, Run, Scale
from apit.errors import UserError
from apit.provenance import digest, file_digest

FILE = "identity.json"
LENGTH = 8  # of a hash in a name

# Modules that each kind is computed with. What a run or scores read was made by other kinds.
READING = ("data/fuss", "data/packed", "data/examples", "data/batches")
SEPARATING = ("models/stft", "models/precision", "models/separators")
CODE: dict[str, tuple[str, ...]] = {
    "clips": (),
    "bank": ("data/bank", "data/clips", "data/rooms", "data/splits", "data/synthesis"),
    "mixtures": ("data/mixtures", "data/recipe"),
    "packed": ("data/packing", "data/packed", "data/fuss", "data/archives"),
    "run": (
        *READING, *SEPARATING, "models/complexity", "losses/permutation", "losses/reconstruction",
        "measure/si_snr", "training/state", "training/step", "training/train",
        "training/validation", "training/world",
    ),
    "scores": (
        *READING, *SEPARATING, "models/unet", "models/tdcnpp", "losses/permutation",
        "measure/bss_eval", "measure/score", "measure/si_snr", "measure/spectral_holes",
        "measure/systems",
    ),
}  # fmt: skip
# Where sounds are, and what they are called: their hashes, names and dates count instead.
PLACES = {"sounds": {"name", "address", "folder"}, "recipe": {"rooms": {"folder"}}}
WITH_DISCRIMINATORS = (
    "models/discriminators", "models/views", "losses/adversarial", "losses/balance",
)  # fmt: skip
REMIXING = {
    "none": (),
    "sources": ("data/remixing",),
    "clips": ("data/remixing", "data/recipe"),
}


class Stamp(NamedTuple):
    """An input's identity in short: its hash, and its hash but for all code."""

    id: str
    without_code: str


@dataclass(frozen=True)
class Identity:
    """What a result depends on: its resolved configuration, its inputs, the version of its code.

    `accepted` are identities of other code whose results were taken over as this one's, and why.
    """

    kind: str
    configuration: Mapping[str, Any]
    inputs: Mapping[str, Stamp] = field(default_factory=dict)
    code: str = ""
    accepted: tuple[Mapping[str, str], ...] = field(default=(), compare=False)

    @property
    def id(self) -> str:
        """Hash of all of it, which stands in names."""
        inputs = {name: stamp.id for name, stamp in self.inputs.items()}
        return digest([self.kind, self.configuration, inputs, self.code])[:LENGTH]

    @property
    def stamp(self) -> Stamp:
        """What identities of what is made from this one say of it."""
        inputs = {name: stamp.without_code for name, stamp in self.inputs.items()}
        return Stamp(self.id, digest([self.kind, self.configuration, inputs])[:LENGTH])

    def write(self, folder: Path) -> None:
        """Write `identity.json`."""
        content: dict[str, Any] = {
            "id": self.id, "kind": self.kind, "code": self.code,
            "inputs": {name: stamp._asdict() for name, stamp in self.inputs.items()},
            "configuration": self.configuration,
        }  # fmt: skip
        if self.accepted:
            content["accepted"] = list(self.accepted)
        (folder / FILE).write_text(json.dumps(content, indent=1) + "\n")

    @classmethod
    def read(cls, folder: Path) -> "Identity | None":
        """The identity of what stands in a folder; None where it has none.

        Raises UserError where its file cannot be read, or was edited.
        """
        path = folder / FILE
        try:
            content = json.loads(path.read_text())
            inputs = {name: Stamp(**stamp) for name, stamp in content["inputs"].items()}
            accepted = tuple(content.get("accepted", ()))
            identity = cls(
                content["kind"], content["configuration"], inputs, content["code"], accepted
            )
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path}: cannot be read ({error}); remove it, to make it anew"
            ) from None
        if identity.id != content["id"]:
            raise UserError(f"{path}: says {content['id']}, and is {identity.id}; it was edited")
        return identity


def to_resume(identity: Identity) -> Identity:
    """What a run must agree in to go on from another's checkpoint: all but how long it is."""
    training = {k: v for k, v in identity.configuration["training"].items() if k != "steps"}
    return replace(identity, configuration={**identity.configuration, "training": training})


def is_made(folder: Path, identity: Identity) -> bool:
    """Whether what stands in a folder is of an identity."""
    return Identity.read(folder) == identity


def differences(theirs: Any, ours: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Keys in which two identities, or parts of them, differ, and what to say of each."""
    if isinstance(theirs, Mapping) and isinstance(ours, Mapping):
        for name in sorted(theirs.keys() | ours.keys()):
            yield from differences(theirs.get(name), ours.get(name), f"{key}.{name}".lstrip("."))
    elif theirs != ours:
        yield key, f"{key.removeprefix('configuration.')} is {ours!r} and was {theirs!r}"


def check_configuration(folder: Path, wanted: Mapping[str, Any]) -> None:
    """Raise UserError, naming keys, where a folder says that it is of another configuration."""
    identity = Identity.read(folder)
    if identity is None or not identity.configuration:  # somebody else's
        return
    if said := "; ".join(text for _, text in differences(identity.configuration, wanted)):
        raise UserError(f"{folder}: was made for another configuration ({said}); make it again")


def stamp_of(path: Path) -> Stamp:
    """The stamp of an input: of its identity, or else of its files' names, sizes and dates.

    An archive is a file, whatever it is called.
    """
    identity = Identity.read(path)
    if identity is None:
        files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
        stats = [(str(file.relative_to(path)), file.stat()) for file in files]
        identity = Identity(
            "files", {"files": digest([(name, s.st_size, s.st_mtime_ns) for name, s in stats])}
        )
    return identity.stamp


def of_clips(packages: Sequence[Package]) -> Identity:
    """Of recordings of packages."""
    return Identity("clips", {"packages": [_dumped(package) for package in packages]})


def of_bank(
    audio: Audio, data: Data, clips: Stamp | None = None, rooms: Stamp | None = None
) -> Identity:
    """Of a bank, with folders of recorded clips and rooms where it has some."""
    configuration = data_settings(audio, data)
    recipe = configuration["data"]["recipe"]
    for key in OF_MIXING_ALONE:
        if key != "examples" or not recipe["rooms"]:  # as many examples, so many rooms
            del recipe[key]
    return _identity("bank", configuration, {"clips": clips, "rooms": rooms})


def of_mixtures(audio: Audio, data: Data, bank: Stamp) -> Identity:
    """Of mixtures."""
    return _identity("mixtures", data_settings(audio, data), {"bank": bank})


def of_packed(configuration: Mapping[str, Any], mixtures: Stamp | None = None) -> Identity:
    """Of packed mixtures, and the settings that they were mixed by; without, of FUSS's archive."""
    return _identity("packed", configuration, {"mixtures": mixtures})


def of_run(run: Run, data: Stamp, bank: Stamp | None = None) -> Identity:
    """Of a run; a loss of one's own counts as its file."""
    architecture = f"models/{run.separator.architecture}"
    modules = [*CODE["run"], architecture, *REMIXING[run.training.remix]]
    modules += WITH_DISCRIMINATORS if run.discriminators else ()
    code = digest([code_of(modules), _own_loss(run.reconstruction)])[:LENGTH]
    configuration = _dumped(run, {"data": PLACES, "as_costly_as": {"data"}})
    inputs = {"data": data} | ({"bank": bank} if bank else {})
    return Identity("run", configuration, inputs, code)


def of_scores(
    scale: Scale, system: str, data: Stamp, run: Stamp | None = None, **part: Any
) -> Identity:
    """Of the scores of a run, or of an oracle's; `part` says of what, if not of all that is due."""
    evaluation = _dumped(scale.evaluation)
    del evaluation["resamples"], evaluation["batch_size"]  # no score depends on them
    configuration = {"system": system, "stft": _dumped(scale.stft), "evaluation": evaluation}
    configuration |= part
    return _identity("scores", configuration, {"data": data, "run": run})


def data_settings(audio: Audio, data: Data) -> dict[str, Any]:
    """What mixtures depend on."""
    return {"audio": _dumped(audio), "data": _dumped(data, PLACES)}


def _identity(
    kind: str, configuration: Mapping[str, Any], inputs: Mapping[str, Stamp | None]
) -> Identity:
    given = {name: stamp for name, stamp in inputs.items() if stamp is not None}
    return Identity(kind, configuration, given, code_of(CODE[kind]))


def _dumped(part: BaseModel, exclude: Any = None) -> dict[str, Any]:
    return part.model_dump(mode="json", exclude=exclude)


def _own_loss(reconstruction: str) -> str | None:
    module, colon, _ = reconstruction.partition(":")
    spec = importlib.util.find_spec(module) if colon else None
    return file_digest(Path(spec.origin)) if spec and spec.origin else None
