import filecmp
import shutil

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from apit.data import fuss, synthesis
from apit.data.clips import Clip, procedural_clips, split_clips
from apit.data.mixtures import at_level, loop, make_example, mix
from apit.errors import UserError
from apit.layers import load_scale
from apit.provenance import array_generator


def files(folder):
    return sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_file())


def test_families_differ_and_each_sounds():
    assert len(synthesis.FAMILIES) >= 10
    spectra = []
    for family in synthesis.FAMILIES:
        sound = synthesis.render(family, array_generator(family), 8000, 8000)
        assert sound.shape == (8000,)
        assert np.isfinite(sound).all()
        assert np.sqrt(np.mean(sound**2)) == pytest.approx(1)
        spectra.append(np.abs(np.fft.rfft(sound)) / np.linalg.norm(np.fft.rfft(sound)))
    likeness = np.array(spectra) @ np.array(spectra).T - np.eye(len(spectra))
    assert likeness.max() < 0.95


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


def test_a_mixture_is_the_sum_of_its_sources(mixtures, configs):
    scale = load_scale("tiny", configs=configs)
    entries = fuss.read_list(fuss.list_path(mixtures, "train"), scale.audio.sources)
    counts = set()
    for entry in entries:
        sources = fuss.read_sources(entry, scale.audio)
        written, _ = soundfile.read(mixtures / "train" / f"{entry.name}.wav", dtype="float32")
        assert np.abs(sources.sum(axis=0) - written).max() <= 1 / 65536
        assert np.abs(written).max() < 1
        counts.add(len(entry.sources))
    assert len(counts) > 1


def test_splits_share_no_clip(mixtures):
    manifest = pd.read_csv(mixtures / "manifest.csv")
    manifest["split"] = manifest["example"].str.split("/").str[0]
    assert (manifest.groupby("clip")["split"].nunique() == 1).all()
    listed = pd.read_csv(mixtures / "clips.csv").set_index("clip")["split"]
    assert (manifest["split"] == listed[manifest["clip"]].to_numpy()).all()


def test_the_same_seed_gives_the_same_bytes_on_any_number_of_processes(mixtures, configs, tmp_path):
    mix(load_scale("tiny", configs=configs), tmp_path / "again", jobs=2)
    assert files(tmp_path / "again") == files(mixtures)
    names = list(map(str, files(mixtures)))
    _, different, failed = filecmp.cmpfiles(mixtures, tmp_path / "again", names, shallow=False)
    assert different == failed == []


def test_another_seed_gives_other_bytes(mixtures, configs, tmp_path):
    mix(load_scale("tiny", ["data.recipe.seed=1"], configs), tmp_path / "other", jobs=1)
    name = "train/example00000.wav"
    assert (tmp_path / "other" / name).read_bytes() != (mixtures / name).read_bytes()


def test_levels_stand_at_their_snr(mixtures, configs):
    scale = load_scale("tiny", configs=configs)
    manifest = pd.read_csv(mixtures / "manifest.csv")
    low, high = scale.data.recipe.foreground_snr_db
    level = manifest["level_db"] - scale.data.recipe.background_level_db
    background = manifest["source"] == "background0"
    assert (level[background] == 0).all()
    assert level[~background].between(low, high).all()
    audio, recipe = scale.audio, scale.data.recipe
    clips = procedural_clips(scale.data.sounds, recipe, audio.sample_rate, audio.seconds)
    for index in range(5):
        example = make_example(audio, recipe, clips, "train", index)
        for samples, placement in zip(example.sources, example.placements, strict=True):
            heard = samples[placement.onset : placement.onset + placement.length] / 32768
            expected = at_level(heard, placement.level_db + placement.gain_db)
            np.testing.assert_allclose(heard, expected, atol=2e-3)
    half_silent = np.concatenate([np.sin(np.arange(8000)), np.zeros(8000)])
    levelled = at_level(half_silent, -20)
    assert np.sqrt(np.mean(levelled[:8000] ** 2)) == pytest.approx(0.1, rel=0.02)


def test_a_joint_gain_keeps_loud_mixtures_from_clipping():
    scale = load_scale("smoke", ["data.recipe.background_level_db=-3"])
    audio, recipe = scale.audio, scale.data.recipe
    clips = procedural_clips(scale.data.sounds, recipe, audio.sample_rate, audio.seconds)
    example = make_example(audio, recipe, clips, "train", 0)
    assert example.placements[0].gain_db < 0
    assert 32700 < np.abs(example.sources.astype(int)).max() <= 32767 or (
        32700 < np.abs(example.sources.sum(axis=0, dtype=int)).max() <= 32767
    )


def test_a_folder_that_was_not_made_here_is_never_replaced(configs, tmp_path):
    recordings(tmp_path / "clips")
    before = files(tmp_path / "clips")
    with pytest.raises(UserError, match="exists and was not made by apit"):
        mix(load_scale("tiny", configs=configs), tmp_path / "clips", tmp_path / "clips", jobs=1)
    assert files(tmp_path / "clips") == before


