"""The training loop: batches, models and losses in; weights, history and record out."""

import json
import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim.lr_scheduler import StepLR
from tqdm import tqdm

from apit.config import Run
from apit.data import fuss
from apit.data.batches import Batch, random_crops, whole_examples
from apit.errors import UserError
from apit.files import whole_folder
from apit.losses.adversarial import OBJECTIVES, rank_slots, replaced_positions
from apit.losses.permutation import reorder
from apit.losses.reconstruction import (
    PIT,
    is_silent,
    make_reconstruction,
    permutation_invariant,
)
from apit.measure.si_snr import score
from apit.models.complexity import complexities
from apit.models.discriminators import (
    MixtureViews,
    PatchDiscriminator,
    SourceSet,
    make_discriminator,
)
from apit.models.separators import MaskingSeparator, make_separator
from apit.provenance import array_generator, circumstances, seed_of, tensor_generator

WEIGHTS, HISTORY, RECORD = "model.safetensors", "history.csv", "record.json"


class Training:
    """All moving parts of one run.

    Its generators are named, and all derive from the run's seed: initialisation (the separator's),
    data, replacement, and one for each discriminator's weights. So every ablation of a seed
    starts from the same separator and sees the same batches.
    """

    def __init__(self, run: Run, device: torch.device):
        self.run, self.device = run, device
        self.reconstruction = make_reconstruction(run.reconstruction, run.log_mse)
        with seeded(run.seed, "initialisation"):
            self.separator = make_separator(run.separator, run.stft, run.audio).to(device)
        self.optimiser = torch.optim.Adam(
            self.separator.parameters(), lr=run.training.learning_rate, fused=True
        )
        self.schedule = StepLR(self.optimiser, run.training.halve_every, gamma=0.5)
        self.discriminators: dict[str, PatchDiscriminator] = {}
        for config in run.discriminators:
            assert run.adversary is not None
            with seeded(run.seed, "discriminators", config.name):
                made = make_discriminator(config, run.adversary, run.audio.sources).to(device)
            self.discriminators[config.name] = made
        trained = [
            weight
            for discriminator in self.discriminators.values()
            if not discriminator.config.frozen
            for weight in discriminator.parameters()
        ]
        self.discriminator_optimiser: torch.optim.Optimizer | None = None
        if trained:
            assert run.adversary is not None
            self.discriminator_optimiser = torch.optim.Adam(
                trained, lr=run.adversary.learning_rate, betas=run.adversary.betas, fused=True
            )
        if run.adversary is not None:
            self.objective = OBJECTIVES[run.adversary.objective]
        self.replacement = tensor_generator(run.seed, "replacement")

    def step(self, batch: Batch) -> "Step":
        """One discriminator update, then one separator update, on the same fakes."""
        separation = self.separator(batch.mixture)
        pit = permutation_invariant(
            self.reconstruction, separation.estimates, batch.references, batch.mixture
        )
        done = Step(batch, {"loss/pit": pit.loss.detach()})
        loss = pit.loss
        if self.discriminators:
            done.judged = self._judged_sets(batch, pit, separation.masks)
            done.terms |= self._update_discriminators(done.judged)
            for name, discriminator in self.discriminators.items():
                discriminator.requires_grad_(False)  # the separator's step leaves them untouched
                term = self.objective.separator_loss(done.judged.fake(discriminator))
                discriminator.requires_grad_(not discriminator.config.frozen)
                loss = loss + self.run.weight(discriminator.config) * term
                done.terms[f"loss/separator/{name}"] = term.detach()
        done.terms["loss/total"] = loss.detach()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        done.terms["gradient/separator"] = nn.utils.clip_grad_norm_(
            self.separator.parameters(), self.run.training.gradient_clip
        )
        self.optimiser.step()
        self.schedule.step()
        return done

    def _judged_sets(self, batch: Batch, pit: PIT, masks: Tensor) -> "JudgedSets":
        assert self.run.adversary is not None
        own = self.run.adversary.fake_masks == "network"
        mixture = MixtureViews(batch.mixture, self.separator.stft)
        real = mixture.sources(batch.references)
        estimated = mixture.sources(pit.aligned, reorder(masks, pit.permutation) if own else None)
        ranks = rank_slots(batch.references, self.replacement).to(self.device)
        # Discriminators with the same I share one set of fakes, and so its STFTs and masks.
        fakes = {
            replace: estimated.replaced(real, replaced_positions(ranks, replace))
            if replace
            else estimated
            for replace in {0} | {d.config.replace for d in self.discriminators.values()}
        }
        return JudgedSets(mixture, real, fakes)

    def _update_discriminators(self, judged: "JudgedSets") -> dict[str, Tensor]:
        terms: dict[str, Tensor] = {}
        if self.discriminator_optimiser is None:
            return terms
        total = torch.zeros((), device=self.device)
        for name, discriminator in self.discriminators.items():
            if not discriminator.config.frozen:
                loss = self.objective.discriminator_loss(
                    judged.real(discriminator), judged.fake(discriminator, detached=True)
                )
                total = total + loss
                terms[f"loss/discriminator/{name}"] = loss.detach()
        self.discriminator_optimiser.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        for name, discriminator in self.discriminators.items():
            if not discriminator.config.frozen:
                terms[f"gradient/discriminator/{name}"] = nn.utils.clip_grad_norm_(
                    discriminator.parameters(), self.run.training.gradient_clip
                )
        self.discriminator_optimiser.step()
        return terms

    @torch.no_grad()
    def accuracies(self, step: "Step") -> dict[str, float]:
        """Each discriminator's accuracy on real, fake (I = 0) and replaced inputs of a batch.

        Separately for mixtures of K sources (`full`) and of fewer: where slots are silent, exact
        zeros give the ground truth away, and that shortcut shows as a difference between the two.
        """
        found: dict[str, float] = {}
        if step.judged is None:
            return found
        full = ~is_silent(step.batch.references).any(1)
        for name, discriminator in self.discriminators.items():
            right = {
                "real": step.judged.real(discriminator).verdict > 0,
                "fake": step.judged.fake(discriminator, replace=0).verdict < 0,
            }
            if discriminator.config.replace:
                right["replaced"] = step.judged.fake(discriminator).verdict < 0
            for kind, values in right.items():
                share = values.float().mean(1)  # [batch]
                for group, members in (("full", full), ("fewer", ~full)):
                    found[f"accuracy/{name}/{kind}/{group}"] = share[members].mean().item()
        return found


