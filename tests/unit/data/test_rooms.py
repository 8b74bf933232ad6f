import numpy as np
import pandas as pd
import pytest

from apit.data.bank import make_bank, open_stock
from apit.data.mixtures import make_example, mix
from apit.data.rooms import Room, draw_room, impulse_responses
from apit.errors import UserError
from apit.layers import load_scale
from apit.provenance import array_generator

SPEED_OF_SOUND = 343.0
RATE = 16000
ROOMS = (
    "data.recipe.rooms={kind: box, at_most: 5, length: [3, 6], width: [3, 5], height: [2.4, 3], "
    "margin: 0.5, walls: [brickwork, plasterboard], floors: [carpet_thin], "
    "ceilings: [ceiling_fissured_tile], reflections: 6}"
)


@pytest.fixture
def rooms(configs):
    return load_scale("tiny", [ROOMS], configs).data.recipe.rooms


def box(surface, positions=((1.0, 1.0, 1.5), (4.0, 3.0, 1.5))):
    surfaces = dict.fromkeys(("west", "east", "south", "north", "floor", "ceiling"), surface)
    return Room((5.0, 4.0, 3.0), surfaces, (1.5, 1.0, 1.5), positions)


def test_rooms_keep_to_their_ranges(rooms):
    drawn = [draw_room(rooms, 3, array_generator("room", i)) for i in range(50)]
    for room in drawn:
        for side, (low, high) in zip(
            room.size, (rooms.length, rooms.width, rooms.height), strict=True
        ):
            assert low <= side <= high
        for point in (room.microphone, *room.positions):
            assert all(0.499 <= x <= side - 0.499 for x, side in zip(point, room.size, strict=True))
    assert len({room.size for room in drawn}) == 50
    assert {room.surfaces["north"] for room in drawn} == {"brickwork", "plasterboard"}


def test_sound_arrives_after_its_way_and_weaker_from_farther(rooms):
    room = box("anechoic")
    near, far = impulse_responses(room, RATE, reflections=0)
    half = 40  # of the interpolation filter that fractional delays take, in samples
    for response, position in zip((near, far), room.positions, strict=True):
        way = np.linalg.norm(np.subtract(position, room.microphone))
        assert np.abs(response).argmax() == pytest.approx(way / SPEED_OF_SOUND * RATE + half, abs=2)
    ways = [np.linalg.norm(np.subtract(p, room.microphone)) for p in room.positions]
    ratio = np.sqrt(np.sum(near**2) / np.sum(far**2))
    assert ratio == pytest.approx(ways[1] / ways[0], rel=0.15)
    assert np.mean([np.sum(near**2), np.sum(far**2)]) == pytest.approx(1)


def late_energy(response, low, high):
    spectrum = np.abs(np.fft.rfft(response[1600:], 8192)) ** 2  # after 100 ms
    hertz = np.fft.rfftfreq(8192, 1 / RATE)
    return spectrum[(low <= hertz) & (hertz < high)].mean()


def test_soft_walls_ring_less_and_a_carpet_swallows_high_tones_first():
    hard, soft = (impulse_responses(box(s), RATE, 10)[0] for s in ("brickwork", "carpet_thin"))
    assert late_energy(soft, 100, 8000) < 0.5 * late_energy(hard, 100, 8000)
    slope = [late_energy(r, 2000, 4000) / late_energy(r, 100, 500) for r in (hard, soft)]
    assert slope[1] < 0.5 * slope[0]


def test_mixtures_in_rooms_are_the_same_on_any_number_of_processes(configs, tmp_path):
    scale = load_scale("tiny", [ROOMS], configs)
    for jobs in (1, 2):
        make_bank(scale, tmp_path / f"bank{jobs}", jobs=jobs)
        mix(scale, tmp_path / f"bank{jobs}", tmp_path / str(jobs), jobs=jobs)
    for kind in ("", "bank"):
        for path in (tmp_path / f"{kind}1").rglob("*"):
            if path.is_file():
                again = tmp_path / f"{kind}2" / path.relative_to(tmp_path / f"{kind}1")
                assert path.read_bytes() == again.read_bytes()
    manifest = pd.read_csv(tmp_path / "1" / "manifest.csv")
    listed = pd.read_csv(tmp_path / "1" / "rooms.csv").set_index("example")
    assert set(manifest["example"]) == set(listed.index)
    for example, source_rows in manifest.groupby("example"):
        size = [float(x) for x in listed.loc[example, "size"].split()]
        positions = [[float(x) for x in p.split()] for p in source_rows["position"]]
        assert len({tuple(p) for p in positions}) == len(positions)
        assert all(0 < x < side for p in positions for x, side in zip(p, size, strict=True))
    rooms = listed["room"].groupby(listed.index.str.split("/").str[0])
    # 12, 4 and 8 mixtures in 5, 4 and 5 rooms, which take turns.
    assert rooms.value_counts().max() == 3
    assert rooms.nunique().to_dict() == {"train": 5, "validation": 4, "eval": 5}


def test_an_unknown_surface_is_refused_with_the_nearest(configs, tmp_path):
    scale = load_scale("tiny", [ROOMS.replace("brickwork", "brickwrok")], configs)
    with pytest.raises(UserError, match="no surface called 'brickwrok'; did you mean brickwork"):
        make_bank(scale, tmp_path / "bank", jobs=1)
    assert list(tmp_path.iterdir()) == []


def test_the_manifest_says_what_the_room_adds_to_each_level(configs, tmp_path):
    examples = []
    for name, settings in (("dry", []), ("wet", [ROOMS])):
        scale = load_scale("tiny", settings, configs)
        make_bank(scale, tmp_path / name, jobs=1)
        stock = open_stock(tmp_path / name, "train", scale.audio, scale.data)
        examples.append([make_example(scale, stock, index) for index in range(4)])
    for before, after in zip(*examples, strict=True):
        for slot, room_db in enumerate(after.room_db):
            one, other = (np.sum(e.sources[slot].astype(float) ** 2) for e in (before, after))
            gain = after.gain_db - before.gain_db
            assert 10 * np.log10(other / one) == pytest.approx(room_db + gain, abs=0.1)
            assert before.room_db[slot] == 0


def test_a_room_smaller_than_its_margins_is_refused(configs):
    with pytest.raises(UserError, match=r"rooms: height: \[0\.8, 3\.0\] must rise, and leave"):
        load_scale("tiny", [ROOMS.replace("height: [2.4", "height: [0.8")], configs)
