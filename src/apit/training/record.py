"""What a finished run leaves: weights, history, and a record of how they came to be."""

import json
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import pandas as pd
from safetensors import SafetensorError
from safetensors.torch import load_file

from apit.config import Run
from apit.errors import UserError
from apit.identity import Identity, beside, end_of
from apit.models.separators import Separator, make_separator
from apit.own import file_of, is_own
from apit.provenance import file_digest
from apit.training.checkpoint import read_checkpoint

WEIGHTS, HISTORY, RECORD = "model.safetensors", "history.csv", "record.json"


def read_record(folder: Path) -> dict[str, Any]:
    """The record of a finished run."""
    try:
        record: dict[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        Run.model_validate_json(json.dumps(record["run"]))
    except FileNotFoundError:
        raise UserError(
            f"{folder}: holds no {RECORD}; is it a finished run of `apit train`?"
        ) from None
    except (ValueError, KeyError) as error:  # also pydantic's, and JSON's
        raise UserError(
            f"{folder / RECORD}: is no record of this version; train it again ({error})"
        ) from None
    return record


def run_of(record: Mapping[str, Any]) -> Run:
    """The run that a record is of, with all that it depends on."""
    return Run.model_validate_json(json.dumps(record["run"]))


def name_of(record: Mapping[str, Any]) -> str:
    """Name of the run that a record is of, whatever its folder is called."""
    return f"{record['run']['experiment']}-s{record['run']['seed']}"


def read_history(folder: Path) -> pd.DataFrame:
    """The history of a finished run: one row for each step that was logged."""
    return pd.read_csv(folder / HISTORY)


def weights_of(folder: Path) -> Path:
    """File of a finished run's weights: in its folder, or where the workflow keeps it apart."""
    apart = beside(folder)
    return apart if apart.is_file() else folder / WEIGHTS


def load_separator(folder: Path) -> tuple[Run, Separator]:
    """A finished run's configuration and its separator, on the CPU and in evaluation mode.

    Raises UserError where it is not all here, or a class of one's own has changed since.
    """
    run = run_of(read_record(folder))
    _check_own(run, folder)
    separator = make_separator(run.separator, run.stft, run.audio)
    weights = weights_of(folder)
    if not weights.exists():
        raise UserError(
            f"{weights}: the weights are not here: `make restore` brings them from DVC's remote, "
            "`make reproduce` trains them anew"
        )
    try:
        separator.load_state_dict(load_file(weights))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise UserError(f"{weights}: cannot be read ({error}); train it again") from None
    return run, separator.eval()


def _check_own(run: Run, folder: Path) -> None:
    """Raise UserError unless a separator of one's own has the file that a run was trained with."""
    name, identity = run.separator.architecture, Identity.read(folder)
    if not is_own(name) or identity is None:
        return
    file = file_of("separator.architecture", name)
    if file_digest(file) != identity.configuration["separator_sha256"]:
        raise UserError(
            f"{file}: has changed since {folder} was trained with its {name.partition(':')[2]}; "
            "bring the file back as it was, or train again"
        )


def check_start(run: Run, start: Path | None) -> None:
    """Raise UserError unless `start` is the run that a fork starts from; None for all others."""
    parent = run.start_from
    if parent is None and start is None:
        return
    if parent is None:
        raise UserError("start_from is not set, so --start has no meaning")
    if start is None:
        raise UserError(f"{run.name} starts from the end of {parent.name}: give that run (--start)")
    given = run_of(read_record(start))
    for key in ("experiment", "seed", "audio", "stft", "separator"):
        if getattr(given, key) != getattr(parent, key):
            raise UserError(
                f"{start}: {key} is not that of {parent.name}, from which {run.name} starts"
            )
    _check_own(given, start)


def read_end(folder: Path) -> Mapping[str, Any]:
    """Read a finished run's last checkpoint: what the workflow keeps of it, or in its `.work`.

    Raises UserError where it is not here, damaged, or of a run that was not finished.
    """
    apart, work = end_of(folder), folder.with_name(f"{folder.name}.work")
    found = [apart] if apart.is_file() else sorted(work.glob("step-*.pt"))
    if not found:
        raise UserError(
            f"{folder}: its last checkpoint is not here ({apart}, or in {work}): `make restore` "
            "brings it from DVC's remote; else train that run again, as the workflow does"
        )
    try:
        read = read_checkpoint(found[-1])
        if not read["finished"]:
            raise ValueError("the run was not finished")
    except (ValueError, RuntimeError, UnpicklingError) as error:
        raise UserError(f"{found[-1]}: cannot be read ({error}); train that run again") from None
    end: Mapping[str, Any] = read["state"]
    return end
