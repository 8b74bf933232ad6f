"""The training loop: batches, models and losses in; weights, history and record out."""

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from math import isfinite, isnan
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors.torch import save as packed
from torch import Tensor

from apit.config import Run, Split, mixing_digest
from apit.data import fuss
from apit.data.bank import fingerprint
from apit.data.batches import Prefetched, whole_examples
from apit.data.examples import Examples, open_examples
from apit.data.remixing import training_batches
from apit.errors import Interrupted, UserError
from apit.files import whole_folder
from apit.lineage import code_of_training
from apit.measure.si_snr import score
from apit.models.complexity import complexities
from apit.models.separators import MaskingSeparator
from apit.progress import bar
from apit.provenance import circumstances
from apit.training.checkpoint import Checkpoints
from apit.training.devices import make_device
from apit.training.interruption import Interruption
from apit.training.record import HISTORY, RECORD, WEIGHTS, read_record
from apit.training.step import Step, Training
from apit.training.team import Team

CHECKPOINT_SECONDS = 60.0
# Keys of a checkpoint's identity that another machine may change, and with them the bits.
MACHINE = ("run.training.threads", "processes", "device", "torch")


def validate(
    separator: MaskingSeparator,
    examples: Examples,
    run: Run,
    team: Team,
    check: Callable[[], None] = lambda: None,
) -> float:
    """MSi(all): mean SI-SNRi over all active targets of mixtures of two sources or more, in dB.

    Each process of a team takes its part. `check` is called between batches, and may raise.
    """
    improvements = [torch.empty(0, dtype=torch.float64)]
    size = run.training.validation_batch
    own = range(len(examples))[team.rank :: team.size]
    batches = whole_examples(examples, size, own)
    precision, separator.precision = separator.precision, "float32"  # as whoever loads it later
    try:
        for _ in range(0, -(-len(examples) // team.size), size):  # as often in all processes
            check()
            if (batch := next(batches, None)) is None:
                continue
            with torch.inference_mode():
                estimates = separator(batch.mixture.to(team.device)).estimates.cpu()
                scores = score(
                    references=batch.references, estimates=estimates, mixture=batch.mixture
                )
            several = scores.active & (scores.active.sum(-1, keepdim=True) > 1)
            improvements.append(scores.si_snri[several])
    finally:
        separator.precision = precision
    found = torch.cat(improvements)
    count = found.new_tensor(float(len(found)))
    total, number = team.sum(torch.stack([found.sum(), count]).to(team.device)).tolist()
    value: float = total / number if number else float("nan")
    if isnan(value):
        raise UserError(
            "the validation split gives no MSi(all) to choose weights by: either it has no mixture "
            "of two sources or more, or the separator's output is not finite"
        )
    return value


@dataclass
class Course:
    """How far a run has come: with the networks' state, all that the rest of it depends on."""

    step: int = 0
    spent: float = 0.0  # seconds in steps, without validation and logging
    waited: float = 0.0  # of them for data
    seconds: float | None = None  # that it is given, instead of a number of steps
    skipped: int = 0  # steps whose loss or gradient was not finite
    skipped_in_a_row: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    due: dict[str, Any] | None = None  # a row of the history that waits for its validation
    last: dict[str, Any] | None = None  # of a last step that is not one of those to be logged
    best_value: float = -float("inf")
    best_step: int = 0
    best_weights: dict[str, Tensor] = field(default_factory=dict)

    def is_over(self, run: Run) -> bool:
        """Whether all steps are done, or all seconds spent that the run is given instead."""
        if self.seconds is None:
            return self.step >= run.training.steps
        return self.spent >= self.seconds

    def validated(
        self, row: Mapping[str, Any], value: float, separator: MaskingSeparator
    ) -> "Course":
        """With a validated row, and the separator's weights where they are the best so far."""
        earlier = [logged for logged in self.history if logged["step"] != row["step"]]
        validated = {**row, "validation/si_snri_all": value}
        course = replace(self, history=[*earlier, validated], due=None)
        if value > self.best_value:
            state = separator.state_dict()
            weights = {name: w.detach().cpu().clone() for name, w in state.items()}
            course = replace(course, best_value=value, best_step=self.step, best_weights=weights)
        return course


def train(
    run: Run,
    data: Path,
    output: Path,
    settings: Sequence[str] = (),
    match: Path | None = None,
    *,
    bank: Path | None = None,
    work: Path | None = None,
    restart: bool = False,
    any_threads: bool = False,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> None:
    """Train one run on the mixtures in `data` and write weights, history and record to `output`.

    `match` is the folder of a finished run whose training time this one is given instead of a
    number of steps (`train_as_long_as`); `bank` is what `training.remix: clips` mixes anew.
    Checkpoints are written to `work` (beside `output`) every `checkpoint_seconds`, and the same
    call goes on from the newest one, to the same bits on a CPU;
    with `restart` it starts over. Started several times by `torchrun`, the processes share out
    every batch. Raises Interrupted after SIGTERM or SIGINT, with a checkpoint written; UserError
    where the checkpoint is of another configuration, data or code.
    """
    team = _team(run)
    seconds = read_record(match)["training_seconds"] if match else None
    examples = _examples(run, data)
    training = Training(run, team)
    batches = Prefetched(
        training_batches(run, examples["train"], bank, team.device, (team.rank, team.size))
    )
    identity = _identity(run, data, bank, team)
    checkpoints = Checkpoints(work or output.with_name(f"{output.name}.work"), identity)
    with checkpoints.locked() if team.leads else nullcontext():
        if restart and team.leads:
            checkpoints.clear()
        state = checkpoints.load(MACHINE if any_threads else ()) if team.leads else None
        course = _taken_up(
            team.given_by_leader(state), checkpoints.folder, run, seconds, training, batches
        )

        def save(*, finished: bool = False) -> None:
            if not team.leads:
                return
            parts = {"course": vars(course), "training": training.state_dict()}
            checkpoints.save(
                course.step, parts | {"batches": batches.state_dict()}, finished=finished
            )

        def validation(check: Callable[[], None] = lambda: None) -> float:
            return validate(training.result, examples["validation"], run, team, check)

        progress = Progress(run, course, quiet=not team.leads)
        with Interruption() as interruption:
            try:
                saved = time.monotonic()
                while True:
                    if course.due is not None:
                        value = validation(partial(interruption.check, team.any))
                        course = course.validated(course.due, value, training.result)
                        progress.show(course)
                    if course.is_over(run):
                        break
                    _advance(course, training, batches, run)
                    progress.show(course)
                    interruption.check(team.any)
                    if time.monotonic() - saved >= checkpoint_seconds:
                        save()
                        saved = time.monotonic()
                save(finished=True)
            except Interrupted as interrupted:
                save()
                raise Interrupted(
                    interrupted.number,
                    f"{run.name}: interrupted after step {course.step}; the same command goes on "
                    f"from there ({checkpoints.folder})",
                ) from None
        progress.close()
        if interruption.number is not None:
            raise Interrupted(
                interruption.number,
                f"{run.name}: interrupted after its last step; the same command writes its results",
            )
        if course.last is not None:
            course = course.validated(course.last, validation(), training.result)
        if team.leads:
            record = {
                "run": run.model_dump(mode="json"),
                "digest": run.training_digest,
                "code": code_of_training(run),
                "settings": list(settings),
                "data": str(data),
                "data_sha256": fuss.fingerprint(data),
                "sounds": fuss.sounds(data),
                "examples": {split: len(found) for split, found in examples.items()},
                **_results(run, course),
                "device": str(team.device),
                "processes": team.size,
                **circumstances(),
            }
            with whole_folder(output) as folder:
                (folder / WEIGHTS).write_bytes(packed(course.best_weights))
                pd.DataFrame(course.history).to_csv(folder / HISTORY, index=False)
                (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n")


def _examples(run: Run, data: Path) -> dict[Split, Examples]:
    """What is trained and validated on, if it was mixed as the run's configuration says."""
    fuss.check_mixed_by(data, mixing_digest(run.audio, run.data))
    splits: tuple[Split, ...] = ("train", "validation")
    return {split: open_examples(data, split, run.audio) for split in splits}


def _results(run: Run, course: Course) -> dict[str, Any]:
    """What a record says of the training itself."""
    return {
        "steps": course.step,
        "skipped_steps": course.skipped,
        "best_step": course.best_step,
        "validation": {"si_snri_all": course.best_value},
        "networks": {name: counts._asdict() for name, counts in complexities(run).items()},
        "training_seconds": round(course.spent, 3),
        "waiting_for_data": round(course.waited / course.spent, 4) if course.spent else 0.0,
    }


def _team(run: Run) -> Team:
    """Join the processes that train the run, on a device; alone as a rule."""
    team = Team(make_device(run.training.threads))
    if run.training.batch_size % (team.size * run.training.accumulate):
        raise UserError(
            f"training.batch_size: {run.training.batch_size} cannot be shared out among "
            f"{team.size} processes in {run.training.accumulate} parts (training.accumulate)"
        )
    return team


def _identity(run: Run, data: Path, bank: Path | None, team: Team) -> dict[str, Any]:
    """What a checkpoint must agree in with the run that goes on from it."""
    return {
        "run": run.resume_identity,
        "data": fuss.fingerprint(data),
        "bank": fingerprint(bank) if bank else None,
        "code": code_of_training(run),
        "processes": team.size,
        "device": team.device.type,
        "torch": str(torch.__version__),
    }


def _taken_up(
    state: Mapping[str, Any] | None,
    work: Path,
    run: Run,
    seconds: float | None,
    training: Training,
    batches: Prefetched,
) -> Course:
    """Where a checkpoint's state stood, which is loaded; without one, the beginning."""
    if state is None:
        return Course(seconds=seconds)
    course = Course(**state["course"])
    if course.seconds != seconds and seconds is not None and course.spent > seconds:
        print(f"{run.name}: was given {course.seconds} s before; starts over", file=sys.stderr)
        return Course(seconds=seconds)
    course.seconds = seconds
    if run.train_as_long_as is None and course.step > run.training.steps:
        raise UserError(
            f"{work}: the run has taken {course.step} steps already, and "
            f"training.steps is {run.training.steps}; start over with --restart"
        )
    training.load_state_dict(state["training"])
    batches.load_state_dict(state["batches"])
    if course.last is not None and not course.is_over(run):
        course.last = None  # the run goes on: that step is none to be logged
    print(f"{run.name}: goes on after step {course.step}", file=sys.stderr)
    return course


def _advance(
    course: Course,
    training: Training,
    batches: Prefetched,
    run: Run,
) -> None:
    """One step, and its row of the history where one is due."""
    started = time.perf_counter()
    team = training.team
    batch = next(batches)
    course.waited += time.perf_counter() - started
    done = training.step(batch.to(team.device))
    if team.device.type == "cuda":
        torch.cuda.synchronize()
    course.spent = team.of_leader(course.spent + time.perf_counter() - started)
    course.step += 1
    if done.finite:
        course.skipped_in_a_row = 0
    else:
        course.skipped += 1
        course.skipped_in_a_row += 1
        if course.skipped_in_a_row > run.training.skip_at_most:
            raise _not_finite(run, course, done)
    last = course.is_over(run)
    validates = course.step % run.training.validate_every == 0
    logs = course.step % run.training.log_every == 0
    if not (validates or logs or last):
        return
    values = team.mean(torch.stack(list(done.terms.values()))).tolist()
    row = {"step": course.step, **dict(zip(done.terms, values, strict=True))}
    accuracies = training.accuracies(done)
    shared = team.nanmean(torch.tensor(list(accuracies.values()), device=team.device)).tolist()
    row |= dict(zip(accuracies, shared, strict=True))
    if validates:
        course.due = row
    elif logs:
        course.history.append(row)
    if last and not validates:
        course.last = row


def _not_finite(run: Run, course: Course, done: Step) -> UserError:
    terms = {name: value.item() for name, value in done.terms.items()}
    wrong = ", ".join(f"{name} is {value}" for name, value in terms.items() if not isfinite(value))
    return UserError(
        f"{run.name}: step {course.step} is number {course.skipped_in_a_row} in a row whose loss "
        f"or gradient is not finite ({wrong}), on the examples {', '.join(done.batch.names)}; "
        "lower training.learning_rate or adversary.weight"
    )


class Progress:
    """A bar in a terminal; in a log file, a line at every validation."""

    def __init__(self, run: Run, course: Course, *, quiet: bool = False):
        self.run, self.quiet = run, quiet
        self.total = run.training.steps if course.seconds is None else course.seconds
        self.value: float | None = None
        self.bar = bar(
            total=self.total,
            initial=course.step if course.seconds is None else course.spent,
            unit="step" if course.seconds is None else "s",
            desc=run.name,
            quiet=quiet,
        )

    def show(self, course: Course) -> None:
        """Tell of a step, and of its validation."""
        row = course.due or (course.history[-1] if course.history else {})
        validated = row.get("step") == course.step and "validation/si_snri_all" in row
        if validated:
            self.value = row["validation/si_snri_all"]
        if row.get("step") == course.step:
            value = "" if self.value is None else f", MSi(all) {self.value:+.2f} dB"
            self.bar.set_postfix_str(f"loss {row['loss/total']:.2f}{value}", refresh=False)
        done = course.step if course.seconds is None else course.spent
        self.bar.update(done - self.bar.n)
        if validated and self.bar.disable and not self.quiet:
            share = done / self.total
            print(
                f"{self.run.name}: step {course.step}, loss {row['loss/total']:.2f}, "
                f"validation MSi(all) {self.value:+.2f} dB, "
                f"{1000 * course.spent / course.step:.0f} ms a step, "
                f"{max(0.0, course.spent / share - course.spent):.0f} s left",
                file=sys.stderr,
                flush=True,
            )

    def close(self) -> None:
        """Leave the bar as it stands."""
        self.bar.close()
