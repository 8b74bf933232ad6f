"""What a run depends on."""

import importlib.util
from pathlib import Path
from typing import Any

from apit.config import Run
from apit.data.identities import PLACES, READING
from apit.errors import UserError
from apit.identity import Identity, Stamp, identify
from apit.provenance import file_digest

RUN = (
    *READING, "models/stft", "models/precision", "models/separators", "models/complexity",
    "losses/permutation", "losses/reconstruction", "measure/si_snr", "training/state",
    "training/step", "training/train", "training/validation", "training/world",
)  # fmt: skip
WITH_DISCRIMINATORS = (
    "models/discriminators", "models/views", "losses/adversarial", "losses/balance",
)  # fmt: skip
REMIXING = {
    "none": (),
    "sources": ("data/remixing",),
    "clips": ("data/remixing", "data/recipe"),
}


def of_run(
    run: Run, data: Stamp, bank: Stamp | None = None, start: Stamp | None = None
) -> Identity:
    """Of a run, and of a fork the run that it starts from; a loss of one's own counts as its file.

    Keys of forks count where they are set: they came later, and other runs are what they were.
    """
    modules = [*RUN, f"models/{run.separator.architecture}", *REMIXING[run.training.remix]]
    modules += WITH_DISCRIMINATORS if run.discriminators else ()
    unset = {key for key in ("warm_up", "batches") if not getattr(run, key)}
    unheard: Any = {"data": PLACES, "start_from": True} | dict.fromkeys(unset, True)
    unheard["as_costly_as"] = {"data", "start_from", "warm_up", "batches"}
    configuration = run.model_dump(mode="json", exclude=unheard)
    if (loss := _own_loss(run.reconstruction)) is not None:
        configuration["reconstruction_sha256"] = loss
    return identify("run", configuration, {"data": data, "bank": bank, "start": start}, modules)


def _own_loss(reconstruction: str) -> str | None:
    """SHA-256 of the file of a loss of one's own; what that imports does not count."""
    module, colon, _ = reconstruction.partition(":")
    if not colon:
        return None
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:  # its package
        spec = None
    if spec is None or spec.origin is None:
        raise UserError(f"reconstruction: {module}: no such module; put its folder on PYTHONPATH")
    return file_digest(Path(spec.origin))
