"""Origins: beside each table and figure a file with its caption and what it was made of."""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from apit.errors import UserError
from apit.files import whole_file
from apit.provenance import commit, file_digest

OF_RUN = (
    *("code", "digest", "settings", "sounds", "data", "data_sha256", "commit", "date", "steps"),
    *("training_seconds", "device", "python", "versions", "hardware", "threads"),
)


def write(
    folder: Path,
    captions: Mapping[str, str],
    sources: Iterable[Path],
    records: Sequence[Mapping[str, Any]],
) -> None:
    """Write `NAME.json` for each name: caption, command, commit, hashes of sources, and runs."""
    found = {
        "command": ["apit", *sys.argv[1:]],
        "commit": commit(),
        "sources": {str(path): file_digest(path) for path in sorted(sources)},
        "runs": {
            f"{record['run']['experiment']}-s{record['run']['seed']}": {
                key: record[key] for key in OF_RUN if key in record
            }
            for record in records
        },
    }
    for name, caption in captions.items():
        with whole_file(folder / f"{name}.json") as partial:
            partial.write_text(json.dumps({"caption": caption} | found, indent=1) + "\n")


def trace(file: Path) -> Iterator[str]:
    """Lines that lead from a table or figure back to its data.

    Raises UserError where nothing says of what it was made.
    """
    beside = file.with_suffix(".json")
    try:
        found = json.loads(beside.read_text())
        command, runs, sources = found["command"], found["runs"], found["sources"]
    except (OSError, ValueError, KeyError):
        raise UserError(f"{file}: has no {beside.name} beside it that says what it is of") from None
    yield f"{file}"
    yield f"  made at commit {found['commit']} by"
    yield f"    {' '.join(command)}"
    yield "  from"
    for path, sha256 in sources.items():
        yield f"    {path}  sha256 {sha256}{_now(Path(path), sha256)}"
    for name, run in runs.items():
        yield f"  run {name}"
        for key in OF_RUN:
            if key in run:
                yield f"    {key}: {_shown(run[key])}"


def _now(path: Path, sha256: str) -> str:
    if not path.exists():
        return "  (not here now)"
    return "" if file_digest(path) == sha256 else "  (IS ANOTHER FILE NOW)"


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {inner}" for key, inner in value.items())
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
