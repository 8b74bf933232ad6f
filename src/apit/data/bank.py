"""The bank: every clip and impulse response that mixtures are made of, ready to be mapped.

    clips.f32   samples of all usable clips, one after the other, at the rate of the mixtures
    clips.csv   what each is and in which split; and files that were left out, and why
    rooms.f32   impulse responses, one after the other (where there are rooms)
    rooms.csv   of which room and source each is
    sounds.txt  what all this was made from

Mixing draws from it once, into wavs; remixing in every step of a training. How rooms and
procedural sounds are computed is imported where they are, since that takes most of a second.
"""

import functools
import hashlib
import sys
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from apit.config import Audio, Boxes, Data, Recipe, Recorded, Scale, Split
from apit.data import fuss, splits
from apit.data.clips import Clip, Refused, Source, procedural, recorded
from apit.data.identities import of_bank
from apit.errors import UserError
from apit.files import check_apart, whole_folder
from apit.identity import Identity, check_configuration, is_made, stamp_of, stamp_of_files
from apit.names import BYTES
from apit.parallel import in_order
from apit.provenance import array_generator

SAMPLE = np.dtype("<f4")
TOLD = 5  # files that were left out


class Response(NamedTuple):
    """A row of rooms.csv: from which source of which room, and how long."""

    split: Split
    room: str
    source: int  # 0 is the background
    samples: int
    position: str = ""  # x y z in metres, where it is known
    size: str = ""
    surfaces: str = ""
    microphone: str = ""


class Stock:
    """What a split is mixed from: clips and rooms' responses, in maps of memory.

    Processes that it is sent to map the files themselves.
    """

    def __init__(self, root: Path, split: Split, recipe: Recipe):
        self._made_of = (root, split, recipe)
        self.split = split
        clips = _read_table(root / "clips.csv")
        clips = clips[clips["left_out"] == ""]
        sounds = _cut(root / "clips.f32", clips["samples"])
        own = np.flatnonzero(clips["split"] == split)
        names = [field.name for field in fields(Clip)]
        self.clips = [Clip(*row) for row in clips.iloc[own][names].itertuples(index=False)]
        self.sounds = [sounds[number] for number in own]
        numbers = {clip.name: number for number, clip in enumerate(self.clips)}
        self.backgrounds = [numbers[c.name] for c in splits.backgrounds(self.clips, recipe)]
        self.foregrounds = [numbers[c.name] for c in splits.foregrounds(self.clips, recipe)]
        self.rooms: list[list[Response]] = []  # by source
        self.responses: list[list[NDArray[np.float32]]] = []
        if recipe.rooms:
            rows = _read_table(root / "rooms.csv")
            cut = _cut(root / "rooms.f32", rows["samples"])
            for _, room in rows[rows["split"] == split].groupby("room", sort=False):
                self.rooms.append([Response(*row) for row in room.itertuples(index=False)])
                self.responses.append([cut[number] for number in room.index])

    def __reduce__(self) -> Any:
        return Stock, self._made_of


def open_stock(root: Path, split: Split, audio: Audio, data: Data) -> Stock:
    """Open a split of a bank; raises UserError where it is none, or was made for another `data`."""
    identity = Identity.read(root)
    if identity is None or identity.kind != "bank":
        raise UserError(f"{root}: is no bank; `apit bank` makes one")
    check_configuration(root, of_bank(audio, data).configuration)
    return Stock(root, split, recipe_of(data))


def recipe_of(data: Data) -> Recipe:
    """The recipe; raises UserError where somebody else has mixed already."""
    if data.recipe is None:
        raise UserError("this scale's mixtures are made already: `apit fetch` downloads them")
    return data.recipe


def _read_table(path: Path) -> pd.DataFrame:
    text = dict.fromkeys(
        ("name", "family", "folder", "licence", "sha256", "split", "left_out", "room", "position"),
        str,
    )
    return pd.read_csv(path, dtype=text, keep_default_na=False, encoding_errors=BYTES)


def _cut(path: Path, lengths: "pd.Series[int]") -> list[NDArray[np.float32]]:
    """The pieces of a file, in a map of memory."""
    ends = np.cumsum(lengths)
    total = int(lengths.sum())
    if path.stat().st_size != total * SAMPLE.itemsize:
        raise UserError(f"{path}: has not the {total} samples that its table lists; make it again")
    mapped = np.asarray(np.memmap(path, SAMPLE, "r", shape=(total,)))
    return np.split(mapped, ends[:-1])


