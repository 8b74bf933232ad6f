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

To separate from Python: `apit.load("results/mini/runs/pit-s0").separate(waveform, rate)`.
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from apit.separate.model import Model


def load(folder: Path | str, chunk_seconds: float | None = None) -> "Model":
    """The separator of a finished run, for waveforms of any rate, channels and length.

    It works in chunks of so many seconds; by default as long as the mixtures of its training.
    Raises UserError where the folder holds no finished run.
    """
    from apit.artefacts import today
    from apit.separate.model import Model

    return Model.load(today(Path(folder)), chunk_seconds)
