import signal
from dataclasses import replace

import numpy as np
import pandas as pd
import pyloudnorm
import pytest
import soundfile
from folders import assert_same, files
from forks import forked, killed_at

from apit.cli import main
from apit.data import mixtures as mixing
from apit.data.bank import make_bank, open_stock
from apit.data.clips import Clip
from apit.data.examples import open_examples
from apit.data.mixtures import make_example, mix, write_example
from apit.data.recipe import at_level, draft, dry, faded, loop, loudness
from apit.data.rooms import recorded_responses
from apit.errors import UserError
from apit.layers import load_scale
from apit.provenance import array_generator


@pytest.fixture(scope="module")
def scale(configs):
    return load_scale("tiny", configs=configs)


@pytest.fixture
def stock(scale, bank):
    return open_stock(bank, "train", scale.audio, scale.data)


def test_the_layout_is_that_of_fuss(mixtures, configs):
    audio = load_scale("tiny", configs=configs).audio
    lines = (mixtures / "train_example_list.txt").read_text().splitlines()
    assert len(lines) == 12
    mixture, background, *foregrounds = lines[0].split("\t")
    assert mixture == "train/example00000.wav"
    assert background == "train/example00000_sources/background0_sound.wav"
    assert foregrounds == [
        f"train/example00000_sources/foreground{i}_sound.wav" for i in range(len(foregrounds))
    ]
    info = soundfile.info(mixtures / mixture)
    assert (info.samplerate, info.channels, info.frames) == (8000, 1, audio.samples)
    assert info.subtype == "PCM_16"
    labels = (mixtures / "train/example00000.txt").read_text().splitlines()
    assert len(labels) == 1 + len(foregrounds)
    assert {len(line.split("\t")) for line in labels} == {3}


def test_a_mixture_is_the_sum_of_its_sources(mixtures, scale):
    examples = open_examples(mixtures, "train", scale.audio)
    for number, name in enumerate(examples.names):
        written, _ = soundfile.read(mixtures / "train" / f"{name}.wav", dtype="float32")
        np.testing.assert_array_equal(examples.read(number).sum(axis=0), written)
        assert np.abs(written).max() < 1
    assert len(set(examples.counts)) > 1


def test_splits_share_no_clip(mixtures):
    manifest = pd.read_csv(mixtures / "manifest.csv")
    manifest["split"] = manifest["example"].str.split("/").str[0]
    assert (manifest.groupby("clip")["split"].nunique() == 1).all()
    listed = pd.read_csv(mixtures / "clips.csv").set_index("name")["split"]
    assert (manifest["split"] == listed[manifest["clip"]].to_numpy()).all()


def test_the_same_seed_gives_the_same_bytes_on_any_number_of_processes(
    scale, bank, mixtures, tmp_path
):
    make_bank(scale, tmp_path / "bank", jobs=2)
    assert_same(bank, tmp_path / "bank")
    mix(scale, tmp_path / "bank", tmp_path / "again", jobs=2)
    assert_same(mixtures, tmp_path / "again")


def test_any_example_can_be_made_alone(scale, stock, mixtures, tmp_path):
    (tmp_path / "train").mkdir()
    for index in (7, 3):
        write_example(scale, stock, tmp_path, index)
    made = files(tmp_path)
    assert "train/example00007.wav" in made
    for name in made:
        assert (tmp_path / name).read_bytes() == (mixtures / name).read_bytes()


def test_another_seed_gives_other_bytes(configs, mixtures, tmp_path):
    other = load_scale("tiny", ["data.recipe.seed=1"], configs)
    make_bank(other, tmp_path / "bank", jobs=1)
    mix(other, tmp_path / "bank", tmp_path / "other", jobs=1)
    name = "train/example00000.wav"
    assert (tmp_path / "other" / name).read_bytes() != (mixtures / name).read_bytes()