def make_bank(scale: Scale, output: Path, clips_folder: Path | None = None, jobs: int = 0) -> None:
    """Make a scale's bank in `output`, of its procedural sounds or of a folder of recordings.

    Bad clips are left out, and listed.
    """
    recipe = recipe_of(scale.data)
    rooms = recipe.rooms
    rooms_folder = None
    if isinstance(rooms, Recorded):
        if not rooms.folder:
            raise UserError("data.recipe.rooms are recorded: set data.recipe.rooms.folder")
        rooms_folder = Path(rooms.folder)
    elif rooms:
        from apit.data.rooms import check_surfaces

        check_surfaces(rooms)
    check_apart(output, clips_folder, rooms_folder)
    source = _source(scale, recipe, clips_folder)
    is_fetched = scale.data.sounds.kind == "packages"  # and its identity, or else each file, counts
    stamp = stamp_of if is_fetched else stamp_of_files
    identity = of_bank(
        scale.audio,
        scale.data,
        stamp(clips_folder) if clips_folder else None,
        stamp_of_files(rooms_folder) if rooms_folder else None,
    )
    if is_made(output, identity):
        return
    with whole_folder(output, identity) as part:
        _write_clips(source, recipe, part, clips_folder, jobs)
        if rooms:
            _write_rooms(scale, rooms, part, jobs)
        (part / fuss.SOUNDS).write_text(f"{source.origin}\n", encoding="utf-8", errors=BYTES)


def _source(scale: Scale, recipe: Recipe, folder: Path | None) -> Source:
    rate = scale.audio.sample_rate
    if folder is not None:
        return recorded(folder, recipe, rate)
    if scale.data.sounds.kind == "procedural":
        return procedural(scale.data.sounds, recipe, rate, scale.audio.seconds)
    raise UserError(
        "this scale mixes recordings: give their folder with --clips (`apit fetch` fetches those "
        "of a scale's packages)"
    )


def _write_clips(
    source: Source, recipe: Recipe, part: Path, folder: Path | None, jobs: int
) -> None:
    clips: list[Clip] = []
    left_out: dict[str, str] = {}
    same: dict[str, str] = {}  # names of files and sounds, by their hash
    with (part / "clips.f32").open("wb") as file:
        for sound in in_order(source.read, source.names, len(source.names), "clips", jobs):
            if isinstance(sound, Refused):
                left_out[sound.name] = sound.reason
                continue
            clip, content = sound.clip, sound.samples.astype(SAMPLE, copy=False).tobytes()
            likeness = hashlib.sha256(content).hexdigest()
            if clip.sha256 and clip.sha256 in same:
                left_out[clip.name] = f"the same file as {same[clip.sha256]}"
            elif likeness in same:
                left_out[clip.name] = f"sounds the same as {same[likeness]}"
            else:
                same |= {clip.sha256: clip.name, likeness: clip.name}
                clips.append(clip)
                file.write(content)
    some = "; ".join(f"{name}: {reason}" for name, reason in list(left_out.items())[:TOLD])
    if not clips:
        raise UserError(f"{folder}: none of {len(left_out)} files is a usable clip ({some})")
    if left_out:
        print(
            f"{folder}: {len(clips)} clips, {len(left_out)} files left out ({some}"
            f"{'; …' if len(left_out) > TOLD else ''}); clips.csv lists them all",
            file=sys.stderr,
        )
    split_of = {c.name: s for s, hand in splits.split_clips(clips, recipe).items() for c in hand}
    rows = [asdict(clip) | {"split": split_of.get(clip.name, ""), "left_out": ""} for clip in clips]
    empty = asdict(Clip("", "", "", 0, 0.0)) | {"split": ""}
    rows += [empty | {"name": name, "left_out": reason} for name, reason in left_out.items()]
    pd.DataFrame(rows).to_csv(part / "clips.csv", index=False, errors=BYTES)


def _write_rooms(scale: Scale, rooms: Boxes | Recorded, part: Path, jobs: int) -> None:
    from apit.data.rooms import recorded_rooms

    rows: list[Response] = []
    with (part / "rooms.f32").open("wb") as file:
        for split, examples in recipe_of(scale.data).examples.items():
            if isinstance(rooms, Boxes):
                some: Sequence[Any] = range(min(examples, rooms.at_most))
            else:
                some = recorded_rooms(Path(rooms.folder or ""), split)
            make = functools.partial(_responses, scale, rooms, split)
            for made in in_order(make, some, len(some), f"rooms {split}", jobs):
                for row, samples in made:
                    rows.append(row)
                    file.write(samples.astype(SAMPLE).tobytes())
    pd.DataFrame(rows).to_csv(part / "rooms.csv", index=False, errors=BYTES)


def _responses(
    scale: Scale, rooms: Boxes | Recorded, split: Split, which: Any
) -> list[tuple[Response, NDArray[np.float64]]]:
    """A room's responses: the number of a box to draw, or the folder of a recorded one."""
    from apit.data.rooms import draw_room, impulse_responses, metres, recorded_responses

    recipe, rate = recipe_of(scale.data), scale.audio.sample_rate
    sources = 1 + recipe.foregrounds[1]
    if isinstance(rooms, Recorded):
        recordings = recorded_responses(which, rate, sources, rooms.gain_db)
        return [
            (Response(split, which.name, source, len(samples)), samples)
            for source, samples in enumerate(recordings)
        ]
    room = draw_room(rooms, sources, array_generator("room", recipe.seed, split, which))
    computed = impulse_responses(room, rate, rooms.reflections)
    of_room = metres(room.size), " ".join(room.surfaces.values()), metres(room.microphone)
    return [
        (
            Response(split, f"room{which:05d}", source, len(samples), metres(position), *of_room),
            samples,
        )
        for source, (samples, position) in enumerate(zip(computed, room.positions, strict=True))
    ]