@dataclass(frozen=True)
class JudgedSets:
    """The real sources of a batch, and its fakes by number of replaced slots."""

    mixture: MixtureViews
    references: SourceSet
    fakes: Mapping[int, SourceSet]

    def real(self, discriminator: PatchDiscriminator) -> Any:
        """Judge the ground truth."""
        return discriminator(self.references.view(discriminator.config.domain), self.mixture)

    def fake(
        self,
        discriminator: PatchDiscriminator,
        *,
        replace: int | None = None,
        detached: bool = False,
    ) -> Any:
        """Judge the fakes of a discriminator's own I, or of another."""
        replace = discriminator.config.replace if replace is None else replace
        view = self.fakes[replace].view(discriminator.config.domain)
        return discriminator(view.detach() if detached else view, self.mixture)


@dataclass
class Step:
    """What a step did, to be logged."""

    batch: Batch
    terms: dict[str, Tensor]
    judged: JudgedSets | None = None


class seeded:
    """Run a block with torch's global generator seeded by names, and restore it after."""

    def __init__(self, *names: str | int):
        self.seed = seed_of(*names)

    def __enter__(self) -> None:
        self.state = torch.get_rng_state()
        torch.manual_seed(self.seed)

    def __exit__(self, *error: object) -> None:
        torch.set_rng_state(self.state)


def validate(
    separator: MaskingSeparator, entries: Sequence[fuss.Entry], run: Run, device: torch.device
) -> float:
    """MSi(all): mean SI-SNRi over all active targets of mixtures of two sources or more, in dB."""
    improvements = []
    for batch in whole_examples(entries, run.audio, run.evaluation.batch_size):
        with torch.inference_mode():
            estimates = separator(batch.mixture.to(device)).estimates.cpu()
            scores = score(references=batch.references, estimates=estimates, mixture=batch.mixture)
        several = scores.active & (scores.active.sum(-1, keepdim=True) > 1)
        improvements.append(scores.si_snri[several])
    value = torch.cat(improvements).mean().item()
    if isnan(value):
        raise UserError(
            "the validation split gives no MSi(all) to choose weights by: either it has no mixture "
            "of two sources or more, or the separator's output is not finite"
        )
    return value


def train(
    run: Run, data: Path, output: Path, settings: Sequence[str] = (), match: Path | None = None
) -> None:
    """Train one run on the mixtures in `data` and write weights, history and record to `output`.

    `match` is the folder of a finished run whose training time this one is given instead of a
    number of steps (`train_as_long_as`).
    """
    with whole_folder(output) as folder:
        _train(run, data, folder, settings, match)


