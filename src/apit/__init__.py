"""Adversarial permutation invariant training for universal sound separation.

The rooms, in the order in which data flows:

    data      clips → bank → mixtures → batches
    models    mixtures → masks → separated sources; sources → real or fake
    losses    separated sources → permutation → reconstruction and adversarial terms
    measure   separated sources → scores → means and intervals
    training  batches + models + losses → weights, history, record
    present   means, histories, signals → tables and figures
    separate  a run's weights and sound of any kind → its sources

The axes, named the same everywhere and commented where a shape changes:

    batch     examples in a batch
    source    the K slots of a mixture; `estimate` and `reference` where the two meet in a matrix
    time      samples of a waveform
    bin       frequencies of a spectrogram, from 0 Hz up
    frame     columns of a spectrogram

What is public stands in `__all__`: a trained run as a separator (`load`), losses and measures for
training loops of one's own (docs/library.md), and the error that says what is wrong with input.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from apit.errors import UserError
    from apit.losses.adversarial import (
        discriminator_loss,
        rank_slots,
        replaced,
        replaced_positions,
        separator_loss,
    )
    from apit.losses.balance import Balance
    from apit.losses.permutation import reorder
    from apit.losses.reconstruction import LogMSE, NegativeSISNR, best_permutation, pit_loss
    from apit.measure.si_snr import Scores, Standard
    from apit.measure.si_snr import score as fuss_si_snr
    from apit.measure.si_snr import standard as paper_si_snr
    from apit.models.discriminators import discriminator
    from apit.separate.model import Model

    __version__: str

__all__ = [
    "Balance",
    "LogMSE",
    "Model",
    "NegativeSISNR",
    "Scores",
    "Standard",
    "UserError",
    "best_permutation",
    "discriminator",
    "discriminator_loss",
    "fuss_si_snr",
    "load",
    "paper_si_snr",
    "pit_loss",
    "rank_slots",
    "reorder",
    "replaced",
    "replaced_positions",
    "separator_loss",
]

_ROOMS = (  # in which public names are looked up, when they are asked for: torch is slow to import
    "errors", "losses.adversarial", "losses.balance", "losses.permutation",
    "losses.reconstruction", "measure.si_snr", "models.discriminators", "separate.model",
)  # fmt: skip
_ALIASES = {"fuss_si_snr": "score", "paper_si_snr": "standard"}  # of measure.si_snr


if not TYPE_CHECKING:  # type checkers know the names above, and refuse all others

    def __getattr__(name: str) -> Any:
        if name == "__version__":
            from importlib.metadata import version  # which takes its time

            return version("apit")
        if name in _ALIASES:
            return getattr(import_module("apit.measure.si_snr"), _ALIASES[name])
        for room in _ROOMS if name in __all__ else ():
            if hasattr(module := import_module(f"apit.{room}"), name):
                return getattr(module, name)
        raise AttributeError(f"module 'apit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__


def load(folder: Path | str, chunk_seconds: float | None = None) -> "Model":
    """The separator of a finished run, for waveforms of any rate, channels and length.

    It works in chunks of so many seconds; by default as long as the mixtures of its training.
    Raises UserError where the folder holds no finished run.
    """
    from apit.artefacts import today
    from apit.separate.model import Model

    return Model.load(today(Path(folder)), chunk_seconds)
