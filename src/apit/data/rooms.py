"""Rooms: a seed → one box-shaped room, and the impulse response from each source to one microphone.

As in FUSS, by the image-source method with frequency-dependent walls, and nothing is realigned
afterwards. pyroomacoustics' filters delay all responses by 40 samples, and those for the walls'
octave bands ring a little before the sound arrives (about 25 dB below all of it).

Recorded rooms are read as FUSS_rir_data has them: a folder for each, `SPLIT/ROOM/`, with responses
`background0.wav`, `foreground0.wav`, …
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyroomacoustics
from numpy.typing import NDArray
from pyroomacoustics.parameters import constants, materials_absorption_table

from apit.config import Boxes, Split
from apit.errors import UserError
from apit.sound import open_sound, read_whole

WALLS = ("west", "east", "south", "north")

constants.set("num_threads", 1)  # sums in one order: the same bytes on any number of cores


@dataclass(frozen=True)
class Room:
    """A room's size and all positions in metres [x, y, z], and the material of each surface."""

    size: tuple[float, ...]
    surfaces: dict[str, str]
    microphone: tuple[float, ...]
    positions: tuple[tuple[float, ...], ...]  # one per source


def metres(point: Sequence[float]) -> str:
    """Write a point or size as the manifest has it: x y z in metres."""
    return " ".join(f"{coordinate:.3f}" for coordinate in point)


def draw_room(rooms: Boxes, sources: int, generator: np.random.Generator) -> Room:
    """Draw size, surfaces, the microphone and a position for each source, all uniformly."""
    size = tuple(_to_millimetres(generator.uniform(*side)) for side in (rooms.length, rooms.width))
    size += (_to_millimetres(generator.uniform(*rooms.height)),)
    surfaces = {wall: _choice(rooms.walls, generator) for wall in WALLS}
    surfaces["floor"] = _choice(rooms.floors, generator)
    surfaces["ceiling"] = _choice(rooms.ceilings, generator)

    def position() -> tuple[float, ...]:
        margin = rooms.margin
        return tuple(_to_millimetres(generator.uniform(margin, side - margin)) for side in size)

    microphone = position()
    return Room(size, surfaces, microphone, tuple(position() for _ in range(sources)))


def check_surfaces(rooms: Boxes) -> None:
    """Raise UserError for a surface that pyroomacoustics does not know."""
    for name in (*rooms.walls, *rooms.floors, *rooms.ceilings):
        _material(name)


def _choice(names: Sequence[str], generator: np.random.Generator) -> str:
    return names[int(generator.integers(len(names)))]


def _to_millimetres(value: float) -> float:
    return round(float(value), 3)


def impulse_responses(room: Room, rate: int, reflections: int) -> list[NDArray[np.float64]]:
    """Impulse response of every position → a list of [time], up to `reflections` in a row.

    One gain for all of them sets their mean energy to one, so that a level is on average what it
    was before the room, and nearer sources stay louder than farther ones. So many reflections
    are the early part of the reverberation: hard rooms ring shorter than their walls would let
    them.
    """
    box = pyroomacoustics.ShoeBox(
        room.size,
        fs=rate,
        materials={surface: _material(name) for surface, name in room.surfaces.items()},
        max_order=reflections,
        air_absorption=True,
    )
    for position in room.positions:
        box.add_source(position)
    box.add_microphone(room.microphone)
    box.compute_rir()
    responses = [np.asarray(response, np.float64) for response in box.rir[0]]
    energy = np.mean([np.sum(response**2) for response in responses])
    return [response / np.sqrt(energy) for response in responses]


def recorded_rooms(folder: Path, split: Split) -> list[Path]:
    """List the folders of a split's recorded rooms."""
    if not (folder / split).is_dir():
        raise UserError(f"{folder}: has no folder {split} with rooms (ROOM/background0.wav, …)")
    rooms = sorted(path for path in (folder / split).iterdir() if path.is_dir())
    if not rooms:
        raise UserError(f"{folder / split}: holds no folder of a room")
    return rooms


def recorded_responses(
    room: Path, rate: int, sources: int, gain_db: float
) -> list[NDArray[np.float64]]:
    """Read a recorded room's responses, first the background's → a list of [time].

    Raises UserError where there are fewer than `sources`, or one cannot be read or has another
    rate.
    """
    paths = [p for kind in ("background", "foreground") for p in sorted(room.glob(f"{kind}*"))]
    if len(paths) < sources:
        raise UserError(f"{room}: holds {len(paths)} responses, and {sources} are needed")
    responses = []
    for path in paths[:sources]:
        with open_sound(path, path) as file:
            samples, own_rate = read_whole(file, path), file.samplerate
        if own_rate != rate or not len(samples) or not np.isfinite(samples).all():
            raise UserError(f"{path}: {own_rate} Hz, {len(samples)} samples; must have {rate} Hz")
        responses.append(samples[:, 0] * 10 ** (gain_db / 20))
    return responses


def _material(name: str) -> pyroomacoustics.Material:
    if name not in materials_absorption_table:
        near = difflib.get_close_matches(name, materials_absorption_table, 1)
        raise UserError(
            f"data.recipe.rooms: pyroomacoustics knows no surface called {name!r}; "
            + (f"did you mean {near[0]}?" if near else "see its table of materials")
        )
    return pyroomacoustics.Material(name)
