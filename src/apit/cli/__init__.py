"""Command line: what can be asked; `apit.commands` does it."""

import argparse
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from apit import layers
from apit.cli.data import add_data
from apit.cli.lineage import add_lineage
from apit.cli.measuring import add_measuring, add_separation
from apit.cli.presentation import add_presentation
from apit.cli.training import add_training
from apit.errors import Interrupted, UserError

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
  versions  which code each result depends on, as hashes
  trace     a table or figure → the scores, runs and data that it was made from
  accept    note that today's code gives what the code of a commit gave

Scales are configs/<scale>.yaml, experiments the entries of configs/experiments.yaml."""


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

    add_data(command)
    add_training(command)
    add_measuring(command)
    add_presentation(command)
    add_separation(command)
    add_lineage(command)
    return parser
