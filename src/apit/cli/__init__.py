"""Command line: each command is a function of a module here, imported when it is called."""

import os
import signal
import sys
import threading
from collections.abc import Sequence
from io import TextIOWrapper
from types import FrameType

from cyclopts import App, CycloptsError, Group, Parameter

import apit
from apit.errors import Interrupted, UserError

COMMANDS = (  # in the order of the data
    ("data", "fetch", "the recordings that a scale mixes, or FUSS, mixed already"),
    ("data", "bank", "clips and rooms, checked, split, and ready to be mixed"),
    ("data", "mix", "bank → mixtures in the FUSS layout"),
    ("data", "pack", "mixtures, or their archive → few large files, fastest to read"),
    ("training", "train", "mixtures + an experiment → weights, history, record"),
    ("training", "bench", "how fast training is here, and what a scale would take"),
    ("measuring", "evaluate", "a run, or an oracle, over the evaluation split → scores"),
    ("measuring", "score", "any program's estimates → scores"),
    ("measuring", "separate", "a run + any sound files → their sources"),
    ("measuring", "release", "runs → the weights of the best, in one archive"),
    ("presenting", "tables", "scores → tables with intervals"),
    ("presenting", "figures", "scores and histories → figures"),
    ("presenting", "spectrograms", "kept estimates → one mixture under several systems"),
    ("presenting", "listen", "weights and scores → a page on which mixtures are heard"),
    ("presenting", "report", "tables, figures and records → a PDF to read"),
    ("results", "plan", "how many seeds each claim needs, and how many hours that is"),
    ("results", "look", "scores of the first seeds → which experiments need more"),
    ("results", "compare", "tables made here ↔ those in git, by the noise between seeds"),
    ("results", "status", "what is here and not of today's configuration, inputs or code"),
    ("results", "accept", "results of other code that gives the same numbers → today's"),
    ("presenting", "trace", "a table or figure → the scores, runs and data behind it"),
)
LISTING = "\n".join(f"  {name:12}  {made}" for _, name, made in COMMANDS)
HELP = f"""\
Adversarial permutation invariant training for universal sound separation.

The commands, in the order of the data; the workflow (`snakemake --cores all`)
calls the same ones:

{LISTING}

Scales are configs/SCALE.yaml, experiments are in configs/experiments.yaml.
"""


def _default(value: object) -> str | None:
    """What help says of a default: nothing where nothing is the default."""
    if value in (None, ()) or value is False:
        return None
    return " ".join(value) if isinstance(value, tuple) else str(value)


app = App(
    "apit",
    help=HELP,
    help_format="plaintext",
    version=lambda: apit.__version__,
    version_flags="--version",
    default_parameter=Parameter(negative=(), show_default=_default),
    group_commands=Group("Commands", show=False),
)
for module, name, _ in COMMANDS:
    app.command(f"{__name__}.{module}:{name}", name=name, help_format="markdown")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0 if it did what was asked, 2 and one message if its input was bad.

    After a signal it is 128 and the signal's number, as in shells; so it is where nobody reads any
    more what is printed, as after `| head`.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed, as by `>&-`: print would say errors elsewhere
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # for narrow locales, and names that are no text
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _run(sys.argv[1:] if arguments is None else list(arguments))
        sys.stdout.flush()
        return code
    except (BrokenPipeError, SystemExit):  # rich, which prints help, makes the other of the one
        nowhere = os.open(os.devnull, os.O_WRONLY)  # for what Python has yet to write at its end
        for stream in (sys.stdout, sys.stderr):
            os.dup2(nowhere, stream.fileno())
        return 128 + signal.SIGPIPE


def _run(arguments: list[str]) -> int:
    said = " ".join(("apit", *arguments[:1]))
    output = None
    try:
        command, bound, _ = app.parse_args(arguments, exit_on_error=False, print_error=False)
        output = bound.arguments.get("output")
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, _stop)  # so that what is half made is cleared away
        command(*bound.args, **bound.kwargs)
    except (CycloptsError, UserError) as error:
        print(f"{said}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        raise
    except OSError as error:
        of_tmpdir = "temporary directory" in str(error)  # as tempfile says it
        made = error.filename or ("TMPDIR" if of_tmpdir else output)  # a full disk has no name
        where = f"{made}: " if made else ""
        print(f"{said}: {where}{error.strerror or error}", file=sys.stderr)
        return 2
    except Interrupted as interrupted:
        print(f"{said}: {interrupted}", file=sys.stderr)
        return 128 + interrupted.number
    except KeyboardInterrupt:
        print(f"{said}: interrupted", file=sys.stderr)
        return 130
    return 0


def _stop(number: int, frame: FrameType | None) -> None:
    raise Interrupted(number, "stopped")
