"""Commands that train."""

from pathlib import Path

from apit import commands
from apit.cli.words import Command
from apit.training import CHECKPOINT_SECONDS

TRAIN_EXAMPLE = """\
example:
  apit train --scale smoke --experiment ctx-wave-i3-m --seed 0 \\
      --data data/smoke/mixtures --output /tmp/run --set training.steps=40"""


def add_training(command: Command) -> None:
    """What can be asked of train, bench."""
    train = command("train", commands.train, "Train one experiment with one seed.", TRAIN_EXAMPLE)
    train.add_argument("--experiment", required=True, help="an entry of configs/experiments.yaml")
    train.add_argument("--seed", type=int, default=0, help="seed of all generators (0)")
    train.add_argument("--data", type=Path, required=True, help="folder of mixtures")
    train.add_argument("--bank", type=Path, help="bank to remix, for training.remix: clips")
    train.add_argument("--output", type=Path, required=True, help="folder to make, of the run")
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
        "--checkpoint-every", type=float, default=CHECKPOINT_SECONDS, metavar="SECONDS",
        help="between checkpoints (%(default)g)",
    )  # fmt: skip

    bench = command(
        "bench", commands.bench, "Time steps of training here, and what a scale would take."
    )
    bench.add_argument(
        "--experiments", nargs="+", metavar="NAME",
        help="what to time, first what the others are relative to (all of the scale)",
    )  # fmt: skip
    bench.add_argument("--data", type=Path, help="folder of mixtures, to time reading them")
    bench.add_argument("--bank", type=Path, help="bank to remix, for training.remix: clips")
    bench.add_argument("--rounds", type=int, default=5, help="whose median counts (%(default)s)")
    bench.add_argument("--output", type=Path, help="file to write the table to, .csv")
    bench.add_argument(
        "--at", type=float, metavar="TMACS",
        help="time nothing: hours on a device that sustains so many 10^12 multiply-accumulates a "
        "second, of all experiments of the scale, from their networks' sizes",
    )  # fmt: skip
