"""Origins: one file for each folder that is made, with captions and what all in it was made of."""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from apit.code import code_of
from apit.errors import UserError
from apit.files import whole_file
from apit.provenance import commit, file_digest

ORIGIN = "origin.json"
# What is made anew whenever it is older than its inputs, and the files that it is computed with.
SHOWN = (
    *("present/table", "present/tables", "present/studies"),
    *("measure/statistics", "measure/table", "measure/variance"),
)
DRAWN = ("present/gallery", "present/looks")
CHOSEN = (
    *("measure/showcase", "measure/spectral_holes", "measure/si_snr", "models/stft"),
    *("losses/reconstruction", "losses/permutation"),
)
JUDGED = ("measure/contrasts", "measure/verdicts")
PRESENTATION: dict[str, tuple[str, ...]] = {
    "tables": (*SHOWN, *JUDGED, "present/runs", "measure/comparison"),
    "figures": (*SHOWN, *DRAWN, "present/figures", "measure/spread"),
    "spectrograms": (*SHOWN, *DRAWN, "present/spectrograms", *CHOSEN),
    "listen": (
        *DRAWN, "present/table", "present/listening", "present/listening.html",
        "present/spectrograms", *CHOSEN, "measure/selection", "measure/audition", "data/credits",
    ),
    "report": (*SHOWN, *JUDGED, "present/report", "present/runs"),
}  # fmt: skip
OF_RUN = (
    *("identity", "settings", "start", "sounds", "data", "data_sha256", "commit", "date", "steps"),
    *("training_seconds", "device", "python", "versions", "hardware", "threads"),
)


def write(folder: Path, kind: str, captions: Mapping[str, str], sources: Iterable[Path]) -> None:
    """Write `origin.json`: captions by name, command, commit, code, and the SHA-256 of each source.

    `kind` is one of `PRESENTATION`.

    What a source itself is of stands beside it, in `record.json` of a run and `identity.json`.
    """
    origin = {
        "command": ["apit", *sys.argv[1:]],
        "commit": commit(),
        "kind": kind,
        "code": code_of(PRESENTATION[kind]),
        "sources": {str(path): file_digest(path) for path in sorted(sources)},
        "captions": captions,
    }
    with whole_file(folder / ORIGIN) as partial:
        text = json.dumps(origin, ensure_ascii=False, indent=1) + "\n"
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")  # of odd paths


def trace(file: Path) -> Iterator[str]:
    """Lines that lead from a table or figure back to its data.

    Raises UserError where nothing says of what it was made.
    """
    beside = file.with_name(ORIGIN)
    try:
        origin = json.loads(beside.read_text(encoding="utf-8"))
        command, sources, captions = origin["command"], origin["sources"], origin["captions"]
    except (OSError, ValueError, KeyError):
        raise UserError(f"{file}: has no {ORIGIN} beside it that says what it is of") from None
    if file.stem not in captions:
        raise UserError(f"{file}: {beside} tells of {', '.join(captions)}, and not of it")
    yield f"{file}"
    yield f"  made at commit {origin['commit']} by"
    yield f"    {' '.join(command)}"
    yield "  from"
    for path, sha256 in sources.items():
        yield f"    {path}  sha256 {sha256}{_now(Path(path), sha256)}"
    for folder in dict.fromkeys(Path(path).parent for path in sources):
        if (path := folder / "record.json").exists():
            record = json.loads(path.read_text(encoding="utf-8"))
            yield f"  run {record['run']['experiment']}-s{record['run']['seed']}, in {folder}"
            yield from _listed({key: record[key] for key in OF_RUN if key in record})
        if (path := folder / "identity.json").exists():
            yield f"  identity of {folder}"
            yield from _listed(json.loads(path.read_text(encoding="utf-8")))


def faults(folder: Path, wanted: Mapping[str, str]) -> Iterator[tuple[Path, str]]:
    """What stands below a folder and was made of other files, or by other code, than are here now.

    `wanted` has today's identities of results by the paths of their names. Files that are not here
    are no fault.
    """
    for path in sorted(folder.rglob(ORIGIN)):
        try:
            origin = json.loads(path.read_text(encoding="utf-8"))
            is_current = origin["code"] == code_of(PRESENTATION[origin["kind"]])
        except (ValueError, KeyError):
            yield path, "is of another version of apit"
            continue
        if not is_current:
            yield path.parent, f"{origin['kind']}: is of other code"
        for source, sha256 in origin["sources"].items():
            used = Path(source).parent
            if (today := wanted.get(used.parent.as_posix(), used.name)) != used.name:
                yield path.parent, f"{origin['kind']}: is of {source}, and today's is {today}"
            if Path(source).exists() and file_digest(Path(source)) != sha256:
                yield path.parent, f"{origin['kind']}: is of another {source}"


def _now(path: Path, sha256: str) -> str:
    if not path.exists():
        return "  (not here now)"
    return "" if file_digest(path) == sha256 else "  (IS ANOTHER FILE NOW)"


def _listed(values: Mapping[str, Any]) -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            shown = ", ".join(f"{inner} {what}" for inner, what in value.items())
        else:
            shown = " ".join(map(str, value)) if isinstance(value, list) else str(value)
        yield f"    {key}: {shown}"