def test_mixing_that_was_killed_leaves_nothing_that_counts(configs, bank, mixtures, tmp_path):
    arguments = ["mix", "--scale", "tiny", "--configs", str(configs), "--bank", str(bank)]
    arguments += ["--output", str(tmp_path / "killed"), "--jobs", "1"]

    def killed():
        mixing.make_example = killed_at(9, mixing.make_example)
        return main(arguments)

    assert forked(killed) == -signal.SIGKILL
    assert not (tmp_path / "killed").exists()
    assert main(arguments) == 0
    assert_same(mixtures, tmp_path / "killed")
    assert [path.name for path in tmp_path.iterdir()] == ["killed"]


def test_levels_stand_at_their_snr(scale, configs, stock, mixtures):
    manifest = pd.read_csv(mixtures / "manifest.csv")
    low, high = scale.data.recipe.foreground_snr_db
    level = manifest["level"] - scale.data.recipe.background_level
    background = manifest["source"] == "background0"
    assert (level[background] == 0).all()
    assert level[~background].between(low, high).all()
    plain = load_scale("tiny", ["data.recipe.fade_seconds=0"], configs)
    for index in range(5):
        example = make_example(plain, stock, index)
        for samples, placed in zip(example.sources, example.draft.placements, strict=True):
            heard = samples[placed.onset : placed.onset + placed.length] / 32768
            expected = at_level(heard, placed.level + example.gain_db, "rms", 8000)
            np.testing.assert_allclose(heard, expected, atol=3e-3)
    half_silent = np.concatenate([np.sin(np.arange(8000)), np.zeros(8000)])
    levelled = at_level(half_silent, -20, "rms", 8000)
    assert np.sqrt(np.mean(levelled[:8000] ** 2)) == pytest.approx(0.1, rel=0.02)
    assert not at_level(np.zeros(100), -20, "rms", 8000).any()


