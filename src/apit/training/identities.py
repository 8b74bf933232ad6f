"""What a run depends on."""

from typing import Any

from apit.config import Run
from apit.data.identities import PLACES, READING
from apit.identity import Identity, Stamp, identify
from apit.own import file_of, is_own
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
    """Of a run, and of a fork the run that it starts from.

    A loss or a separator of one's own counts as its file. Keys of forks count where they are set:
    they came later, and other runs are what they were.
    """
    own = {"reconstruction": run.reconstruction, "separator": run.separator.architecture}
    own = {key: name for key, name in own.items() if is_own(name)}
    modules = [*RUN, *REMIXING[run.training.remix]]
    modules += [] if "separator" in own else [f"models/{run.separator.architecture}"]
    modules += WITH_DISCRIMINATORS if run.discriminators else ()
    unset = {key for key in ("warm_up", "batches") if not getattr(run, key)}
    unheard: Any = {"data": PLACES, "start_from": True} | dict.fromkeys(unset, True)
    unheard["as_costly_as"] = {"data", "start_from", "warm_up", "batches"}
    configuration = run.model_dump(mode="json", exclude=unheard)
    for key, name in own.items():
        configuration[f"{key}_sha256"] = file_digest(file_of(key, name))
    return identify("run", configuration, {"data": data, "bank": bank, "start": start}, modules)
