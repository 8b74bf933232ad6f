import json
import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from folders import assert_same
from sounds import UNSAID, cut, encoded, unsaid

from apit.cli import main
from apit.data.fuss import Format
from apit.identity import FILE
from apit.measure.estimates import read_slots
from apit.provenance import array_generator, file_digest
from apit.training.train import train

STEREO = array_generator("stereo").standard_normal((70000, 2)).astype(np.float32) / 10


@pytest.fixture(scope="module")
def run(tiny, packed, tmp_path_factory):
    """A trained run of the scale `tiny`, reduced to what is released of one."""
    folder = tmp_path_factory.mktemp("released") / "pit-s0"
    train(tiny("pit"), packed, folder)
    for file in folder.iterdir():
        if file.name not in ("model.safetensors", "record.json"):
            file.unlink()
    return folder


def separate(*files, run, output, silent=False):
    chosen = ["--silent"] if silent else []
    return main(
        ["separate", *map(str, files), "--model", str(run), "--output", str(output), *chosen]
    )


def sources_of(folder):
    return {
        p.name: soundfile.read(os.fsencode(p), always_2d=True) for p in sorted(folder.glob("*.wav"))
    }


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_a_file_is_separated_at_its_rate_and_with_its_channels(run, tmp_path, suffix):
    heard = tmp_path / f"street.{suffix}"
    soundfile.write(heard, STEREO, 44100)
    assert separate(heard, run=run, output=tmp_path / "out", silent=True) == 0
    sources = sources_of(tmp_path / "out/street")
    assert list(sources) == [f"source{slot}.wav" for slot in range(4)]
    assert {rate for _, rate in sources.values()} == {44100}
    decoded = soundfile.read(heard)[0]
    np.testing.assert_allclose(sum(s for s, _ in sources.values()), decoded, atol=1e-6)
    told = json.loads((tmp_path / "out/street/summary.json").read_text())
    assert (told["sample_rate"], told["channels"], told["seconds"]) == (
        44100,
        2,
        len(decoded) / 44100,
    )
    assert told["model"] == {
        "scale": "tiny",
        "experiment": "pit",
        "seed": 0,
        "weights_sha256": file_digest(run / "model.safetensors"),
    }
    rms = {n: 10 * np.log10(np.square(s).mean()) for n, (s, _) in sources.items()}
    assert told["sources"] == {n: {"rms_dbfs": pytest.approx(rms[n], abs=0.01)} for n in sources}


@pytest.mark.parametrize("kind", UNSAID)
def test_what_says_no_length_is_separated_to_its_end(run, tmp_path, kind):
    heard, like = tmp_path / "piped.sound", tmp_path / "like.sound"
    for path, content in zip((heard, like), unsaid(kind, STEREO, 16000), strict=True):
        path.write_bytes(content)
    assert separate(heard, run=run, output=tmp_path / "out", silent=True) == 0
    total = sum(s for s, _ in sources_of(tmp_path / "out/piped").values())
    wanted = soundfile.read(like)[0]
    if kind.startswith("mp3"):  # whose header says, too, what to leave out at both ends
        assert 0 < len(total) - len(wanted) * (2 if kind == "mp3-twice" else 1) < 4 * 1152
    else:
        np.testing.assert_allclose(total, wanted, atol=1e-6)


@pytest.mark.parametrize("form", ["OGG", "OPUS", "MP3", "AIFF", "AU"])
def test_what_is_cut_is_not_separated(run, tmp_path, capsys, form):
    heard = tmp_path / "cut.sound"
    heard.write_bytes(cut(form, STEREO, 16000))
    assert separate(heard, run=run, output=tmp_path / "out") == 2
    assert f"{heard}: is cut" in capsys.readouterr().err


@pytest.mark.parametrize(("form", "subtype"), [("WAV", "GSM610"), ("XI", "DPCM_16")])
def test_formats_without_seeking_are_separated(run, tmp_path, form, subtype):
    heard = tmp_path / "old.sound"
    heard.write_bytes(encoded(STEREO[:, 0], 8000 if form == "WAV" else 44100, form, subtype))
    assert separate(heard, run=run, output=tmp_path / "out", silent=True) == 0
    with soundfile.SoundFile(heard) as file:
        decoded = file.read(file.frames, always_2d=True)
    total = sum(s for s, _ in sources_of(tmp_path / "out/old").values())
    np.testing.assert_allclose(total, decoded, atol=1e-6)


@pytest.mark.parametrize("name", [b"caf\xe9.wav", b"x" * 250, b"x" * 246 + b".wav", b"a#?%25.wav"])
def test_files_of_any_name_are_separated(run, tmp_path, capsys, name):
    heard = tmp_path / os.fsdecode(name)
    heard.write_bytes(encoded(STEREO, 8000, "WAV"))
    assert separate(heard, run=run, output=tmp_path / "out", silent=True) == 0
    capsys.readouterr().out.encode()
    assert len(sources_of(tmp_path / "out" / heard.stem)) == 4
    told = json.loads((tmp_path / "out" / heard.stem / "summary.json").read_text())
    assert told["input"] == str(heard)


