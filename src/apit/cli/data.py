"""Commands that make data."""

import argparse
from pathlib import Path

from apit import commands
from apit.cli.words import Command, whole_number


def add_data(command: Command) -> None:
    """What can be asked of fetch, bank, mix, pack."""
    fetch = command(
        "fetch", commands.fetch,
        "Fetch the recordings that a scale mixes (without root), or FUSS, which is mixed already.",
    )  # fmt: skip
    fetch.add_argument(
        "--output", type=Path, required=True,
        help="folder to make, of clips or packed mixtures; an archive is kept beside it",
    )  # fmt: skip
    fetch.add_argument(
        "--archive", metavar="URL_OR_PATH",
        help="a mirror of FUSS's archive, or a file, instead of the address in the configuration "
        "(of scale paper, if no --scale is given)",
    )  # fmt: skip
    fetch.add_argument("--sha256", metavar="HEX", help="what the archive must have")
    fetch.add_argument("--bytes", type=whole_number, metavar="N", help="how large it must be")

    def jobs(added: argparse.ArgumentParser) -> None:
        added.add_argument(
            "--jobs", type=whole_number, default=0, help="processes (as many as there are cores)"
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
