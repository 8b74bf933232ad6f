"""Commands that make data: fetch, bank, mix, pack."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from apit.artefacts import today
from apit.cli.options import Folder, Jobs, ScaleOptions
from apit.data import mixtures, packing
from apit.data.bank import make_bank
from apit.data.fetch import fetch_fuss, fetch_packages
from apit.errors import UserError


def fetch(
    *,
    output: Path,
    archive: Annotated[str | None, Parameter(metavar="URL_OR_PATH")] = None,
    options: ScaleOptions = ScaleOptions(),
) -> None:
    """Fetch the recordings that a scale mixes (without root), or FUSS, which is mixed already.

    Parameters
    ----------
    output
        Folder to make, of clips or packed mixtures; an archive is kept beside it.
    archive
        A mirror of FUSS's archive, or a file, instead of the address in the configuration (of
        scale paper, if no --scale is given). Another one than FUSS's needs its size and hash, too:
        --set data.sounds.bytes=… --set data.sounds.sha256=….
    """
    if archive:
        address = archive if "://" in archive else Path(archive).resolve().as_uri()
        settings = (*options.settings, f"data.sounds.address={address}")
        options = replace(options, scale=options.scale or "paper", settings=settings)
    scale = options.load()
    sounds = scale.data.sounds
    if sounds.kind == "packages":
        fetch_packages(sounds.packages, output)
        names = ", ".join(package.name for package in sounds.packages)
        print(f"{output}: recordings of {names}")
    elif sounds.kind == "fuss":
        fetch_fuss(sounds, scale.audio, output)
        print(f"{output}: {sounds.name}")
    else:
        raise UserError(f"scale {options.name} has sounds of kind {sounds.kind}: nothing to fetch")


def bank(
    *,
    output: Folder,
    clips: Path | None = None,
    jobs: Jobs = 0,
    options: ScaleOptions = ScaleOptions(),
) -> None:
    """Check a scale's clips, deal them to splits, and make its rooms.

    Parameters
    ----------
    clips
        Folder of recordings in any format of libsndfile, at any rate, instead of procedural sounds.
    """
    scale = options.load()
    sounds = scale.data.sounds
    if clips is None and sounds.kind == "folder" and sounds.folder:
        clips = Path(sounds.folder)
    make_bank(scale, output, today(clips) if clips else None, jobs)
    print(f"{output}: clips and rooms of scale {options.name}; clips.csv tells of them")


def mix(
    *, bank: Path, output: Folder, jobs: Jobs = 0, options: ScaleOptions = ScaleOptions()
) -> None:
    """Make a scale's mixtures in the FUSS layout.

    Parameters
    ----------
    bank
        Folder made by `apit bank`.
    """
    mixtures.mix(options.load(), today(bank), output, jobs)
    print(f"{output}: mixtures of scale {options.name}, in the FUSS layout")


def pack(source: Annotated[Path, Parameter(metavar="FOLDER_OR_TAR")], /, *, output: Folder) -> None:
    """Pack mixtures into few large files, of which crops are read from memory maps.

    Parameters
    ----------
    source
        Mixtures in the FUSS layout (16-bit wavs of one length), unpacked or in an archive.
    """
    packing.pack(today(source), output)
    print(f"{output}: {source}, packed")