def test_silent_slots_have_no_file_and_the_rest_still_sums(run, tmp_path, monkeypatch):
    heard = tmp_path / "street.wav"
    soundfile.write(heard, STEREO, 16000, "FLOAT")
    monkeypatch.setattr("apit.separate.model.SILENT", 0.99)  # only the strongest remains
    assert separate(heard, run=run, output=tmp_path / "out") == 0
    ((name, (sound, _)),) = sources_of(tmp_path / "out/street").items()
    np.testing.assert_allclose(sound, STEREO, atol=1e-6)
    told = json.loads((tmp_path / "out/street/summary.json").read_text())
    assert sorted([int(name[6]), *told["left_out_as_silent"]]) == [0, 1, 2, 3]


def test_the_same_bytes_twice_and_what_apit_score_reads(run, mixtures, tmp_path):
    heard = sorted((mixtures / "eval").glob("*.wav"))[:3]
    for output in ("one", "other"):
        assert separate(*heard, run=run, output=tmp_path / output) == 0
    assert_same(tmp_path / "one" / heard[0].stem, tmp_path / "other" / heard[0].stem)
    wanted = soundfile.info(heard[0])
    estimates, _ = read_slots(
        tmp_path / "one" / heard[0].stem, 4, Format(8000, 1, wanted.frames), "the mixture says"
    )
    assert estimates.shape == (4, wanted.frames)


def test_memory_stays_and_a_long_file_is_a_spool_on_the_disk(run, tmp_path, monkeypatch):
    monkeypatch.setattr("apit.separate.files.IN_MEMORY", 1000)
    heard = tmp_path / "long.wav"
    soundfile.write(heard, np.tile(STEREO, (4, 1)), 8000, "FLOAT")
    assert separate(heard, run=run, output=tmp_path / "out") == 0
    sources = sources_of(tmp_path / "out/long")
    total = sum(sound for sound, _ in sources.values())
    np.testing.assert_allclose(total, np.tile(STEREO, (4, 1)), atol=1e-6)
    assert {p.name for p in (tmp_path / "out/long").iterdir()} == {FILE, "summary.json", *sources}


def bad(tmp_path, kind):
    path = tmp_path / f"{kind}.wav"
    if kind == "text":
        path.write_text("no sound")
    elif kind == "empty":
        soundfile.write(path, STEREO[:0], 8000)
    elif kind == "cut":
        soundfile.write(path, STEREO, 8000)
        path.write_bytes(path.read_bytes()[:100_000])
    elif kind == "not-finite":
        soundfile.write(
            path, np.where(np.arange(70000) == 40000, np.nan, STEREO[:, 0]), 8000, "FLOAT"
        )
    return path


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("text", "cannot be read as sound"),
        ("empty", "holds no sample"),
        ("missing", "no such file"),
        ("cut", f"is cut: it lacks {44 + 4 * 70000 - 100_000} bytes of its sound"),
        ("not-finite", "holds values that are not finite, after 0.0 s"),
    ],
)
def test_bad_files_are_refused_and_leave_nothing(run, tmp_path, capsys, kind, said):
    path = bad(tmp_path, kind)
    assert separate(path, run=run, output=tmp_path / "out") == 2
    assert f"{path}: {said}" in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("**/*.wav"))


def test_a_bad_file_is_found_before_a_good_one_is_separated(run, tmp_path, capsys):
    good, text = tmp_path / "good.wav", bad(tmp_path, "text")
    soundfile.write(good, STEREO, 8000)
    assert separate(good, text, run=run, output=tmp_path / "out") == 2
    assert not (tmp_path / "out").exists()
    (tmp_path / "other").mkdir()
    soundfile.write(tmp_path / "other/good.flac", STEREO, 8000)
    assert separate(good, tmp_path / "other/good.flac", run=run, output=tmp_path / "out") == 2
    assert "would be written to the folder that" in capsys.readouterr().err


def test_folders_of_others_are_left_alone(run, tmp_path, capsys):
    heard = tmp_path / "street.wav"
    soundfile.write(heard, STEREO, 8000)
    (tmp_path / "out/street").mkdir(parents=True)
    (tmp_path / "out/street/notes.txt").touch()
    assert separate(heard, run=run, output=tmp_path / "out") == 2
    assert "was not made by apit" in capsys.readouterr().err
    soundfile.write(tmp_path / "out/street/street.wav", STEREO, 8000)
    inner = tmp_path / "out/street/street.wav"
    assert separate(inner, run=run, output=tmp_path / "out") == 2
    assert "holds it" in capsys.readouterr().err


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length(run, tmp_path):
    def peak(minutes):
        heard = tmp_path / f"{minutes}.wav"
        with soundfile.SoundFile(heard, "w", 8000, 2, "PCM_16") as file:
            for _ in range(minutes):
                file.write(np.resize(STEREO, (60 * 8000, 2)))
        code = (
            "import resource, sys; from apit.cli import main; main(sys.argv[1:]);"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        )
        arguments = ["separate", heard, "--model", run, "--output", tmp_path / "out"]
        arguments += ["--chunk", 10]
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return int(done.stdout.split()[-1]) / 1024  # MiB

    # Estimates of six more minutes are 184 MB.
    assert peak(10) - peak(4) < 60
