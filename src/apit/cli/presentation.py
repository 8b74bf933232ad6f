"""Commands that present."""

from pathlib import Path

from apit import commands
from apit.cli.words import Command

LISTEN_EPILOGUE = """\
OUTPUT/index.html needs neither server nor network. OUTPUT/webmushra.yaml is the same selection as a
listening test, and says how to run it."""


def add_presentation(command: Command) -> None:
    """What can be asked of tables, figures, spectrograms, listen, report, trace."""
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
        help="trials of rate × batch, for the table of them",
    )  # fmt: skip
    tables.add_argument(
        "--cost", type=Path, metavar="FILE", help="what `apit bench` wrote, for the table of it"
    )
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
        help="folder of the figures; the report has all that are in it",
    )  # fmt: skip
    report.add_argument("--runs", type=Path, nargs="+", required=True, help="the runs behind them")
    report.add_argument(
        "--source", type=Path, default=Path("paper", "report.typ"), metavar="FILE",
        help="the report's text (%(default)s)",
    )  # fmt: skip
    report.add_argument("--output", type=Path, required=True, help="file to write, .pdf")

    trace = command(
        "trace", commands.trace, "Tell from what a table or figure was made, down to its data.",
        of_scale=False,
    )  # fmt: skip
    trace.add_argument("file", type=Path, help="such as results/smoke/tables/ablations.csv")
