"""Commands that separate and score: evaluate, score, separate, release."""

import argparse
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from apit import layers
from apit.commands.scales import scale_of, scoring_of
from apit.config import Run

if TYPE_CHECKING:
    from torch import Tensor

    from apit.data.batches import Batch
    from apit.measure.score import System


def evaluate(parsed: argparse.Namespace) -> None:
    """`apit evaluate`."""
    from apit.training.devices import leased

    with leased() if parsed.run else nullcontext():
        _evaluate_here(parsed)


def _evaluate_here(parsed: argparse.Namespace) -> None:
    import torch

    from apit.data.examples import open_examples
    from apit.measure.score import Measures, System, check_output, evaluate
    from apit.measure.systems import oracle
    from apit.models.stft import make_stft

    if parsed.run:
        run, system = system_of(parsed.run)
        scale = layers.load_scale(parsed.scale or run.scale, parsed.settings, parsed.configs)
        audio = run.audio
    else:
        scale = scale_of(parsed)
        torch.set_num_threads(scale.training.threads)
        audio = scale.audio
        separate = oracle(parsed.oracle, make_stft(scale.stft, audio.sample_rate))
        system = System(parsed.scale, parsed.oracle, 0, separate)
    config = scoring_of(scale)
    examples = open_examples(parsed.data, parsed.split, audio)
    measures = Measures(config, spectral_holes=parsed.spectral_holes)
    if parsed.bss_eval:
        check_output(parsed.bss_eval)
    evaluate(system, examples, measures, parsed.output, parsed.estimates, parsed.jobs, parsed.first)
    if parsed.bss_eval:
        first = min(config.evaluation.bss_eval.examples, parsed.first or len(examples))
        measures = Measures(config, bss_eval=True)
        evaluate(system, examples, measures, parsed.bss_eval, None, parsed.jobs, first)
    print(f"{parsed.output}: scores of {system.experiment}")


def system_of(folder: Path) -> "tuple[Run, System]":
    """A finished run, and its separator where there is most to compute with."""
    import torch

    from apit.measure.score import System
    from apit.training.record import load_separator

    run, separator = load_separator(folder)
    torch.set_num_threads(run.training.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    separator.to(device)

    def separate(batch: "Batch") -> "Tensor":
        estimates: Tensor = separator(batch.mixture.to(device)).estimates.cpu()
        return estimates

    return run, System(run.scale, run.experiment, run.seed, separate)


def score(parsed: argparse.Namespace) -> None:
    """`apit score`."""
    from apit.measure.score import Measures, score_estimates, summary_path

    if parsed.scale:
        config = scoring_of(scale_of(parsed))
    else:
        config = layers.load_scoring(parsed.settings, parsed.configs)
    measures = Measures(config, spectral_holes=parsed.spectral_holes, bss_eval=parsed.bss_eval)
    summary = score_estimates(
        parsed.references, parsed.estimates, measures, parsed.output, parsed.jobs
    )
    for name, found in summary.items():
        if isinstance(found, dict) and found["n"]:
            print(
                f"{name:28} {found['mean']:8.3f}  [{found['lower']:.3f}, {found['upper']:.3f}]  "
                f"n = {found['n']}"
            )
    print(
        f"{parsed.output}: {summary['examples_scored']} examples scored, "
        f"{summary['examples_skipped']} skipped (all sources silent), "
        f"{summary['missing_slots']} slots had no file and count as silence; in brackets 95 % "
        f"intervals over mixtures; all of this is in {summary_path(parsed.output)}"
    )


def separate(parsed: argparse.Namespace) -> None:
    """`apit separate`."""
    from apit.training.devices import leased

    with leased():
        import torch

        from apit.separate.files import check_files, separate_file
        from apit.separate.model import Model

        model = Model.load(parsed.model, parsed.chunk)
        torch.set_num_threads(model.run.training.threads)
        check_files(parsed.files)
        for path in parsed.files:
            began = time.monotonic()
            made = separate_file(model, path, parsed.output, silent=parsed.silent)
            speed = made["seconds"] / (time.monotonic() - began)
            print(
                f"{parsed.output / path.stem}: {', '.join(made['sources'])}; "
                f"{speed:.1f} times as fast as it plays"
            )


def release(parsed: argparse.Namespace) -> None:
    """`apit release`."""
    from apit.separate.release import best_of, release
    from apit.training.record import read_record

    folders = best_of({folder: read_record(folder) for folder in parsed.runs})
    sha256 = release(folders, parsed.output)
    print(f"{parsed.output}: {', '.join(folder.name for folder in folders)}; sha256 {sha256}")
