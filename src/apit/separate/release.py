"""Weights for a release: the best plain and the best adversarial run of some, in one archive."""

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from apit.errors import UserError
from apit.files import whole_file
from apit.identity import FILE
from apit.measure.showcase import best_adversarial, best_plain
from apit.provenance import file_digest
from apit.training.record import RECORD, WEIGHTS, load_separator, weights_of

SUMS = "SHA256SUMS"


def best_of(runs: Mapping[Path, Mapping[str, Any]]) -> list[Path]:
    """Of runs without discriminators, and of those with some that learn, the best on validation."""
    return [folder for folder in (best_plain(runs), best_adversarial(runs)) if folder is not None]


def release(folders: list[Path], output: Path) -> str:
    """Pack what `apit separate --model` needs of each run into a tar → the tar's SHA-256.

    It holds `RUN/model.safetensors`, `RUN/record.json` and `RUN/identity.json`, and `SHA256SUMS`,
    which `sha256sum --check` takes; the same runs give the same bytes. `OUTPUT.sha256` has the
    tar's own. Raises UserError where weights cannot be read.
    """
    if not folders:
        raise UserError("there is no run to release")
    sums = []
    with whole_file(output) as partial, tarfile.open(partial, "w") as tar:
        for folder in folders:
            run, _ = load_separator(folder)
            files = [(WEIGHTS, weights_of(folder)), (RECORD, folder / RECORD)]
            files += [(FILE, folder / FILE)] if (folder / FILE).exists() else []
            for name, path in files:
                _add(tar, f"{run.name}/{name}", path.read_bytes())
                sums.append(f"{file_digest(path)}  {run.name}/{name}\n")
        _add(tar, SUMS, "".join(sums).encode())
    sha256 = file_digest(output)
    with whole_file(output.with_name(f"{output.name}.sha256")) as partial:
        partial.write_text(f"{sha256}  {output.name}\n", encoding="utf-8")
    return sha256


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)  # of no date and no owner
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))
