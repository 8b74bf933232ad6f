"""Commands that separate and score."""

import argparse
from pathlib import Path
from typing import get_args

from apit import commands
from apit.cli.words import Command, whole_number
from apit.config import ORACLES, Split

SCORE_EXAMPLE = """\
example:
  apit score --references data/mini/mixtures/eval_example_list.txt --estimates DIR \\
      --output scores.csv --spectral-holes

scores.summary.json, beside the scores, has every aggregate with its interval over mixtures. Without
--scale, configs/method.yaml says what is measured, and how many sources an example has at most."""


SEPARATE_EXAMPLE = """\
example:
  apit separate street.wav kitchen.flac --model results/mini/runs/pit-s0 --output separated

writes separated/street/source0.wav … at the rate and with the channels of street.wav, as many as
there is something to be heard in; they sum to street.wav. A summary.json stands beside them."""


def add_measuring(command: Command) -> None:
    """What can be asked of evaluate, score."""

    def measures(added: argparse.ArgumentParser) -> None:
        added.add_argument(
            "--spectral-holes", action="store_true",
            help="also rates of spectral holes and leakage, and log-spectral distance",
        )  # fmt: skip
        added.add_argument(
            "--jobs", type=whole_number, default=0,
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
        "--first", type=whole_number, metavar="N", help="score only the first N mixtures"
    )
    evaluate.add_argument(
        "--bss-eval", type=Path, metavar="FILE",
        help="also BSS Eval v4 (SDR, ISR, SIR, SAR) and log-spectral distance, into a file of "
        "their own: of the first evaluation.bss_eval.examples mixtures, since it is slow",
    )  # fmt: skip
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
    score.add_argument(
        "--bss-eval", action="store_true",
        help="also BSS Eval v4 (SDR, ISR, SIR, SAR), a hundred times slower than SI-SNR, and "
        "log-spectral distance",
    )  # fmt: skip
    measures(score)


def add_separation(command: Command) -> None:
    """What can be asked of separate, release."""
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