def test_loops_cross_fade_without_a_jump():
    clip = np.sin(2 * np.pi * np.arange(1000) / 100)
    looped = loop(clip, 3500, 100)
    assert len(looped) == 3500
    assert np.abs(np.diff(looped)).max() < 2.5 * np.abs(np.diff(clip)).max()


def test_every_split_gets_its_share_of_every_family():
    scale = load_scale("smoke")
    clips = procedural_clips(scale.data.sounds, scale.data.recipe, 8000, 1.0)
    dealt = split_clips(clips, scale.data.recipe)
    assert sum(map(len, dealt.values())) == len(clips) == len({c.name for c in clips})
    for split, share in scale.data.recipe.clip_shares.items():
        for family in synthesis.FAMILIES:
            count = sum(clip.family == family for clip in dealt[split])
            assert count == pytest.approx(100 * share, abs=5)


def write(folder, name, samples, rate=44100):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate)


def recordings(folder, count=6):
    noise = np.random.default_rng(0).normal(0, 0.1, (count, 44100))
    for index, samples in enumerate(noise):
        write(folder, f"{'ab'[index % 2]}_{index}.{('wav', 'flac', 'ogg')[index % 3]}", samples)


def test_any_folder_of_recordings_is_mixed_and_bad_clips_are_listed(configs, tmp_path, capsys):
    clips = tmp_path / "clips"
    recordings(clips)
    write(clips, "stereo.wav", np.random.default_rng(1).normal(0, 0.1, (48000, 2)), 48000)
    write(clips, "silent.wav", np.zeros(44100))
    write(clips, "short.wav", np.ones(100))
    write(clips, "no_samples.wav", np.ones(0))
    (clips / "no_bytes.wav").touch()
    soundfile.write(clips / "nan.wav", np.full(44100, np.nan), 44100, subtype="FLOAT")
    (clips / "a.raw").write_bytes(b"x" * 1000)
    (clips / "a.m4a").write_bytes(b"x" * 1000)
    (clips / "broken.wav").write_bytes(b"RIFF, but not quite")
    (clips / "copy_of_a.wav").write_bytes((clips / "a_0.wav").read_bytes())
    mix(load_scale("tiny", configs=configs), tmp_path / "mixtures", clips, jobs=1)
    assert "7 clips, 9 files left out (a.m4a: not in a format" in capsys.readouterr().err
    listed = pd.read_csv(tmp_path / "mixtures" / "clips.csv").set_index("clip")
    reasons = listed["left_out"].dropna()
    assert set(reasons.index) == {
        *("silent.wav", "short.wav", "no_samples.wav", "no_bytes.wav", "nan.wav", "broken.wav"),
        *("copy_of_a.wav", "a.raw", "a.m4a"),
    }
    assert reasons["nan.wav"] == "holds samples that are not finite"
    assert reasons["no_samples.wav"] == "shorter than 0.1 s"
    assert reasons["copy_of_a.wav"] == "the same file as a_0.wav"
    assert (listed["split"].value_counts() >= 1).all()
    assert listed.loc["stereo.wav", "seconds"] == pytest.approx(1.0)


