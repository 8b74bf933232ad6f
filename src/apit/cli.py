"""Command line: what can be asked; `apit.commands` does it."""

import argparse
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import get_args

from apit import commands, layers
from apit.config import ORACLES, Split
from apit.errors import Interrupted, UserError

Command = Callable[..., argparse.ArgumentParser]  # name, function, summary, epilogue → parser

DESCRIPTION = """\
Adversarial permutation invariant training for universal sound separation.

The commands, in the order of the data; the workflow (`snakemake --cores all`) calls the same ones:

  fetch     the recordings that a scale mixes, or FUSS, which is mixed already
  bank      clips and rooms, checked, split, and ready to be mixed
  mix       bank → mixtures in the FUSS layout
  pack      mixtures, or FUSS's archive → few large files, which training reads fastest
  unpack    … and back, bit for bit
  train     mixtures + an experiment → weights, history, record
  bench     how fast training is here, and what a scale would take
  evaluate  a run, or an oracle, over the evaluation split → one long table of scores
  score     any program's estimates → the same table
  separate  a run + any sound files → their sources
  release   runs → the weights of the best, in one archive
  tables    scores → tables with intervals
  figures   scores and histories → figures
  spectrograms  kept estimates → a figure of one mixture under several systems
  listen    weights and scores → a page on which chosen mixtures are heard under every system
  report    tables, figures and records → a PDF to read
  checklist records and verdicts → REPRODUCIBILITY.md
  versions  which code each result depends on, as hashes
  trace     a table or figure → the scores, runs and data that it was made from
  accept    note that today's code gives what the code of a commit gave

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

LISTEN_EPILOGUE = """\
OUTPUT/index.html needs neither server nor network. OUTPUT/webmushra.yaml is the same selection as a
listening test, and says how to run it."""


SEPARATE_EXAMPLE = """\
example:
  apit separate street.wav kitchen.flac --model results/mini/runs/pit-s0 --output separated

