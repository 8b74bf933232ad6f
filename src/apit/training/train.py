"""The training loop: mixtures in; weights, history and record out."""

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from math import isfinite
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors.torch import save as packed

from apit.config import Run, Split
from apit.data import fuss
from apit.data.batches import Batch, Batches, Prefetched
from apit.data.examples import Examples, open_examples
from apit.data.identities import data_settings
from apit.data.remixing import training_batches
from apit.errors import Interrupted, UserError
from apit.files import whole_file, whole_folder
from apit.identity import Identity, check_configuration, stamp_of, to_resume
from apit.models.complexity import complexities, total_steps
from apit.provenance import circumstances
from apit.training import CHECKPOINT_SECONDS
from apit.training.checkpoint import Checkpoints
from apit.training.devices import make_device
from apit.training.identities import of_run
from apit.training.interruption import interruption
from apit.training.log import Log
from apit.training.record import HISTORY, RECORD, WEIGHTS, check_start, read_end
from apit.training.state import TrainState
from apit.training.step import Step, discriminators_step, shortcuts, train_step
from apit.training.validation import validate
from apit.training.world import World

# Keys of a checkpoint's identity that another machine may change, and with them the bits.
MACHINE = ("configuration.training.threads", "processes", "device", "torch")


def train(
    run: Run,
    data: Path,
    output: Path,
    settings: Sequence[str] = (),
    *,
    bank: Path | None = None,
    start: Path | None = None,
    work: Path | None = None,
    weights: Path | None = None,
    restart: bool = False,
    any_threads: bool = False,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> None:
    """Train one run on the mixtures in `data` and write weights, history and record to `output`.

    `bank` is what `training.remix: clips` mixes anew; `start` is the finished run from whose end a
    fork goes on; `weights` is a file of their own for those, which else stand in `output`.
    Checkpoints are written to `work` (beside `output`) every `checkpoint_seconds`, and the same
    call goes on from the newest one, to the same bits on a CPU; with `restart` it starts over.
    Started several times by `torchrun`, the processes share out every batch. Raises Interrupted
    after SIGTERM or SIGINT, with a checkpoint written; UserError where the checkpoint is of another
    configuration, data or code, or where `start` is no run that this one can start from.
    """
    world = World(make_device(run.training.threads))
    if run.training.batch_size % (world.size * run.training.grad_accum_steps):
        raise UserError(
            f"training.batch_size: {run.training.batch_size} cannot be shared out among "
            f"{world.size} processes in {run.training.grad_accum_steps} parts "
            "(training.grad_accum_steps)"
        )
    check_configuration(data, data_settings(run.audio, run.data))
    check_start(run, start)
    others = (stamp_of(one) if one else None for one in (bank, start))
    identity = of_run(run, stamp_of(data), *others)
    splits: tuple[Split, ...] = ("train", "validation")
    examples = {split: open_examples(data, split, run.audio) for split in splits}
    steps = total_steps(run)
    state = TrainState(run, world)
    progress = state.progress
    share = (world.rank, world.size)

    def stream(run: Run) -> Batches:
        return training_batches(run, examples["train"], bank, world.device, share)

    batches = Prefetched(stream(run))
    work = work or output.with_name(f"{output.name}.work")
    machine = {
        "processes": world.size, "device": world.device.type, "torch": str(torch.__version__),
    }  # fmt: skip
    checkpoints = Checkpoints(work, to_resume(identity).parts | machine)

    def save() -> None:
        if world.is_main:
            finished = progress.step >= steps and progress.validated
            parts = {"state": state.state_dict(), "batches": batches.state_dict()}
            checkpoints.save(progress.warmed_up + progress.step, parts, finished=finished)

    with checkpoints.locked() if world.is_main else nullcontext():
        # Resume.
        if restart and world.is_main:
            checkpoints.clear()
        saved = checkpoints.load(MACHINE if any_threads else ()) if world.is_main else None
        if (saved := world.from_main(saved)) is not None:
            state.load_state_dict(saved["state"])
            batches.load_state_dict(saved["batches"])
            if progress.step > steps:
                raise UserError(
                    f"{work}: the run has taken {progress.step} steps already, and training.steps "
                    f"is {steps}; remove it (or say --restart) to start over"
                )
            if progress.step < steps:
                progress.last = None  # of a shorter run, which this one goes on
            if world.is_main:
                print(f"{run.name}: goes on after step {progress.step}", file=sys.stderr)
        elif start is not None:
            end = read_end(start)
            state.start_from(end["state"])
            batches.load_state_dict(end["batches"])

        # Train.
        said = Log(state, work, steps, quiet=not world.is_main)
        saved_at = time.monotonic()
        with interruption(world.any) as check:

            def heed() -> None:
                nonlocal saved_at
                check()
                if time.monotonic() - saved_at >= checkpoint_seconds:
                    save()
                    saved_at = time.monotonic()

            try:
                if progress.warmed_up < run.warm_up:
                    _warm_up(state, stream, heed)
                while True:
                    if not progress.validated:
                        _validate(state, examples["validation"], check)
                        said.row(progress.history[-1])
                    if progress.step >= steps:
                        break
                    started = time.perf_counter()
                    batch = next(batches)
                    progress.waited += time.perf_counter() - started
                    batch = batch.to(world.device)
                    done = train_step(state, batch)
                    if world.device.type == "cuda":
                        torch.cuda.synchronize()
                    progress.spent += time.perf_counter() - started
                    progress.step += 1
                    _count_skipped(state, done, batch)
                    validates = progress.step % run.training.validate_every == 0
                    logs = progress.step % run.training.log_every == 0
                    if validates or logs or progress.step == steps:
                        row = _row(state, done, batch)
                        progress.history += [row] if validates or logs else []
                        progress.last = row if not validates and progress.step == steps else None
                        progress.validated = not validates
                        if logs and not validates:
                            said.row(row)
                    said.step()
                    heed()
                save()
                check()
            except Interrupted as stopped:
                save()
                raise Interrupted(
                    stopped.number,
                    f"{run.name}: interrupted after step {progress.step}; the same command goes on "
                    f"from there ({work})",
                ) from None
        if progress.last is not None:  # no checkpoint knows of it, so that a longer run may go on
            rows = [row for row in progress.history if row["step"] != progress.step]
            progress.history = [*rows, progress.last]
            _validate(state, examples["validation"])
            said.row(progress.history[-1])
        said.close()

        # Export.
        if world.is_main:
            record = _record(state, identity, examples, data, start, settings)
            with whole_folder(output, identity) as folder:
                with whole_file(weights or folder / WEIGHTS) as partial:
                    partial.write_bytes(packed(progress.best_weights))
                pd.DataFrame(progress.history).to_csv(folder / HISTORY, index=False)
                (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _warm_up(state: TrainState, stream: Callable[[Run], Batches], heed: Callable[[], None]) -> None:
    """Train the discriminators alone, on what the separator gives as it is.

    Batches are of a generator of their own: the steps see the same ones, with a warm-up or without.
    """
    run, progress = state.run, state.progress
    batches = stream(run.model_copy(update={"batches": f"{run.batches or ''}warm-up"}))
    batches.load_state_dict({"made": progress.warmed_up * batches.batch_size})
    while progress.warmed_up < run.warm_up:
        batch = next(batches).to(state.world.device)
        done, _ = discriminators_step(state, batch)
        progress.warmed_up += 1
        _count_skipped(state, done, batch)
        heed()


def _row(state: TrainState, done: Step, batch: Batch) -> dict[str, Any]:
    """A row of the history: the step's terms, and how far the shortcut goes."""
    terms = {**done.terms, **shortcuts(state, batch)}
    values = state.world.mean(torch.stack([term.float() for term in terms.values()])).tolist()
    return {"step": state.progress.step, **dict(zip(terms, values, strict=True))}


def _validate(
    state: TrainState, examples: Examples, check: Callable[[], None] = lambda: None
) -> None:
    """Complete the last row of the history, and keep the weights where they are the best so far."""
    progress, separator = state.progress, state.result
    values = validate(separator, examples, state.run, state.world, check)
    progress.history[-1] |= values
    progress.validated = True
    if (value := values["validation/si_snri_all"]) > progress.best_value:
        weights = separator.state_dict().items()
        progress.best_value, progress.best_step = value, progress.step
        progress.best_weights = {name: w.detach().cpu().clone() for name, w in weights}


def _count_skipped(state: TrainState, done: Step, batch: Batch) -> None:
    progress = state.progress
    progress.skipped += not done.finite
    progress.skipped_in_a_row = 0 if done.finite else progress.skipped_in_a_row + 1
    if progress.skipped_in_a_row > state.run.training.skip_at_most:
        values = {name: value.item() for name, value in done.terms.items()}
        wrong = ", ".join(f"{name} is {v}" for name, v in values.items() if not isfinite(v))
        raise UserError(
            f"{state.run.name}: step {progress.step} is number {progress.skipped_in_a_row} in a "
            f"row whose loss or gradient is not finite ({wrong}), on the examples "
            f"{', '.join(batch.names)}; lower training.learning_rate, or those of the adversary"
        )


def _record(
    state: TrainState,
    identity: Identity,
    examples: Mapping[Split, Examples],
    data: Path,
    start: Path | None,
    settings: Sequence[str],
) -> dict[str, Any]:
    """How the weights came to be."""
    run, progress = state.run, state.progress
    return {
        "run": run.model_dump(mode="json"),
        "identity": identity.id,
        "settings": list(settings),
        **({"start": str(start)} if start else {}),
        "data": str(data),
        "data_sha256": fuss.fingerprint(data),
        "sounds": fuss.sounds(data),
        "examples": {split: len(opened) for split, opened in examples.items()},
        "steps": progress.step,
        "skipped_steps": progress.skipped,
        "best_step": progress.best_step,
        "validation": {"si_snri_all": progress.best_value},
        "networks": {n: counts._asdict() for n, counts in complexities(run).items()},
        "training_seconds": round(progress.spent, 3),
        "waiting_for_data": round(progress.waited / progress.spent, 4) if progress.spent else 0.0,
        "device": str(state.world.device),
        "processes": state.world.size,
        **circumstances(),
    }
