"""Command line: parse, call, print."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from apit import layers
from apit.config import Scale
from apit.errors import UserError

BASELINE = "pit"  # what ablations are compared with

DESCRIPTION = """\
Adversarial permutation invariant training for universal sound separation.

The commands, in the order of the data; the workflow (`snakemake --cores all`) calls the same ones:

  fetch     the recordings that a scale mixes, or FUSS, which is mixed already
  mix       clips → mixtures in the FUSS layout
  train     mixtures + an experiment → weights, history, record
  evaluate  a run, or an oracle, over the evaluation split → one long table of scores
  tables    scores → tables with intervals
  figures   scores, histories and kept estimates → figures

Scales are configs/<scale>.yaml, experiments the entries of configs/experiments.yaml."""

TRAIN_EXAMPLE = """\
example:
  apit train --scale smoke --experiment ctx-stft-i1 --seed 0 \\
      --data data/smoke/mixtures --output /tmp/run --set training.steps=40"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0 if it did what was asked, 2 and one message if its input was bad."""
    parsed = _parser().parse_args(arguments)
    try:
        parsed.call(parsed)
    except UserError as error:
        print(f"apit {parsed.command}: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"apit {parsed.command}: {where}{error.strerror or error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"apit {parsed.command}: interrupted", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("apit", description=DESCRIPTION, formatter_class=plain)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    scaled = argparse.ArgumentParser(add_help=False)
    scaled.add_argument("--scale", help="smoke, mini, paper, or any other configs/<scale>.yaml")
    scaled.add_argument(
        "--set",
        dest="settings",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a key of the configuration, such as training.steps=40; repeatable",
    )
    scaled.add_argument(
        "--configs", type=Path, default=layers.CONFIGS, help="folder of configurations (configs)"
    )

    def command(name: str, call: object, summary: str, epilog: str = "") -> argparse.ArgumentParser:
        added = commands.add_parser(
            name, help=summary, description=summary, epilog=epilog, parents=[scaled],
            formatter_class=plain,
        )  # fmt: skip
        added.set_defaults(call=call)
        return added

    fetch = command(
        "fetch", _fetch,
        "Fetch the recordings that a scale mixes (without root), or FUSS, which is mixed already.",
    )  # fmt: skip
    fetch.add_argument(
        "--output", type=Path, required=True,
        help="folder to make, of clips or mixtures; an archive is kept beside it",
    )  # fmt: skip

    mix = command("mix", _mix, "Make a scale's mixtures in the FUSS layout.")
    mix.add_argument("--output", type=Path, required=True, help="folder to make, of mixtures")
    mix.add_argument(
        "--clips",
        type=Path,
        help="folder of recordings in any format of libsndfile, at any rate, to mix instead of the "
        "scale's procedural sounds",
    )
    mix.add_argument("--jobs", type=int, default=0, help="processes (as many as there are cores)")

    train = command("train", _train, "Train one experiment with one seed.", TRAIN_EXAMPLE)
    train.add_argument("--experiment", required=True, help="an entry of configs/experiments.yaml")
    train.add_argument("--seed", type=int, default=0, help="seed of all generators (0)")
    train.add_argument("--data", type=Path, required=True, help="folder of mixtures")
    train.add_argument("--output", type=Path, required=True, help="folder to make, of the run")
    train.add_argument(
        "--match", type=Path, metavar="RUN",
        help="finished run whose training time this one gets (for train_as_long_as)",
    )  # fmt: skip

    evaluate = command("evaluate", _evaluate, "Score a run, or an oracle, on the evaluation split.")
    system = evaluate.add_mutually_exclusive_group(required=True)
    system.add_argument("--run", type=Path, help="folder of a finished run")
    system.add_argument(
        "--oracle",
        choices=("mixture", "ideal-ratio-mask"),
        help="no separation at all, or what ratio masks of the ground truth would do",
    )
    evaluate.add_argument("--data", type=Path, required=True, help="folder of mixtures")
    evaluate.add_argument("--output", type=Path, required=True, help="scores, .csv or .csv.gz")
    evaluate.add_argument(
        "--estimates", type=Path, metavar="DIR",
        help="also keep the first estimates as sound, one folder per example",
    )  # fmt: skip

    tables = command("tables", _tables, "Make the tables of a scale from scores.")
    tables.add_argument("--scores", type=Path, nargs="+", required=True, help="files of scores")
    tables.add_argument("--runs", type=Path, nargs="+", required=True, help="the runs behind them")
    tables.add_argument("--output", type=Path, required=True, help="folder for the tables")

    figures = command("figures", _figures, "Draw the figures of a scale.")
    figures.add_argument("--scores", type=Path, nargs="+", required=True, help="files of scores")
    figures.add_argument("--runs", type=Path, nargs="+", required=True, help="the runs behind them")
    figures.add_argument("--data", type=Path, required=True, help="folder of mixtures")
    figures.add_argument(
        "--estimates", type=Path, required=True, help="folder of kept estimates, a folder per run"
    )
    figures.add_argument("--output", type=Path, required=True, help="folder for the figures")
    return parser


def _scale(parsed: argparse.Namespace) -> Scale:
    if parsed.scale is None:
        known = ", ".join(layers.scale_names(parsed.configs))
        raise UserError(f"--scale is missing; there are {known}")
    return layers.load_scale(parsed.scale, parsed.settings, parsed.configs)


def _fetch(parsed: argparse.Namespace) -> None:
    from apit.data.fetch import fetch_fuss, fetch_package

    scale = _scale(parsed)
    sounds = scale.data.sounds
    if sounds.kind == "procedural":
        raise UserError(f"scale {parsed.scale} has procedural sounds: nothing to fetch")
    if sounds.kind == "package":
        fetch_package(sounds, parsed.output)
        print(f"{parsed.output}: recordings of {sounds.package}")
    else:
        fetch_fuss(sounds, scale.audio, parsed.output)
        print(f"{parsed.output}: {sounds.name}")


def _mix(parsed: argparse.Namespace) -> None:
    from apit.data.mixtures import mix

    mix(_scale(parsed), parsed.output, parsed.clips, parsed.jobs)
    print(f"{parsed.output}: mixtures of scale {parsed.scale}, in the FUSS layout")


def _train(parsed: argparse.Namespace) -> None:
    _scale(parsed)
    run = layers.load_run(
        parsed.scale, parsed.experiment, parsed.seed, parsed.settings, parsed.configs
    )
    if run.train_as_long_as is not None and parsed.match is None:
        raise UserError(
            f"{parsed.experiment} is trained as long as {run.train_as_long_as}: give that run's "
            f"folder with --match"
        )
    if run.train_as_long_as is None and parsed.match is not None:
        raise UserError(f"{parsed.experiment} has no train_as_long_as, so --match has no meaning")
    from apit.training.loop import train

    train(run, parsed.data, parsed.output, parsed.settings, parsed.match)
    print(f"{parsed.output}: {run.name} of scale {run.scale}, trained")


def _evaluate(parsed: argparse.Namespace) -> None:
    import torch

    from apit.measure.score import System, evaluate, mixture_system, ratio_mask_system
    from apit.models.separators import make_stft
    from apit.training.loop import load_separator

    scale = _scale(parsed) if parsed.scale or parsed.oracle else None
    if parsed.run:
        run, separator = load_separator(parsed.run)
        evaluation = scale.evaluation if scale else run.evaluation
        torch.set_num_threads(run.training.threads)
        audio, stft = run.audio, make_stft(run.stft, run.audio)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        separator.to(device)
        system = System(
            run.scale,
            run.experiment,
            run.seed,
            lambda batch: separator(batch.mixture.to(device)).estimates.cpu(),
        )
    else:
        assert scale is not None
        torch.set_num_threads(scale.training.threads)
        evaluation, audio, stft = scale.evaluation, scale.audio, make_stft(scale.stft, scale.audio)
        separate = mixture_system if parsed.oracle == "mixture" else ratio_mask_system(stft)
        system = System(parsed.scale, parsed.oracle, 0, separate)
    evaluate(system, parsed.data, audio, stft, evaluation, parsed.output, parsed.estimates)
    print(f"{parsed.output}: scores of {system.experiment}")


def _tables(parsed: argparse.Namespace) -> None:
    from apit.measure.statistics import read_scores, summarise
    from apit.present import tables
    from apit.training.loop import read_record

    scale = _scale(parsed)
    summary = summarise(read_scores(parsed.scores), scale.evaluation.resamples)
    records = [read_record(folder) for folder in parsed.runs]
    caption = tables.caption(records, scale.caption)
    made = (
        tables.ablations(summary, caption),
        tables.discriminators(summary, records, caption),
        tables.replacement(summary, records, caption),
        tables.models(records, caption),
    )
    for table in made:
        table.write(parsed.output)
    print(f"{parsed.output}: {', '.join(t.name for t in made)}, as CSV, Markdown and LaTeX")


def _figures(parsed: argparse.Namespace) -> None:
    from apit.measure.showcase import showcase
    from apit.measure.statistics import differences, hole_curve, read_scores, summarise
    from apit.models.separators import make_stft
    from apit.present import figures, tables
    from apit.training.loop import read_history, read_record

    scale = _scale(parsed)
    scores = read_scores(parsed.scores)
    runs = {folder: read_record(folder) for folder in parsed.runs}
    records = list(runs.values())
    resamples = scale.evaluation.resamples
    summary = summarise(scores, resamples)
    caption = tables.caption(records, scale.caption)
    drawn = figures.Gallery(parsed.output, caption)
    drawn.training_curves(
        [(record["run"]["experiment"], read_history(folder)) for folder, record in runs.items()]
    )
    drawn.improvements(summary)
    drawn.differences(
        differences(scores, BASELINE, resamples),
        BASELINE,
        layers.reported_for(scale, parsed.configs),
    )
    drawn.replacement(tables.replacement(summary, records, caption).data)
    drawn.hole_curves(hole_curve(scores, resamples))
    chosen = showcase(
        runs, parsed.data, parsed.estimates, scale.audio, make_stft(scale.stft, scale.audio)
    )
    drawn.spectrograms(chosen)
    print(f"{parsed.output}: {', '.join(drawn.names)}, as PNG and PDF")
