"""Identity: what a result depends on, and whether one that is here is of it.

Whatever takes time to make (clips, a bank, mixtures, packed mixtures, a run, scores) stands in a
folder that has its identity in `identity.json`, and in the workflow the identity's hash for a name
(`results/smoke/runs/pit-s0/3f2a9c1b`). So a result is valid if and only if it exists under the name
that configuration, inputs and code give it today.

Which modules a kind is computed with, its own room says (`identities.py`); `apit.code` says what of
them counts.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from apit.code import code_of
from apit.errors import UserError
from apit.provenance import digest

FILE = "identity.json"
LENGTH = 8  # of a hash in a name


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
    def parts(self) -> dict[str, Any]:
        """What is compared: configuration, inputs by their hashes, code."""
        inputs = {name: stamp.id for name, stamp in self.inputs.items()}
        return {"configuration": self.configuration, "inputs": inputs, "code": self.code}

    @property
    def id(self) -> str:
        """Hash of all of it, which stands in names."""
        return digest([self.kind, *self.parts.values()])[:LENGTH]

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
        (folder / FILE).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "Identity | None":
        """The identity of what stands in a folder; None where it has none.

        Raises UserError where its file cannot be read, or was edited.
        """
        path = folder / FILE
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
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


def identify(
    kind: str,
    configuration: Mapping[str, Any],
    inputs: Mapping[str, Stamp | None],
    modules: Iterable[str],
) -> Identity:
    """The identity of what is computed with some modules, of the inputs that there are."""
    given = {name: stamp for name, stamp in inputs.items() if stamp is not None}
    return Identity(kind, configuration, given, code_of(modules)[:LENGTH])


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


def files_in(folder: Path) -> list[Path]:
    """Whatever is in a folder and below it but folders and what is hidden, sorted.

    Links are followed, but not to a folder that they are in. Raises UserError for a folder that
    cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise UserError(f"{error.filename}: cannot be read: {error.strerror}")

    files: list[Path] = []
    for path, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        here = Path(path)
        around = {one.resolve() for one in (here, *here.parents)}
        folders[:] = [n for n in folders if n[0] != "." and (here / n).resolve() not in around]
        files += [here / name for name in names if name[0] != "."]
    return sorted(files)


def stamp_of(path: Path) -> Stamp:
    """The stamp of an input: of its identity, or else of its files."""
    identity = Identity.read(path)
    return identity.stamp if identity else stamp_of_files(path)


def stamp_of_files(path: Path) -> Stamp:
    """The stamp of what somebody brings: of its files' names, sizes and dates.

    An archive is a file, whatever it is called.
    """
    if not path.exists():
        raise UserError(f"{path}: no such folder or file")
    files = [path] if path.is_file() else files_in(path)
    stats = [
        (str(file.relative_to(path)), file.stat() if file.exists() else file.lstat())
        for file in files
    ]
    listing = digest([(name, s.st_size, s.st_mtime_ns) for name, s in stats])
    return Identity("files", {"files": listing}).stamp


def beside(folder: Path) -> Path:
    """Weights of a run, or estimates of scores, that stand apart from their folder; or itself."""
    folder = folder if len(folder.parts) > 3 else folder.absolute()
    *_, kind, name, id = folder.parts
    results = Path(*folder.parts[:-3])
    if kind == "runs":
        return results / "weights" / name / f"{id}.safetensors"
    return results / "estimates" / name / id if kind == "scores" else folder


def end_of(folder: Path) -> Path:
    """File of a run's last checkpoint, from which forks start, beside its weights."""
    return beside(folder).with_suffix(".end.pt")