def test_loudness_is_that_of_the_standard_and_defined_for_short_and_quiet_sounds():
    rate = 48000
    tone = np.sin(2 * np.pi * 997 * np.arange(3 * rate) / rate)
    # ITU-R BS.1770-4: a 997 Hz sine at full scale in one channel has −3.01 LKFS; EBU Tech 3341
    # allows meters 0.1.
    assert loudness(tone, rate) == pytest.approx(-3.01, abs=0.1)
    assert loudness(tone[: rate // 10], rate) == pytest.approx(-3.01, abs=0.1)
    assert loudness(1e-5 * tone, rate) == pytest.approx(loudness(tone, rate) - 100)  # gated, else
    noise = np.random.default_rng(0).normal(0, 0.1, rate)
    levelled = at_level(noise, -31.0, "lufs", rate)
    assert pyloudnorm.Meter(rate).integrated_loudness(levelled) == pytest.approx(-31.0, abs=1e-6)
    assert loudness(np.zeros(100), rate) == -np.inf
    assert not at_level(np.zeros(100), -31.0, "lufs", rate).any()


def test_a_joint_gain_keeps_loud_mixtures_from_clipping(configs, bank):
    loud = load_scale("tiny", ["data.recipe.background_level=-3"], configs)
    stock = open_stock(bank, "train", loud.audio, loud.data)
    example = make_example(loud, stock, 0)
    assert example.gain_db < 0
    peaks = np.abs(example.sources.astype(int)).max(), np.abs(example.sources.sum(0, int)).max()
    assert 32700 < max(peaks) <= 32767


def test_loops_cross_fade_without_a_jump():
    clip = np.sin(2 * np.pi * np.arange(1000) / 100)
    looped = loop(clip, 3500, 100)
    assert len(looped) == 3500
    assert np.abs(np.diff(looped)).max() < 2.5 * np.abs(np.diff(clip)).max()


def test_foregrounds_fade_in_and_out():
    sound = faded(np.ones(100), 10)
    np.testing.assert_allclose(sound[:10], np.sin(np.linspace(0, np.pi / 2, 10, endpoint=False)))
    np.testing.assert_array_equal(sound[:10], sound[::-1][:10])
    assert (sound[10:90] == 1).all()
    assert len(faded(np.ones(5), 10)) == 5


class Shelf:
    """A stock of given sounds."""

    def __init__(self, *lengths):
        self.split, self.rooms, self.responses = "train", [], []
        self.sounds = [np.linspace(0.1, 1, length, dtype=np.float32) for length in lengths]
        self.clips = [
            Clip(f"clip{number}", "ramp", "", length, length / 8000)
            for number, length in enumerate(lengths)
        ]
        self.backgrounds = self.foregrounds = list(range(len(lengths)))


def drafts(scale, shelf, count=40, **changes):
    recipe = scale.data.recipe.model_copy(update=changes)
    for index in range(count):
        generator = array_generator("test", index)
        yield from draft(scale.audio, recipe, shelf, generator, index).placements


def test_a_looped_background_starts_anywhere_in_its_clip(scale):
    shelf = Shelf(1000)
    ramp = shelf.sounds[0].astype(float)
    offsets = set()
    for placed in drafts(scale, shelf):
        if placed.source != "background0":
            continue
        offset = placed.clip_offset
        offsets.add(offset // 100)
        assert placed.length == scale.audio.samples
        if offset < 500:
            heard = dry(scale.audio, scale.data.recipe, placed, shelf.sounds[0])
            expected = ramp[offset : offset + 100] / ramp[offset]
            np.testing.assert_allclose(heard[:100] / heard[0], expected, rtol=1e-5)
    assert len(offsets) == 10


def test_foregrounds_that_hang_over_are_cut_or_moved(scale):
    cut, moved = (
        [p for p in drafts(scale, Shelf(3000), overhang=how) if p.source == "foreground0"]
        for how in ("cut", "moved")
    )
    samples = scale.audio.samples
    assert {p.length for p in moved} == {3000}
    assert max(p.onset for p in moved) == samples - 3000
    assert max(p.onset for p in cut) > samples - 1000
    for one, other in zip(cut, moved, strict=True):
        assert one.length == min(3000, samples - one.onset)
        assert other.onset == min(one.onset, samples - 3000)
        # What is cut is a random excerpt: it starts anywhere in the clip.
        assert 0 <= one.clip_offset <= 3000 - one.length
    assert len({p.clip_offset for p in cut}) > 5


def test_no_clip_sounds_twice_while_there_are_others(scale):
    for count, expected in ((6, 1), (2, 2)):
        shelf = Shelf(*[800] * count)
        for index in range(20):
            drawn = draft(scale.audio, scale.data.recipe, shelf, array_generator(index), index)
            names = [p.clip for p in drawn.placements]
            assert max(names.count(name) for name in names) <= max(expected, len(names) - count + 1)


def test_no_family_that_is_kept_apart_sounds_twice_while_there_are_others(scale):
    shelf = Shelf(*[800] * 9)
    for families in (3, 2):
        shelf.clips = [replace(c, family=f"f{n % families}") for n, c in enumerate(shelf.clips)]
        drawn = drafts(scale, shelf, split_by="family", foregrounds=(2, 2))
        for own in batched([p.family for p in drawn], 3):
            assert len({*own}) == families
        drawn = drafts(scale, shelf, split_by="clip", foregrounds=(2, 2))
        assert any(len({*own}) < families for own in batched([p.family for p in drawn], 3))


def batched(values, count):
    return [values[start : start + count] for start in range(0, len(values), count)]


def test_the_recipe_of_fuss_is_resolved_as_published(configs):
    scale = load_scale("fuss-recipe", configs=configs)
    recipe = scale.data.recipe
    assert (recipe.level, recipe.background_level) == ("lufs", -55)
    assert recipe.foreground_snr_db == (-5, 25)
    assert recipe.foregrounds == (0, 3)
    assert (recipe.background_min_seconds, recipe.foreground_max_seconds) == (10, 10)
    paper = load_scale("paper", configs=configs)
    assert (scale.training, scale.separator) == (paper.training, paper.separator)
    assert paper.data.recipe is None
    dry_fuss = load_scale("dry", configs=configs)
    assert dry_fuss.data.sounds.name == "dry FUSS"
    assert dry_fuss.model_copy(update={"data": paper.data}) == paper


def test_fuss_own_clips_and_rooms_are_mixed_by_the_recipe(configs, tmp_path):
    generator = np.random.default_rng(0)
    for split in ("train", "validation", "eval"):
        for name, seconds in (("long0", 1.0), ("short0", 0.3), ("short1", 0.4)):
            path = tmp_path / "fsd_data" / split / "sound" / f"{split}{name}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, generator.normal(0, 0.1, round(8000 * seconds)), 8000)
        for room in ("rirs_0001", "rirs_0002"):
            for number, source in enumerate(
                ("background0", "foreground0", "foreground1", "foreground2")
            ):
                path = tmp_path / "rir_data" / split / room / f"{source}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                response = np.zeros(200)
                response[10 * (number + 1)] = 0.05
                soundfile.write(path, response, 8000, subtype="FLOAT")
    scale = load_scale(
        "fuss-recipe",
        [
            *("audio={sample_rate: 8000, seconds: 0.5}", "training.crop_seconds=0.5"),
            *("data.recipe.background_min_seconds=0.5", "data.recipe.foreground_max_seconds=0.5"),
            "data.recipe.examples={train: 6, validation: 2, eval: 2}",
            f"data.recipe.rooms.folder={tmp_path / 'rir_data'}",
        ],
        configs,
    )
    bank, mixtures = tmp_path / "bank", tmp_path / "mixtures"
    make_bank(scale, bank, tmp_path / "fsd_data", jobs=1)
    mix(scale, bank, mixtures, jobs=1)
    manifest = pd.read_csv(mixtures / "manifest.csv")
    background = manifest["source"] == "background0"
    assert manifest["clip"][background].str.contains("long").all()
    assert manifest["clip"][~background].str.contains("short").all()
    assert (manifest["onset"] + manifest["length"] <= 4000).all()
    assert (
        manifest["example"].str.split("/").str[0] == manifest["clip"].str.split("/").str[0]
    ).all()
    # Each response is 10 · 0.05 after 10 samples for each source: half as loud, and later.
    assert manifest["room_db"].between(-6.5, -6.0).all()
    rooms = pd.read_csv(mixtures / "rooms.csv")["room"]
    assert sorted(rooms[:2]) == sorted(rooms[2:4]) == ["rirs_0001", "rirs_0002"]  # in turns
    stock = open_stock(bank, "train", scale.audio, scale.data)
    for slot, response in enumerate(stock.responses[0]):
        assert np.flatnonzero(response).tolist() == [10 * (slot + 1)]
        assert response.max() == pytest.approx(0.5)


def test_rooms_are_of_any_format(tmp_path):
    for name in ("foreground1.WAV", "background0.flac", "foreground0.aiff"):
        form = {"WAV": "WAV"}.get(name[-3:])
        soundfile.write(tmp_path / name, np.full(10, len(name) / 32), 8000, format=form)
    heard = [response[0] for response in recorded_responses(tmp_path, 8000, 3, 0.0)]
    assert heard == [16 / 32, 16 / 32, 15 / 32]


@pytest.mark.parametrize("damage", ["missing", "rate", "text", "split"])
def test_rooms_that_cannot_be_read_are_refused(configs, tmp_path, damage):
    rooms = tmp_path / "rooms"
    for split in ("train", "validation", "eval"):
        for source in ("background0", "foreground0", "foreground1", "foreground2"):
            path = rooms / split / "one" / f"{source}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, np.ones(10) / 2, 8000)
    path = rooms / "train" / "one" / "foreground1.wav"
    said = {"missing": r"one: holds 3 responses, and 4 are", "rate": "foreground1.wav: 16000 Hz"}
    said |= {"text": "foreground1.wav: cannot be read", "split": "has no folder eval with rooms"}
    if damage == "missing":
        path.unlink()
    elif damage == "rate":
        soundfile.write(path, np.ones(10) / 2, 16000)
    elif damage == "text":
        path.write_text("no sound")
    else:
        (rooms / "eval").rename(rooms / "evaluation")
    recorded = f"{{kind: recorded, gain_db: 0.0, folder: {rooms}}}"
    scale = load_scale("tiny", [f"data.recipe.rooms={recorded}"], configs)
    with pytest.raises(UserError, match=said[damage]):
        make_bank(scale, tmp_path / "bank", jobs=1)
    assert not (tmp_path / "bank").exists()
