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


def of_run(run: Run, data: Stamp, bank: Stamp | None = None) -> Identity:
    """Of a run; a loss of one's own counts as its file."""
    modules = [*RUN, f"models/{run.separator.architecture}", *REMIXING[run.training.remix]]
    modules += WITH_DISCRIMINATORS if run.discriminators else ()
    unheard: Any = {"data": PLACES, "as_costly_as": {"data"}}
    configuration = run.model_dump(mode="json", exclude=unheard)
    if (loss := _own_loss(run.reconstruction)) is not None:
        configuration["reconstruction_sha256"] = loss
    return identify("run", configuration, {"data": data, "bank": bank}, modules)


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