writes separated/street/source0.wav … at the rate and with the channels of street.wav, as many as
there is something to be heard in; they sum to street.wav. A summary.json stands beside them."""


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
        made = error.filename or getattr(parsed, "output", None)  # a full disk has no name
        where = f"{made}: " if made else ""
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

    def command(
        name: str, call: object, summary: str, epilog: str = "", *, of_scale: bool = True
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(
            name, help=summary, description=summary, epilog=epilog,
            parents=[scaled] if of_scale else [], formatter_class=plain,
        )  # fmt: skip
        added.set_defaults(call=call)
        return added

    _add_data(command)
    _add_training(command)
    _add_measuring(command)
    _add_presentation(command)
    _add_separation(command)
    _add_lineage(command)
    return parser


def _add_data(command: Command) -> None:
    fetch = command(
        "fetch", commands.fetch,
        "Fetch the recordings that a scale mixes (without root), or FUSS, which is mixed already.",
    )  # fmt: skip
    fetch.add_argument(
        "--output", type=Path, required=True,
        help="folder to make, of clips or mixtures; an archive is kept beside it",
    )  # fmt: skip
    fetch.add_argument(
        "--archive", metavar="URL_OR_PATH",
        help="a mirror of FUSS's archive, or a file, instead of the address in the configuration "
        "(of scale paper, if no --scale is given)",
    )  # fmt: skip
    fetch.add_argument("--sha256", metavar="HEX", help="what the archive must have")
    fetch.add_argument("--bytes", type=_whole_number, metavar="N", help="how large it must be")

    fetch.add_argument(
        "--packed", action="store_true", help="pack FUSS straight from the archive, as `apit pack`"
    )

    def jobs(added: argparse.ArgumentParser) -> None:
        added.add_argument(
            "--jobs", type=_whole_number, default=0, help="processes (as many as there are cores)"
        )

    bank = command(
        "bank", commands.bank, "Check a scale's clips, deal them to splits, and make its rooms."
    )
    bank.add_argument("--output", type=Path, required=True, help="folder to make")
    bank.add_argument(
        "--clips", type=Path, metavar="FOLDER",
        help="recordings in any format of libsndfile, at any rate, instead of procedural sounds",
    )  # fmt: skip
    bank.add_argument(
        "--rooms", type=Path, metavar="FOLDER",
        help="impulse responses, SPLIT/ROOM/background0.wav …, for rooms of kind: recorded",
    )  # fmt: skip
    jobs(bank)

    mix = command("mix", commands.mix, "Make a scale's mixtures in the FUSS layout.")
    mix.add_argument("--bank", type=Path, required=True, help="folder made by `apit bank`")
    mix.add_argument("--output", type=Path, required=True, help="folder to make, of mixtures")
    jobs(mix)

    pack = command(
        "pack", commands.pack,
        "Pack mixtures into few large files, of which crops are read from memory maps.",
        of_scale=False,
    )  # fmt: skip
    pack.add_argument(
        "source", type=Path, metavar="FOLDER_OR_TAR",
        help="mixtures in the FUSS layout (16-bit wavs of one length), unpacked or in an archive",
    )  # fmt: skip
    pack.add_argument("--output", type=Path, required=True, help="folder to make")

    unpack = command(
        "unpack", commands.unpack, "Give the wavs of packed mixtures back, bit for bit.",
        of_scale=False,
    )  # fmt: skip
    unpack.add_argument("packed", type=Path, metavar="PACKED", help="folder made by `apit pack`")
    unpack.add_argument("--output", type=Path, required=True, help="folder to make")


def _add_training(command: Command) -> None:
    train = command("train", commands.train, "Train one experiment with one seed.", TRAIN_EXAMPLE)
    train.add_argument("--experiment", required=True, help="an entry of configs/experiments.yaml")
    train.add_argument("--seed", type=int, default=0, help="seed of all generators (0)")
    train.add_argument("--data", type=Path, required=True, help="folder of mixtures")
    train.add_argument("--bank", type=Path, help="bank to remix, for training.remix: clips")
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

    bench = command(
        "bench", commands.bench, "Time steps of training here, and what a scale would take."
    )
    bench.add_argument(
        "--experiments", nargs="+", metavar="NAME",
        default=["pit", "ctx-stft-i1", "multi-ctx-i1", "multi-all-i1"],
        help="what to time, first what the others are relative to (%(default)s)",
    )  # fmt: skip
    bench.add_argument("--data", type=Path, help="folder of mixtures, to time reading them")
    bench.add_argument("--bank", type=Path, help="bank to remix, for training.remix: clips")
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

    evaluate = command(
        "evaluate", commands.evaluate, "Score a run, or an oracle, on the evaluation split."
    )
    system = evaluate.add_mutually_exclusive_group(required=True)
    system.add_argument("--run", type=Path, help="folder of a finished run")
    system.add_argument(
        "--oracle", choices=ORACLES, help="a system without training, which bounds the tables"
    )
    evaluate.add_argument("--data", type=Path, required=True, help="folder of mixtures")
    evaluate.add_argument(
        "--split", choices=get_args(Split), default="eval", help="which examples (%(default)s)"
    )
    evaluate.add_argument("--output", type=Path, required=True, help="scores, .csv or .csv.gz")
    evaluate.add_argument(
        "--estimates", type=Path, metavar="DIR",
        help="also keep the first estimates as sound, one folder per example",
    )  # fmt: skip
    evaluate.add_argument(
        "--first", type=_whole_number, metavar="N", help="score only the first N mixtures"
    )
    measures(evaluate)

    score = command("score", commands.score, "Score any program's estimates.", SCORE_EXAMPLE)
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


def _add_lineage(command: Command) -> None:
    versions = command("versions", commands.versions, "Write the versions of a scale's code.")
    versions.add_argument("--output", type=Path, required=True, help="file to write, .json")

    accept = command(
        "accept", commands.accept,
        "Note in configs/accepted.csv, to be committed, that today's code gives the results that "
        "the code of a commit gave: nothing is made anew because of it.",
    )  # fmt: skip
    accept.add_argument(
        "--since", required=True, metavar="COMMIT", help="whose results are still good"
    )
    accept.add_argument("--why", required=True, metavar="TEXT", help="how that is known")


def _add_presentation(command: Command) -> None:
    tables = command("tables", commands.tables, "Make the tables of a scale from scores.")
    tables.add_argument("--scores", type=Path, nargs="+", required=True, help="files of scores")
    tables.add_argument(
        "--bss-eval", type=Path, nargs="+", default=[], metavar="SCORES",
        help="files of scores with BSS Eval, for the table of it",
    )  # fmt: skip
    tables.add_argument(
        "--out-of-domain", type=Path, nargs="+", default=[], metavar="SCORES",
        help="files of scores of the split out_of_domain, for the table of it",
    )  # fmt: skip
    tables.add_argument(
        "--trials", type=Path, nargs="+", default=[], metavar="RUN",
        help="trials of λ, for the table of them",
    )  # fmt: skip
    tables.add_argument("--runs", type=Path, nargs="+", required=True, help="the runs behind them")
    tables.add_argument("--output", type=Path, required=True, help="folder for the tables")

    figures = command("figures", commands.figures, "Draw the figures of a scale.")
    figures.add_argument("--scores", type=Path, nargs="+", required=True, help="files of scores")
    figures.add_argument("--runs", type=Path, nargs="+", required=True, help="the runs behind them")
    figures.add_argument("--output", type=Path, required=True, help="folder for the figures")

    spectrograms = command(
        "spectrograms", commands.spectrograms,
        "Draw one mixture under pit and the best adversarial run, with its spectral holes.",
    )  # fmt: skip
    spectrograms.add_argument("--runs", type=Path, nargs="+", required=True, help="the runs")
    spectrograms.add_argument("--data", type=Path, required=True, help="folder of mixtures")
    spectrograms.add_argument(
        "--estimates", type=Path, required=True, help="folder of kept estimates, a folder per run"
    )
    spectrograms.add_argument("--output", type=Path, required=True, help="folder for the figure")

    listen = command(
        "listen", commands.listen,
        "Make a page on which chosen mixtures are heard under every run and an oracle.",
        LISTEN_EPILOGUE,
    )  # fmt: skip
    listen.add_argument("--runs", type=Path, nargs="+", required=True, help="runs, with weights")
    listen.add_argument("--data", type=Path, required=True, help="folder of mixtures")
    listen.add_argument(
        "--scores", type=Path, nargs="+", required=True,
        help="files of scores of the runs, and of ideal-ratio-mask, with spectral holes",
    )  # fmt: skip
    listen.add_argument("--output", type=Path, required=True, help="folder to make")

    report = command("report", commands.report, "Set the report of a scale, as PDF.")
    report.add_argument("--tables", type=Path, required=True, help="folder of the tables")
    report.add_argument(
        "--figures", type=Path, required=True,
        help="folder of the figures; the report has those that are there",
    )  # fmt: skip
    report.add_argument("--runs", type=Path, nargs="+", required=True, help="the runs behind them")
    report.add_argument(
        "--source", type=Path, default=Path("paper", "report.typ"), metavar="FILE",
        help="the report's text (%(default)s)",
    )  # fmt: skip
    report.add_argument("--output", type=Path, required=True, help="file to write, .pdf")

    checklist = command(
        "checklist", commands.checklist,
        "Answer the usual questions on reproducibility, and say how to try each claim.",
        of_scale=False,
    )  # fmt: skip
    checklist.add_argument(
        "results", type=Path, nargs="+", metavar="RESULTS",
        help="folders with records, scores and tables, such as results/smoke",
    )  # fmt: skip
    checklist.add_argument(
        "--configs", type=Path, default=layers.CONFIGS, help="folder of configurations (configs)"
    )
    checklist.add_argument("--output", type=Path, required=True, help="file to write, .md")

    trace = command(
        "trace", commands.trace, "Tell from what a table or figure was made, down to its data.",
        of_scale=False,
    )  # fmt: skip
    trace.add_argument("file", type=Path, help="such as results/smoke/tables/ablations.csv")


def _add_separation(command: Command) -> None:
    separate = command(
        "separate", commands.separate, "Separate sound files with a finished run.",
        SEPARATE_EXAMPLE, of_scale=False,
    )  # fmt: skip
    separate.add_argument(
        "files", type=Path, nargs="+", metavar="FILE",
        help="in any format of libsndfile, at any rate, of any length and number of channels",
    )  # fmt: skip
    separate.add_argument(
        "--model", type=Path, required=True, metavar="RUN",
        help="folder of a finished run: model.safetensors and record.json",
    )  # fmt: skip
    separate.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="folder of what is written"
    )
    separate.add_argument(
        "--silent", action="store_true", help="also write slots that the model left (nearly) silent"
    )
    separate.add_argument(
        "--chunk", type=float, metavar="SECONDS",
        help="separated at a time (as long as the model's training mixtures)",
    )  # fmt: skip

    release = command(
        "release", commands.release,
        "Pack the weights of two runs, the best on validation without discriminators and with "
        "some: what `apit separate --model` needs of them.",
        of_scale=False,
    )  # fmt: skip
    release.add_argument("--runs", type=Path, nargs="+", required=True, help="finished runs")
    release.add_argument("--output", type=Path, required=True, help="file to write, .tar")


def _whole_number(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)
