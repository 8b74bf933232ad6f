"""Commands that make data: fetch, bank, mix, pack."""

import argparse
from pathlib import Path

from apit import layers
from apit.commands.scales import known_scale, scale_of
from apit.errors import UserError


def fetch(parsed: argparse.Namespace) -> None:
    """`apit fetch`."""
    from apit.data.fetch import fetch_fuss, fetch_packages

    of_archive = {"address": parsed.archive, "sha256": parsed.sha256, "bytes": parsed.bytes}
    given = {key: value for key, value in of_archive.items() if value is not None}
    name = "paper" if given and parsed.scale is None else known_scale(parsed)
    scale = layers.load_scale(name, parsed.settings, parsed.configs)
    sounds = scale.data.sounds
    if given and sounds.kind != "fuss":
        raise UserError(f"scale {name} mixes its own examples: it has no archive to fetch")
    if sounds.kind == "procedural":
        raise UserError(f"scale {name} has procedural sounds: nothing to fetch")
    if sounds.kind == "folder":
        raise UserError(f"scale {name} mixes a folder of your own: nothing to fetch")
    if sounds.kind == "packages":
        fetch_packages(sounds.packages, parsed.output)
        names = ", ".join(package.name for package in sounds.packages)
        print(f"{parsed.output}: recordings of {names}")
        return
    address = str(given.get("address", ""))
    if address and "://" not in address:
        given["address"] = Path(address).resolve().as_uri()
    settings = [f"data.sounds.{key}={value}" for key, value in given.items()]
    scale = layers.load_scale(name, [*parsed.settings, *settings], parsed.configs)
    sounds = scale.data.sounds
    assert sounds.kind == "fuss"
    fetch_fuss(sounds, scale.audio, parsed.output)
    print(f"{parsed.output}: {sounds.name}")


def bank(parsed: argparse.Namespace) -> None:
    """`apit bank`."""
    from apit.data.bank import make_bank

    make_bank(scale_of(parsed), parsed.output, parsed.clips, parsed.rooms, parsed.jobs)
    print(f"{parsed.output}: clips and rooms of scale {parsed.scale}; clips.html tells of them")


def mix(parsed: argparse.Namespace) -> None:
    """`apit mix`."""
    from apit.data import mixtures

    mixtures.mix(scale_of(parsed), parsed.bank, parsed.output, parsed.jobs)
    print(f"{parsed.output}: mixtures of scale {parsed.scale}, in the FUSS layout")


def pack(parsed: argparse.Namespace) -> None:
    """`apit pack`."""
    from apit.data import packing

    packing.pack(parsed.source, parsed.output)
    print(f"{parsed.output}: {parsed.source}, packed")
