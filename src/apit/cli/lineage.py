"""Commands on versions of the code."""

from pathlib import Path

from apit import commands
from apit.cli.words import Command


def add_lineage(command: Command) -> None:
    """What can be asked of versions, accept."""
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