def _train(run: Run, data: Path, folder: Path, settings: Sequence[str], match: Path | None) -> None:
    torch.set_num_threads(run.training.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cuda":  # on a CPU everything used here is, for one number of threads
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
    seconds = read_record(match)["training_seconds"] if match else None
    training_entries = fuss.read_list(fuss.list_path(data, "train"), run.audio.sources)
    validation_entries = fuss.read_list(fuss.list_path(data, "validation"), run.audio.sources)
    networks = {name: counts._asdict() for name, counts in complexities(run).items()}
    training = Training(run, device)
    batches = random_crops(
        training_entries,
        run.audio,
        run.training.crop_seconds,
        run.training.batch_size,
        array_generator(run.seed, "data"),
    )
    history: list[dict[str, Any]] = []
    best_value, best_step, best_weights = -float("inf"), 0, {}
    spent, step = 0.0, 0  # seconds in steps, validation and logging excluded
    progress = Progress(run, seconds)
    while spent < seconds if seconds is not None else step < run.training.steps:
        started = time.perf_counter()
        batch = next(batches).to(device)
        done = training.step(batch)
        if device.type == "cuda":
            torch.cuda.synchronize()
        spent += time.perf_counter() - started
        step += 1
        last = spent >= seconds if seconds is not None else step == run.training.steps
        row: dict[str, Any] = {"step": step}
        validates = step % run.training.validate_every == 0 or last
        if step % run.training.log_every == 0 or validates:
            row |= {name: value.item() for name, value in done.terms.items()}
            if not row["loss/total"] < float("inf"):
                raise UserError(
                    f"{run.name}: the loss is {row['loss/total']} at step {step}, on the examples "
                    f"{', '.join(batch.names)}; lower training.learning_rate or adversary.weight"
                )
            row |= training.accuracies(done)
        if validates:
            value = validate(training.separator, validation_entries, run, device)
            row["validation/si_snri_all"] = value
            if value > best_value:
                best_value, best_step = value, step
                state = training.separator.state_dict()
                best_weights = {name: w.detach().cpu().clone() for name, w in state.items()}
        if len(row) > 1:
            history.append(row)
        progress.show(step, spent, row)
    progress.close()

    record = {
        "run": run.model_dump(mode="json"),
        "digest": run.training_digest,
        "settings": list(settings),
        "data": str(data),
        "sounds": fuss.sounds(data),
        "examples": {"train": len(training_entries), "validation": len(validation_entries)},
        "steps": step,
        "best_step": best_step,
        "validation": {"si_snri_all": best_value},
        "networks": networks,
        "training_seconds": round(spent, 3),
        "device": str(device),
        **circumstances(),
    }
    save_file(best_weights, folder / WEIGHTS)
    pd.DataFrame(history).to_csv(folder / HISTORY, index=False)
    (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n")


class Progress:
    """A bar in a terminal; in a log file, a line at every validation."""

    def __init__(self, run: Run, seconds: float | None):
        self.run, self.seconds = run, seconds
        self.value: float | None = None
        size = shutil.get_terminal_size()  # tqdm's own shows nothing where the size is not known
        self.bar = tqdm(
            total=run.training.steps if seconds is None else seconds,
            unit="step" if seconds is None else "s",
            desc=run.name,
            disable=not sys.stderr.isatty(),
            ncols=size.columns,
            nrows=size.lines,
        )

    def show(self, step: int, spent: float, row: Mapping[str, Any]) -> None:
        """Tell of a step; `row` holds what was logged of it."""
        self.value = row.get("validation/si_snri_all", self.value)
        if "loss/total" in row:
            validated = "" if self.value is None else f", MSi(all) {self.value:+.2f} dB"
            self.bar.set_postfix_str(f"loss {row['loss/total']:.2f}{validated}", refresh=False)
        self.bar.update((step if self.seconds is None else spent) - self.bar.n)
        if "validation/si_snri_all" in row and self.bar.disable:
            share = step / self.run.training.steps if self.seconds is None else spent / self.seconds
            print(
                f"{self.run.name}: step {step}, loss {row['loss/total']:.2f}, "
                f"validation MSi(all) {self.value:+.2f} dB, {1000 * spent / step:.0f} ms a step, "
                f"{max(0.0, spent / share - spent):.0f} s left",
                file=sys.stderr,
                flush=True,
            )

    def close(self) -> None:
        """Leave the bar as it stands."""
        self.bar.close()


def read_record(folder: Path) -> dict[str, Any]:
    """The record of a finished run."""
    try:
        record: dict[str, Any] = json.loads((folder / RECORD).read_text())
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


def read_history(folder: Path) -> pd.DataFrame:
    """The history of a finished run: one row for each step that was logged."""
    return pd.read_csv(folder / HISTORY)


def load_separator(folder: Path) -> tuple[Run, MaskingSeparator]:
    """A finished run's configuration and its separator, on the CPU and in evaluation mode."""
    run = Run.model_validate_json(json.dumps(read_record(folder)["run"]))
    separator = make_separator(run.separator, run.stft, run.audio)
    try:
        separator.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise UserError(f"{folder / WEIGHTS}: cannot be read ({error}); train it again") from None
    return run, separator.eval()
