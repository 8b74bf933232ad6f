"""What a training says while it runs, and what it says when it can't go on.

Nothing here changes a result: history on disk, a bar or lines, curves for TensorBoard, errors.
"""

import sys
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any

import pandas as pd

from apit.config import Run
from apit.errors import UserError
from apit.files import whole_file
from apit.progress import bar
from apit.training.record import HISTORY
from apit.training.state import TrainState
from apit.training.step import Step


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


def goes_on(run: Run, step: int) -> None:
    """Tell that a run is taken up from a checkpoint."""
    print(f"{run.name}: goes on after step {step}", file=sys.stderr)


def interrupted(run: Run, step: int, folder: Path) -> str:
    """What to say of a run that was stopped."""
    return (
        f"{run.name}: interrupted after step {step}; the same command goes on from there ({folder})"
    )


def interrupted_at_end(run: Run) -> str:
    """What to say of a run that was stopped when all steps were done."""
    return f"{run.name}: interrupted after its last step; the same command writes its results"


def too_many_steps(work: Path, step: int, steps: int) -> UserError:
    """The error of a run that has gone further than it is to."""
    return UserError(
        f"{work}: the run has taken {step} steps already, and training.steps is {steps}; "
        "start over with --restart"
    )


def not_finite(state: TrainState, done: Step, names: tuple[str, ...]) -> UserError:
    """The error of a run whose losses are numbers no more."""
    terms = {name: value.item() for name, value in done.terms.items()}
    wrong = ", ".join(f"{name} is {value}" for name, value in terms.items() if not isfinite(value))
    progress = state.progress
    return UserError(
        f"{state.run.name}: step {progress.step} is number {progress.skipped_in_a_row} in a row "
        f"whose loss or gradient is not finite ({wrong}), on the examples {', '.join(names)}; "
        "lower training.learning_rate, or those of the adversary"
    )


def cannot_be_shared(run: Run, processes: int) -> UserError:
    """The error of a batch that can't be divided."""
    return UserError(
        f"training.batch_size: {run.training.batch_size} cannot be shared out among {processes} "
        f"processes in {run.training.grad_accum_steps} parts (training.grad_accum_steps)"
    )


def nothing_to_choose_by() -> UserError:
    """The error of a validation without a number."""
    return UserError(
        "the validation split gives no MSi(all) to choose weights by: either it has no mixture of "
        "two sources or more, or the separator's output is not finite"
    )
