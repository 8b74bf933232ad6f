"""Command line: parse, call, print."""

import argparse
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import FrameType

from apit import layers
from apit.config import ORACLES, Run, Scale, Scoring, Slots
from apit.errors import Interrupted, UserError
from apit.provenance import processor

Command = Callable[..., argparse.ArgumentParser]  # name, function, summary, epilogue → parser

BASELINE = "pit"  # what ablations are compared with

DESCRIPTION = """\
Adversarial permutation invariant training for universal sound separation.

The commands, in the order of the data; the workflow (`snakemake --cores all`) calls the same ones:

  fetch     the recordings that a scale mixes, or FUSS, which is mixed already
  mix       clips → mixtures in the FUSS layout
  train     mixtures + an experiment → weights, history, record
  bench     how fast training is here, and what a scale would take
  evaluate  a run, or an oracle, over the evaluation split → one long table of scores
  score     any program's estimates → the same table
  tables    scores → tables with intervals
  figures   scores, histories and kept estimates → figures

Scales are configs/<scale>.yaml, experiments the entries of configs/experiments.yaml."""

TRAIN_EXAMPLE = """\
example:
  apit train --scale smoke --experiment ctx-stft-i1 --seed 0 \\
      --data data/smoke/mixtures --output /tmp/run --set training.steps=40"""

