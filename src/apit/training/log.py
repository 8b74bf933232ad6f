"""What a training says while it runs: history on disk, a bar or lines, curves for TensorBoard."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from apit.files import whole_file
from apit.progress import bar
from apit.training.record import HISTORY
from apit.training.state import TrainState


class Log:
    """A bar in a terminal, and in a log file a line at every validation; `HISTORY` in a folder.

    Where TensorBoard's package is installed, its curves lie there, too
    (`tensorboard --logdir work`).
    """

    def __init__(self, state: TrainState, folder: Path, steps: int, *, quiet: bool):
        self.state, self.folder, self.steps, self.quiet = state, folder, steps, quiet
        step, name = state.progress.step, state.run.name
        self.bar = bar(total=steps, initial=step, unit="step", desc=name, quiet=quiet)
        self.writer: Any = None
        if not quiet:
            try:
                from torch.utils.tensorboard import SummaryWriter

                self.writer = SummaryWriter(str(folder), purge_step=step + 1)
            except ImportError:  # it is an extra
                pass

    def step(self) -> None:
        """Tell of a step."""
        self.bar.update(self.state.progress.step - self.bar.n)

    def row(self, row: Mapping[str, Any]) -> None:
        """Tell of a row of the history, that of the newest step."""
        if self.quiet:
            return
        progress = self.state.progress
        with whole_file(self.folder / HISTORY) as partial:
            pd.DataFrame(progress.history).to_csv(partial, index=False)
        if self.writer is not None:
            for name, value in row.items():
                if name != "step" and value is not None:
                    self.writer.add_scalar(name, value, row["step"])
            self.writer.flush()
        value = row.get("validation/si_snri_all")
        said = f"loss {row['loss/total']:.2f}"
        said += "" if value is None else f", MSi(all) {value:+.2f} dB"
        self.bar.set_postfix_str(said, refresh=False)
        if value is not None and self.bar.disable:
            each = progress.spent / progress.step
            print(
                f"{self.state.run.name}: step {progress.step}, {said}, "
                f"{1000 * each:.0f} ms a step, {each * (self.steps - progress.step):.0f} s left",
                file=sys.stderr,
                flush=True,
            )

    def close(self) -> None:
        """Leave it as it stands."""
        self.bar.close()
        if self.writer is not None:
            self.writer.close()
