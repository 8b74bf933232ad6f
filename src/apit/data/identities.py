"""What clips, banks, mixtures and packed mixtures depend on."""

from collections.abc import Mapping, Sequence
from typing import Any

from apit.config import OF_MIXING_ALONE, Audio, Data, Package
from apit.identity import Identity, Stamp, identify

BANK = ("data/bank", "data/clips", "data/rooms", "data/splits", "data/synthesis")
MIXTURES = ("data/mixtures", "data/recipe")
PACKED = ("data/packing", "data/packed", "data/fuss")
READING = ("data/fuss", "data/packed", "data/examples", "data/batches")
# Where sounds are, and what they are called: their hashes, names and dates count instead.
PLACES: dict[str, Any] = {"sounds": {"name", "address", "folder"}, "recipe": {"rooms": {"folder"}}}


def data_settings(audio: Audio, data: Data) -> dict[str, Any]:
    """What mixtures depend on."""
    sounding = data.model_dump(mode="json", exclude=PLACES)
    return {"audio": audio.model_dump(mode="json"), "data": sounding}


def of_clips(packages: Sequence[Package]) -> Identity:
    """Of recordings of packages."""
    return Identity("clips", {"packages": [package.model_dump() for package in packages]})


def of_bank(
    audio: Audio, data: Data, clips: Stamp | None = None, rooms: Stamp | None = None
) -> Identity:
    """Of a bank, with folders of recorded clips and rooms where it has some."""
    configuration = data_settings(audio, data)
    recipe = configuration["data"]["recipe"]
    for key in OF_MIXING_ALONE:
        if key != "examples" or not recipe["rooms"]:  # as many examples, so many rooms
            del recipe[key]
    return identify("bank", configuration, {"clips": clips, "rooms": rooms}, BANK)


def of_mixtures(audio: Audio, data: Data, bank: Stamp) -> Identity:
    """Of mixtures."""
    return identify("mixtures", data_settings(audio, data), {"bank": bank}, MIXTURES)


def of_packed(configuration: Mapping[str, Any], mixtures: Stamp | None = None) -> Identity:
    """Of packed mixtures, and the settings that they were mixed by; without, of FUSS's archive."""
    return identify("packed", configuration, {"mixtures": mixtures}, PACKED)