SCORE_EXAMPLE = """\
example:
  apit score --references data/mini/mixtures/eval_example_list.txt --estimates DIR \\
      --output scores.csv --spectral-holes

scores.summary.json, beside the scores, has every aggregate with its interval over mixtures. Without
--scale, configs/method.yaml says what is measured, and how many sources an example has at most."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0 if it did what was asked, 2 and one message if its input was bad.

    After a signal it is 128 and the signal's number, as in shells.
    """
    parsed = _parser().parse_args(arguments)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _stop)  # so that what is half made is cleared away
    try:
        parsed.call(parsed)
    except UserError as error:
        print(f"apit {parsed.command}: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"apit {parsed.command}: {where}{error.strerror or error}", file=sys.stderr)
        return 2
    except Interrupted as interrupted:
        print(f"apit {parsed.command}: {interrupted}", file=sys.stderr)
        return 128 + interrupted.number
    except KeyboardInterrupt:
        print(f"apit {parsed.command}: interrupted", file=sys.stderr)
        return 130
    return 0


def _stop(number: int, frame: FrameType | None) -> None:
    raise Interrupted(number, "stopped")


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

    _add_data(command)
    _add_training(command)
    _add_measuring(command)
    _add_presentation(command)
    return parser


def _add_data(command: Command) -> None:
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
    mix.add_argument(
        "--jobs", type=_whole_number, default=0, help="processes (as many as there are cores)"
    )


def _add_training(command: Command) -> None:
    train = command("train", _train, "Train one experiment with one seed.", TRAIN_EXAMPLE)
    train.add_argument("--experiment", required=True, help="an entry of configs/experiments.yaml")
    train.add_argument("--seed", type=int, default=0, help="seed of all generators (0)")
    train.add_argument("--data", type=Path, required=True, help="folder of mixtures")
    train.add_argument("--output", type=Path, required=True, help="folder to make, of the run")
    train.add_argument(
        "--match", type=Path, metavar="RUN",
        help="finished run whose training time this one gets (for train_as_long_as)",
    )  # fmt: skip
    train.add_argument(
        "--work", type=Path, metavar="DIR",
        help="folder of checkpoints (OUTPUT.work); the same command goes on from the newest",
    )  # fmt: skip
    train.add_argument(
        "--restart", action="store_true", help="start over, whatever checkpoint there is"
    )
    train.add_argument(
        "--any-threads", action="store_true",
        help="go on from a checkpoint made with another training.threads, to other bits",
    )  # fmt: skip
    train.add_argument(
        "--checkpoint-every", type=float, default=60.0, metavar="SECONDS",
        help="between checkpoints (%(default)g)",
    )  # fmt: skip

    bench = command("bench", _bench, "Time steps of training here, and what a scale would take.")
    bench.add_argument(
        "--experiments", nargs="+", metavar="NAME",
        default=["pit", "ctx-stft-i1", "multi-ctx-i1", "multi-all-i1"],
        help="what to time, first what the others are relative to (%(default)s)",
    )  # fmt: skip
    bench.add_argument("--data", type=Path, help="folder of mixtures, to time reading them")
    bench.add_argument("--rounds", type=int, default=5, help="of which the best counts")


def _add_measuring(command: Command) -> None:
    def measures(added: argparse.ArgumentParser) -> None:
        added.add_argument(
            "--bss-eval", action="store_true",
            help="also BSS Eval v4 (SDR, ISR, SIR, SAR), a hundred times slower than SI-SNR, and "
            "log-spectral distance",
        )  # fmt: skip
        added.add_argument(
            "--spectral-holes", action="store_true",
            help="also rates of spectral holes and leakage, and log-spectral distance",
        )  # fmt: skip
        added.add_argument(
            "--jobs", type=_whole_number, default=0,
            help="processes that score (as many as there are cores)",
        )  # fmt: skip

    evaluate = command("evaluate", _evaluate, "Score a run, or an oracle, on the evaluation split.")
    system = evaluate.add_mutually_exclusive_group(required=True)
    system.add_argument("--run", type=Path, help="folder of a finished run")
    system.add_argument(
        "--oracle", choices=ORACLES, help="a system without training, which bounds the tables"
    )
    evaluate.add_argument("--data", type=Path, required=True, help="folder of mixtures")
    evaluate.add_argument("--output", type=Path, required=True, help="scores, .csv or .csv.gz")
    evaluate.add_argument(
        "--estimates", type=Path, metavar="DIR",
        help="also keep the first estimates as sound, one folder per example",
    )  # fmt: skip
    evaluate.add_argument(
        "--first", type=_whole_number, metavar="N", help="score only the first N mixtures"
    )
    measures(evaluate)

    score = command("score", _score, "Score any program's estimates.", SCORE_EXAMPLE)
    score.add_argument(
        "--references", type=Path, required=True, metavar="LIST",
        help="example list in the FUSS layout: mixture and sources, tab-separated, on each line",
    )  # fmt: skip
    score.add_argument(
        "--estimates", type=Path, required=True, metavar="DIR",
        help="a folder for each example, named by the mixture's stem, with source0.wav …, PCM or "
        "float; what is not there is silence",
    )  # fmt: skip
    score.add_argument("--output", type=Path, required=True, help="scores, .csv or .csv.gz")
    measures(score)


def _add_presentation(command: Command) -> None:
    tables = command("tables", _tables, "Make the tables of a scale from scores.")
    tables.add_argument("--scores", type=Path, nargs="+", required=True, help="files of scores")
    tables.add_argument(
        "--bss-eval", type=Path, nargs="+", default=[], metavar="SCORES",
        help="files of scores with BSS Eval, for the table of it",
    )  # fmt: skip
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


def _whole_number(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


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
    from apit.training.devices import leased

    with leased():
        from apit.training.loop import train

        train(
            run,
            parsed.data,
            parsed.output,
            parsed.settings,
            parsed.match,
            work=parsed.work,
            restart=parsed.restart,
            any_threads=parsed.any_threads,
            checkpoint_seconds=parsed.checkpoint_every,
        )
    print(f"{parsed.output}: {run.name} of scale {run.scale}, trained")


def _bench(parsed: argparse.Namespace) -> None:
    from apit.training.devices import leased

    with leased():
        import torch

        from apit.training.bench import Bench

        scale = _scale(parsed)

        def resolved(name: str) -> Run:
            return layers.load_run(parsed.scale, name, 0, parsed.settings, parsed.configs)

        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        name = torch.cuda.get_device_name() if device.type == "cuda" else processor()
        rounds, timed = parsed.rounds, [resolved(n) for n in parsed.experiments]
        bench = Bench(timed, parsed.data, rounds, device)
        print(bench.table().to_string(index=False, float_format="%.3g", na_rep="–"))
        print(
            f"on {name}, torch {torch.__version__}; the best of {parsed.rounds} rounds in turns\n"
        )
        runs = [resolved(n) for n in scale.experiments]
        hours = [
            bench.hours(resolved(run.train_as_long_as) if run.train_as_long_as else run)
            for run in runs
        ]
        for run, needed in zip(runs, hours, strict=True):
            print(f"{needed:10.2f} h  {run.experiment}")
        seeds = len(scale.seeds)
        print(
            f"{sum(hours):10.2f} h  all experiments of {parsed.scale}, one seed; {seeds} seed(s): "
            f"{seeds * sum(hours):.1f} h of one device"
        )


def _evaluate(parsed: argparse.Namespace) -> None:
    from apit.training.devices import leased

    with leased() if parsed.run else nullcontext():
        _evaluate_here(parsed)


def _evaluate_here(parsed: argparse.Namespace) -> None:
    import torch

    from apit.measure.score import Measures, System, evaluate
    from apit.measure.systems import oracle
    from apit.models.stft import make_stft
    from apit.training.record import load_separator

    if parsed.run:
        run, separator = load_separator(parsed.run)
        scale = layers.load_scale(parsed.scale or run.scale, parsed.settings, parsed.configs)
        torch.set_num_threads(run.training.threads)
        audio = run.audio
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        separator.to(device)
        system = System(
            run.scale,
            run.experiment,
            run.seed,
            lambda batch: separator(batch.mixture.to(device)).estimates.cpu(),
        )
    else:
        scale = _scale(parsed)
        torch.set_num_threads(scale.training.threads)
        audio = scale.audio
        separate = oracle(parsed.oracle, make_stft(scale.stft, audio.sample_rate))
        system = System(parsed.scale, parsed.oracle, 0, separate)
    config = _scoring(scale)
    measures = Measures.of(config, spectral_holes=parsed.spectral_holes, bss_eval=parsed.bss_eval)
    evaluate(
        system,
        parsed.data,
        audio,
        measures,
        config,
        parsed.output,
        parsed.estimates,
        parsed.jobs,
        parsed.first,
    )
    print(f"{parsed.output}: scores of {system.experiment}")


def _scoring(scale: Scale) -> Scoring:
    return Scoring(
        audio=Slots(sources=scale.audio.sources), stft=scale.stft, evaluation=scale.evaluation
    )


def _score(parsed: argparse.Namespace) -> None:
    from apit.measure.score import Measures, score_estimates, summary_path

    if parsed.scale:
        config = _scoring(_scale(parsed))
    else:
        config = layers.load_scoring(parsed.settings, parsed.configs)
    measures = Measures.of(config, spectral_holes=parsed.spectral_holes, bss_eval=parsed.bss_eval)
    summary = score_estimates(
        parsed.references, parsed.estimates, measures, config, parsed.output, parsed.jobs
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


def _tables(parsed: argparse.Namespace) -> None:
    from apit.measure.statistics import summarise
    from apit.measure.table import read_scores
    from apit.measure.verdicts import decide
    from apit.present import tables
    from apit.training.record import read_record

    scale = _scale(parsed)
    claims, reported = layers.load_claims(parsed.configs), layers.load_reported(parsed.configs)
    scores, resamples = read_scores(parsed.scores), scale.evaluation.resamples
    summary = summarise(scores, resamples)
    records = [read_record(folder) for folder in parsed.runs]
    caption = tables.caption(records, scale.caption)
    made = [
        tables.ablations(summary, caption),
        tables.discriminators(summary, records, caption),
        tables.replacement(summary, records, caption),
        tables.holes(summary, caption),
        tables.verdicts(decide(claims, scores), caption),
        tables.published(summary, records, reported, caption),
        tables.models(records, caption),
    ]
    if parsed.bss_eval:
        scores = read_scores(parsed.bss_eval)
        examples = scores["example"].nunique()
        made.append(tables.bss_eval(summarise(scores, resamples), examples, caption))
    for table in made:
        table.write(parsed.output)
    print(f"{parsed.output}: {', '.join(t.name for t in made)}, as CSV, Markdown and LaTeX")


def _figures(parsed: argparse.Namespace) -> None:
    from apit.measure.showcase import showcase
    from apit.measure.statistics import differences, hole_curve, summarise
    from apit.measure.table import read_scores
    from apit.models.stft import make_stft
    from apit.present import figures, tables
    from apit.training.record import read_history, read_record

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
        runs,
        parsed.data,
        parsed.estimates,
        scale.audio,
        make_stft(scale.stft, scale.audio.sample_rate),
    )
    drawn.spectrograms(chosen)
    print(f"{parsed.output}: {', '.join(drawn.names)}, as PNG and PDF")