def test_too_few_clips_are_refused_and_leave_nothing(configs, tmp_path):
    recordings(tmp_path / "clips", count=2)
    with pytest.raises(
        UserError, match=r"2 clips, of which 2 last 0\.5 s or more \(a_0\.wav, b_1\.flac\)"
    ):
        mix(load_scale("tiny", configs=configs), tmp_path / "mixtures", tmp_path / "clips")
    assert not (tmp_path / "mixtures").exists()
    (empty := tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty: holds no file"):
        mix(load_scale("tiny", configs=configs), tmp_path / "mixtures", empty)
    write(empty, "silent.wav", np.zeros(44100))
    with pytest.raises(UserError, match=r"none of 1 files is a usable clip \(silent.wav: silent\)"):
        mix(load_scale("tiny", configs=configs), tmp_path / "mixtures", empty)


def clips_of(**families):
    """Clips of these lengths in seconds, by family."""
    return [
        Clip(f"{family}_{i}", family, seconds, "", lambda: np.ones(1))
        for family, lengths in families.items()
        for i, seconds in enumerate(lengths)
    ]


@pytest.fixture
def by_family(configs):
    settings = ["data.recipe.split_by=family", "data.recipe.background_min_seconds=4"]
    return load_scale("tiny", settings, configs).data.recipe


def test_whole_families_are_dealt_and_every_split_gets_a_background(by_family):
    clips = clips_of(
        loop=[5] * 9,
        ambi=[6] * 5,
        guit=[9] * 3,
        vinyl=[8, 1],
        tabla=[1] * 26,
        bd=[0.5] * 13,
        sn=[1],
    )
    dealt = split_clips(clips, by_family)
    assert sorted(c.name for cs in dealt.values() for c in cs) == sorted(c.name for c in clips)
    where = {clip.family: {s for s, cs in dealt.items() if clip in cs} for clip in clips}
    assert all(
        len({s for s, cs in dealt.items() for c in cs if c.family == family}) == 1
        for family in where
    )
    for split_clips_ in dealt.values():
        assert any(c.seconds >= 4 for c in split_clips_)
    assert len(dealt["train"]) > max(len(dealt["validation"]), len(dealt["eval"]))


def test_three_families_suffice_whatever_the_shares(by_family):
    recipe = by_family.model_copy(
        update={"clip_shares": {"train": 0.98, "validation": 0.01, "eval": 0.01}}
    )
    dealt = split_clips(clips_of(a=[5] * 4, b=[5], c=[5]), recipe)
    assert all(dealt.values())


def test_too_few_families_are_refused_with_counts_and_names(by_family):
    with pytest.raises(
        UserError,
        match=r"6 clips of 3 families \(a, b, c\), of which 2 have a clip of 4\.0 s or more "
        r"\(a, b\): .*set data\.recipe\.split_by: clip",
    ):
        split_clips(clips_of(a=[5, 5], b=[5, 5], c=[1, 1]), by_family)
    with pytest.raises(UserError, match=r"of which 0 have a clip of 4\.0 s or more \(none\)"):
        split_clips(clips_of(a=[1], b=[1], c=[1]), by_family)


def test_a_looped_background_starts_anywhere_in_its_clip(configs):
    scale = load_scale("tiny", ["data.recipe.background_min_seconds=0.1"], configs)
    ramp = np.linspace(0.1, 1, 1000)
    clips = [Clip("ramp", "ramp", 0.125, "", lambda: ramp)]
    offsets = set()
    for index in range(8):
        example = make_example(scale.audio, scale.data.recipe, clips, "train", index)
        offset = example.placements[0].clip_offset
        offsets.add(offset)
        if offset < 500:
            heard = example.sources[0][:100] / example.sources[0][0]
            expected = ramp[offset : offset + 100] / ramp[offset]
            np.testing.assert_allclose(heard, expected, rtol=5e-3)
    assert len(offsets) > 4


@pytest.fixture
def copied(mixtures, tmp_path):
    """A copy of the mixtures that a test may damage."""
    return shutil.copytree(mixtures, tmp_path / "mixtures")


def test_a_list_that_names_a_missing_file_is_refused(copied):
    (copied / "train/example00003_sources/background0_sound.wav").unlink()
    with pytest.raises(UserError, match=r"train_example_list.txt:4: names .*background0_sound.wav"):
        fuss.read_list(fuss.list_path(copied, "train"), 4)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("train/example00000.wav\ttrain/example00000.wav\n", "13: .*is listed twice"),
        ("train/example00099.wav train/x.wav\n", "13: has 0 sources"),
        ("a\tb\tc\td\te\tf\n", "13: has 5 sources"),
        ("\n", "13: is an empty line"),
        ("m.wav\t../s.wav\n", r"13: names ../s.wav, which lies outside"),
        ("/m.wav\ts.wav\n", r"13: names /m.wav, which lies outside"),
        ("m.wav\ta.wav b.wav\n", "13: names a.wav b.wav, .*parted by tabs, not by spaces"),
        (
            "new\ttrain/example00000_sources/background0_sound.wav\n",
            "13: names train/example00000_sources/background0_sound.wav, as line 1 does already",
        ),
    ],
)
def test_lists_of_another_form_are_refused(copied, line, said):
    with (copied / "train_example_list.txt").open("a") as file:
        file.write(line)
    with pytest.raises(UserError, match=said):
        fuss.read_list(fuss.list_path(copied, "train"), 4)


def test_lists_may_end_their_lines_as_windows_does(copied):
    path = fuss.list_path(copied, "train")
    before = fuss.read_list(path, 4)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert fuss.read_list(path, 4) == before


def test_wavs_that_are_not_as_configured_are_refused(copied, configs):
    audio = load_scale("tiny", configs=configs).audio
    entry = fuss.read_list(fuss.list_path(copied, "train"), 4)[0]
    path = entry.sources[0]
    for samples, rate, said in (
        (np.zeros(audio.samples), 16000, "16000 Hz"),
        (np.zeros(audio.samples - 1), 8000, "3999 samples"),
        (np.zeros((audio.samples, 2)), 8000, "2 channel"),
    ):
        soundfile.write(path, samples, rate)
        with pytest.raises(UserError, match=said):
            fuss.read_sources(entry, audio)
    path.write_bytes(b"not a wav")
    with pytest.raises(UserError, match=r"background0_sound\.wav: cannot be read"):
        fuss.read_sources(entry, audio)


def test_a_crop_is_a_part_of_the_whole(mixtures, configs):
    audio = load_scale("tiny", configs=configs).audio
    entry = fuss.read_list(fuss.list_path(mixtures, "eval"), 4)[0]
    whole = fuss.read_sources(entry, audio)
    assert whole.shape == (4, audio.samples)
    np.testing.assert_array_equal(
        fuss.read_sources(entry, audio, 123, 456), whole[:, 123 : 123 + 456]
    )
    expected = np.float32(0)
    for source in whole:
        expected = expected + source
    np.testing.assert_array_equal(fuss.mixture_of(whole), expected)
    np.testing.assert_array_equal(
        fuss.mixture_of(torch.from_numpy(whole)[None])[0].numpy(), expected
    )
