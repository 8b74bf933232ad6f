import os

import numpy as np
import pandas as pd
import pytest
import soundfile
from sounds import UNSAID, cut, encoded, unsaid

from apit.data import fuss, synthesis
from apit.data.bank import Stock, make_bank, open_stock
from apit.data.clips import Clip, procedural, read_clip, trimmed
from apit.data.credits import credits_of
from apit.data.mixtures import mix
from apit.data.packing import pack
from apit.data.splits import split_clips
from apit.errors import UserError
from apit.identity import Identity
from apit.layers import load_scale
from apit.provenance import array_generator


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


def write(folder, name, samples, rate=44100, **options):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, **options)
    return path


def noise(count=44100, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, count)


def recordings(folder, count=6):
    for index in range(count):
        suffix = ("wav", "flac", "ogg", "mp3")[index % 4]
        write(folder, f"{'ab'[index % 2]}_{index}.{suffix}", noise(seed=index))
    return folder


@pytest.fixture
def scale(configs):
    return load_scale("tiny", configs=configs)


def listed(bank):
    return pd.read_csv(
        bank / "clips.csv", keep_default_na=False, encoding_errors="surrogateescape"
    ).set_index("name")


def test_any_folder_of_recordings_is_taken_and_bad_clips_are_listed(scale, tmp_path, capsys):
    clips = recordings(tmp_path / "clips")
    write(clips, "stereo.wav", np.stack([noise(48000, 7), noise(48000, 8)], 1), 48000)
    write(clips, "silent.wav", np.zeros(44100))
    write(clips, "short.wav", np.ones(100) / 2)
    write(clips, "no_samples.wav", np.ones(0))
    (clips / "no_bytes.wav").touch()
    soundfile.write(clips / "nan.wav", np.full(44100, np.nan), 44100, subtype="FLOAT")
    write(clips, "clipped.wav", np.clip(30 * noise(seed=9), -1, 1))
    whole = write(clips, "cut.wav", noise(seed=10)).read_bytes()
    (clips / "cut.wav").write_bytes(whole[:40])
    half = write(clips, "half.wav", noise(seed=11)).read_bytes()
    (clips / "half.wav").write_bytes(half[: len(half) // 2])
    write(clips, "constant.wav", np.full(44100, 0.5))
    (clips / ".hidden").mkdir()
    write(clips, ".hidden/away.wav", noise(seed=12))
    (clips / "line\nbreak.wav").write_bytes(whole)
    (clips / os.fsdecode(b"\xff.wav")).write_bytes(whole)
    (clips / "a.raw").write_bytes(b"x" * 1000)
    (clips / "a.m4a").write_bytes(b"x" * 1000)
    (clips / "broken.wav").write_bytes(b"RIFF, but not quite")
    (clips / "copy_of_a.wav").write_bytes((clips / "a_0.wav").read_bytes())
    samples, rate = soundfile.read(clips / "a_0.wav", dtype="int16")
    write(clips, "same/as_a.flac", np.pad(samples, (4410, 0)), rate)
    make_bank(scale, tmp_path / "bank", clips, jobs=1)
    told = capsys.readouterr().err
    assert "8 clips, 15 files left out (a.m4a: cannot be read as sound (Format" in told
    table = listed(tmp_path / "bank")
    reasons = table["left_out"][table["left_out"] != ""]
    assert set(reasons.index) == {
        *("silent.wav", "short.wav", "no_samples.wav", "no_bytes.wav", "nan.wav", "broken.wav"),
        *("copy_of_a.wav", "a.raw", "a.m4a", "cut.wav", "clipped.wav", "same/as_a.flac"),
        *("half.wav", "constant.wav", r"'line\nbreak.wav'"),
    }
    assert reasons["half.wav"].startswith("is cut: it lacks ")
    assert reasons["constant.wav"] == "silent"
    assert reasons["nan.wav"] == "holds samples that are not finite"
    assert reasons["no_samples.wav"] == "shorter than 0.1 s"
    assert reasons["copy_of_a.wav"] == "the same file as a_0.wav"
    assert reasons["clipped.wav"].startswith("clipped: 4")
    usable = table[table["left_out"] == ""]
    assert set(usable["split"]) == {"train", "validation", "eval"}
    assert usable.loc["stereo.wav", "seconds"] == pytest.approx(1.0, abs=1e-3)
    assert tuple(usable.loc["stereo.wav", ["rate", "channels"]]) == (48000, 2)


@pytest.mark.parametrize("kind", UNSAID)
def test_clips_of_unsaid_length_are_whole_and_those_that_are_cut_left_out(scale, tmp_path, kind):
    clips = recordings(tmp_path / "clips", 5)
    content, _ = unsaid(kind, noise(48000, 20), 16000)
    (clips / f"piped.{kind.partition('-')[0]}").write_bytes(content)
    (clips / "cut.ogg").write_bytes(cut("OGG", noise(48000, 21), 16000))
    make_bank(scale, tmp_path / "bank", clips, jobs=1)
    table = listed(tmp_path / "bank")
    assert table.loc["cut.ogg", "left_out"].startswith("is cut")
    (piped,) = (name for name in table.index if name.startswith("piped"))
    length = 2 if kind == "mp3-twice" else 1
    assert table.loc[piped, "samples"] == pytest.approx(24000 * length, rel=0.05)


def test_sounds_are_known_by_what_they_hold_not_by_their_names(scale, tmp_path):
    clips = tmp_path / "clips"
    forms = {
        "sph": "NIST",
        "aifc": "AIFF",
        "snd": "AU",
        "wave": "WAV",
        "bwf": "WAVEX",
        "mp2": "MP3",
    }
    names = {f"a_{n}.{suffix}": form for n, (suffix, form) in enumerate(forms.items())}
    names |= {"plain": "OGG", "b.txt": "FLAC", "c.WAV": "WAV"}
    clips.mkdir()
    for number, (name, form) in enumerate(names.items()):
        (clips / name).write_bytes(encoded(noise(seed=number), 44100, form))
    (clips / "notes.wav").write_text("no sound")
    make_bank(scale, tmp_path / "bank", clips, jobs=1)
    left_out = listed(tmp_path / "bank")["left_out"]
    assert set(left_out.index[left_out == ""]) == {*names}
    assert left_out["notes.wav"] == "cannot be read as sound (Format not recognised)"


def test_links_are_followed_and_those_that_lead_nowhere_are_listed(scale, tmp_path):
    elsewhere = recordings(tmp_path / "elsewhere" / "far")
    clips = tmp_path / "clips"
    write(clips, "own.wav", noise(seed=20))
    (clips / "linked").symlink_to(elsewhere.parent)
    (elsewhere / "round").symlink_to(clips)
    (elsewhere / "itself").symlink_to(elsewhere)
    (clips / "gone.wav").symlink_to(tmp_path / "nothing.wav")
    (clips / "loop.wav").symlink_to(clips / "loop.wav")
    os.mkfifo(clips / "pipe.wav")
    make_bank(scale, tmp_path / "bank", clips, jobs=1)
    left_out = listed(tmp_path / "bank")["left_out"]
    usable = {"own.wav", *(f"linked/far/{path.name}" for path in elsewhere.glob("?_*"))}
    assert set(left_out.index[left_out == ""]) == usable
    assert len(usable) == 7
    assert left_out.drop([*usable]).to_dict() == {
        "gone.wav": "leads nowhere", "loop.wav": "leads nowhere", "pipe.wav": "no file",
    }  # fmt: skip


def test_names_that_are_no_text_are_those_of_clips_in_all_that_is_made_of_them(scale, tmp_path):
    clips = tmp_path / os.fsdecode(b"kl\xe4nge")
    names = [b"caf\xe9_%d.wav" % number for number in range(5)]
    names += [b"caf\xe9/" + b"x" * 246 + b".wav", "ne\u0301.wav".encode()]
    for number, name in enumerate(names):
        path = clips / os.fsdecode(name)
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(encoded(noise(seed=number), 44100, "WAV"))
    licences = "clips,licence\nn\xe9.wav,CC0\n".encode() + b"caf\xe9_*,mine\n"
    (clips / "licences.csv").write_bytes(licences)
    make_bank(scale, tmp_path / "bank", clips, jobs=1)
    table = listed(tmp_path / "bank")
    assert {*map(os.fsencode, table.index)} == {*names}
    assert (table["left_out"] == "").all()
    assert table.loc["ne\u0301.wav", "licence"] == "CC0"
    assert table.loc[os.fsdecode(names[0]), "licence"] == "mine"
    mix(scale, tmp_path / "bank", tmp_path / "mixtures", jobs=1)
    pack(tmp_path / "mixtures", tmp_path / "packed")
    for folder in (tmp_path / "mixtures", tmp_path / "packed"):
        credited = credits_of(folder, "train")
        clips_of_train = table.index[table["split"] == "train"]
        heard = {credit.clip for credits in credited.values() for credit in credits}
        assert heard <= {*clips_of_train}
        assert any("\udce9" in name for name in heard)
        assert fuss.sounds(folder) == "7 recordings of the folder kl\udce4nge"


def test_a_recording_that_is_padded_with_silence_is_known_again(scale, tmp_path):
    clips = recordings(tmp_path / "clips", 5)
    loud = np.round(2**15 * noise(8000, 20)).astype(np.int16)
    loud[[0, -1]] = 2**14
    write(clips, "one.wav", loud, 8000)
    write(clips, "one_padded.flac", np.pad(loud, (800, 80)), 8000)
    make_bank(scale, tmp_path / "bank", clips, jobs=1)
    table = listed(tmp_path / "bank")
    assert table.loc["one_padded.flac", "left_out"] == "sounds the same as one.wav"
    assert table.loc["one.wav", "samples"] == 8000


@pytest.mark.parametrize(
    ("subtype", "top"),
    [("PCM_U8", 127 / 128), ("PCM_16", 1), ("PCM_24", 1), ("ULAW", 0.98035), ("ALAW", 0.984375),
     ("FLOAT", 1), ("DOUBLE", 1)],
)  # fmt: skip
def test_clipping_is_runs_of_equal_samples_at_the_limit_of_the_format(
    scale, tmp_path, subtype, top
):
    def read(samples, name="a.wav"):
        recipe = scale.data.recipe.model_copy(update={"clipped_at_most": 0.3})
        return read_clip(write(tmp_path, name, samples, 16000, subtype=subtype), recipe, 8000)

    time = np.arange(16000) / 16000
    square = np.repeat([1.0, -1.0] * 16, 500)
    with pytest.raises(UserError, match=r"clipped: \d"):
        read(square)
    read(0.7 * square)  # a square wave, and no limit
    read(top * np.sin(2 * np.pi * 40 * time))  # reaches it
    peaks = np.zeros(16000)
    peaks[::2] = np.resize([1, -1], 8000)
    read(peaks)  # half of its samples are there, and none stays
    if subtype in ("FLOAT", "DOUBLE"):
        read(30 * noise(16000))
        read(3 * square)


def test_silence_is_trimmed_relative_to_the_peak():
    samples = np.array([0, 1e-4, 0, 0.5, 0, -1.0, 2e-3, 5e-4, 0])
    np.testing.assert_array_equal(trimmed(samples, -60), samples[3:7])
    assert len(trimmed(np.zeros(5), -60)) == 0


def test_licences_come_from_their_table_by_pattern(scale, tmp_path):
    clips = tmp_path / "clips"
    recordings(clips / "birds", 4)
    write(clips, "own.wav", noise(seed=30))
    (clips / "licences.csv").write_text(
        "clips,licence,origin\n*,mine,\nbirds/*,CC0-1.0,birds_1.0 (sha256 0)\n"
    )
    make_bank(scale, tmp_path / "bank", clips, jobs=1)
    table = listed(tmp_path / "bank")
    assert table.loc["own.wav", "licence"] == "mine"
    assert set(table["licence"][table["folder"] == "birds"]) == {"CC0-1.0"}
    assert (tmp_path / "bank" / "sounds.txt").read_text() == "recordings of birds_1.0 (sha256 0)\n"
    (clips / "licences.csv").write_text("file;licence\n")
    with pytest.raises(UserError, match="must have the columns clips, licence"):
        make_bank(scale, tmp_path / "bank", clips)


def test_too_few_clips_are_refused_and_leave_nothing(scale, tmp_path):
    recordings(tmp_path / "clips", count=2)
    output = tmp_path / "bank"
    with pytest.raises(
        UserError, match=r"2 clips, of which 2 last 0\.5 s or more \(a_0\.wav, b_1\.flac\)"
    ):
        make_bank(scale, output, tmp_path / "clips")
    assert not output.exists()
    (empty := tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty: holds no file"):
        make_bank(scale, output, empty)
    write(empty, "silent.wav", np.zeros(44100))
    with pytest.raises(UserError, match=r"none of 1 files is a usable clip \(silent.wav: silent\)"):
        make_bank(scale, output, empty)
    with pytest.raises(UserError, match="no such folder of clips"):
        make_bank(scale, output, tmp_path / "nowhere")


def test_a_folder_that_was_not_made_here_is_never_replaced(scale, tmp_path):
    clips, own = recordings(tmp_path / "clips"), recordings(tmp_path / "own")
    before = sorted(own.iterdir())
    with pytest.raises(UserError, match="exists and was not made by apit"):
        make_bank(scale, own, clips, jobs=1)
    assert sorted(own.iterdir()) == before


def test_every_split_gets_its_share_of_every_family():
    scale = load_scale("smoke")
    recipe = scale.data.recipe
    source = procedural(scale.data.sounds, recipe, 8000, 0.1)
    clips = [source.read(name).clip for name in source.names]
    clips = [Clip(c.name, c.family, "", 8000, 1.0) for c in clips]
    dealt = split_clips(clips, recipe)
    assert sum(map(len, dealt.values())) == len(clips) == len({c.name for c in clips})
    for split, share in recipe.clip_shares.items():
        for family in synthesis.FAMILIES:
            count = sum(clip.family == family for clip in dealt[split])
            assert count == pytest.approx(100 * share, abs=5)


def clips_of(folder="", **families):
    """Clips of these lengths in seconds, by family."""
    return [
        Clip(f"{folder}{family}_{i}", family, folder, round(seconds * 8000), seconds)
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
    for hand in dealt.values():
        assert any(c.seconds >= 4 for c in hand)
    assert len(dealt["train"]) > max(len(dealt["validation"]), len(dealt["eval"]))


def test_three_families_suffice_whatever_the_shares(by_family):
    recipe = by_family.model_copy(
        update={"clip_shares": {"train": 0.98, "validation": 0.01, "eval": 0.01}}
    )
    dealt = split_clips(clips_of(a=[5] * 4, b=[5], c=[5]), recipe)
    assert all(dealt.values())


def test_families_that_are_fewer_than_sources_are_told(by_family, capsys):
    split_clips(clips_of(a=[5] * 4, b=[5], c=[5], d=[5], e=[5], f=[5]), by_family)
    said = capsys.readouterr().err
    assert "split eval: has 2 families for up to 4 sources, so that some of its mixtures" in said


def test_too_few_families_are_refused_with_counts_and_names(by_family):
    with pytest.raises(
        UserError,
        match=r"6 clips of 3 families \(a, b, c; .*\), of which 2 have a clip of 4\.0 s or more "
        r"\(a, b\): .*set data\.recipe\.split_by: clip",
    ):
        split_clips(clips_of(a=[5, 5], b=[5, 5], c=[1, 1]), by_family)
    with pytest.raises(UserError, match=r"of which 0 have a clip of 4\.0 s or more \(none\)"):
        split_clips(clips_of(a=[1], b=[1], c=[1]), by_family)


def test_folders_that_are_held_out_are_out_of_domain(by_family):
    recipe = by_family.model_copy(update={"held_out": ("far",)})
    near = clips_of("near", a=[5] * 4, b=[5], c=[5])
    far = clips_of("far", a=[5], d=[1])
    dealt = split_clips([*near, *far], recipe)
    assert dealt["out_of_domain"] == far
    assert {c.name for s, cs in dealt.items() if s != "out_of_domain" for c in cs} == {
        c.name for c in near
    }
    with pytest.raises(UserError, match=r"no clip is in a folder far \(there are near\); --set"):
        split_clips(near, recipe)


def test_folders_of_a_splits_name_are_that_split(by_family):
    recipe = by_family.model_copy(
        update={
            "split_by": "folder",
            "background_min_seconds": 10.0,
            "foreground_max_seconds": 10.0,
        }
    )
    clips = [clip for s in ("train", "validation", "eval") for clip in clips_of(s, x=[12, 3])]
    dealt = split_clips(clips, recipe)
    assert {s: {c.folder for c in cs} for s, cs in dealt.items()} == {s: {s} for s in dealt}
    with pytest.raises(UserError, match="split eval: none of its 0 clips lasts"):
        split_clips([c for c in clips if c.folder != "eval"], recipe)
    with pytest.raises(UserError, match="split eval: all of its 1 clips last longer than a fore"):
        split_clips([c for c in clips if c.name != "evalx_1"], recipe)


def test_a_bank_is_not_taken_for_another_ones(scale, bank, configs, tmp_path):
    stock = open_stock(bank, "train", scale.audio, scale.data)
    assert isinstance(stock, Stock)
    assert len(stock.clips) == len(stock.sounds) > 20
    assert all(len(s) == c.samples for c, s in zip(stock.clips, stock.sounds, strict=True))
    other = load_scale("tiny", ["data.recipe.seed=1"], configs)
    said = r"bank: was made for another configuration \(data\.recipe\.seed is 1 and was 0\)"
    with pytest.raises(UserError, match=said):
        open_stock(bank, "train", other.audio, other.data)
    with pytest.raises(UserError, match=said):
        mix(other, bank, tmp_path / "mixtures", jobs=1)
    assert not list(tmp_path.iterdir())
    longer = load_scale("tiny", ["data.recipe.fade_seconds=0.02"], configs)  # of mixing alone
    assert open_stock(bank, "train", longer.audio, longer.data).clips == stock.clips
    with pytest.raises(UserError, match="is no bank; `apit bank` makes one"):
        open_stock(tmp_path, "train", scale.audio, scale.data)


def test_a_recording_that_lasts_for_ever_is_left_out(scale, tmp_path):
    clips = recordings(tmp_path / "clips")
    content = bytearray((clips / "b_1.flac").read_bytes())
    content[21] |= 0x0F  # the upper bits of the number of samples in STREAMINFO
    (clips / "endless.flac").write_bytes(content)
    make_bank(scale, tmp_path / "bank", clips, jobs=1)
    assert listed(tmp_path / "bank").loc["endless.flac", "left_out"] == "longer than 1 h"


def test_another_bank_of_the_same_names_is_another(scale, tmp_path):
    recordings(tmp_path / "clips")
    identities = []
    for gain in (1.0, 0.5):
        samples, rate = soundfile.read(tmp_path / "clips" / "a_0.wav")
        write(tmp_path / "clips", "a_0.wav", gain * samples, rate)
        make_bank(scale, tmp_path / "bank", tmp_path / "clips", jobs=1)
        identities.append(Identity.read(tmp_path / "bank"))
    assert identities[0].id != identities[1].id
    kept = (tmp_path / "bank" / "clips.f32").stat().st_mtime_ns
    make_bank(scale, tmp_path / "bank", tmp_path / "clips", jobs=1)  # it is there already
    assert (tmp_path / "bank" / "clips.f32").stat().st_mtime_ns == kept
