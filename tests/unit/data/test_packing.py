import shutil
import signal
import struct

import numpy as np
import pytest
import soundfile
from archives import archive_of
from folders import assert_same, files
from forks import forked, killed_at

from apit.cli import main
from apit.data import packing, shards
from apit.data.examples import Packed, open_examples
from apit.data.fuss import Format
from apit.data.packing import pack
from apit.data.shards import Wav
from apit.data.unpacking import unpack
from apit.errors import UserError
from apit.files import MADE, resumable_folder


@pytest.mark.parametrize("form", ["folder", "tar.gz", "tar"])
def test_packing_is_undone_bit_for_bit(mixtures, tmp_path, small, audio, form):
    source = mixtures
    if form != "folder":
        source = archive_of(mixtures, tmp_path / f"FUSS.{form}")
    pack(source, tmp_path / "packed")
    assert len(list((tmp_path / "packed" / "shards").glob("*.i16"))) > 5
    unpack(tmp_path / "packed", tmp_path / "unpacked")
    if form == "folder":
        assert_same(mixtures, tmp_path / "unpacked")
    else:  # the archive has the lists and splits alone
        names = files(tmp_path / "unpacked")
        assert names == [n for n in files(mixtures) if "/" in n or n.endswith("_list.txt")]
        for name in names:
            assert (tmp_path / "unpacked" / name).read_bytes() == (mixtures / name).read_bytes()
    for split in ("train", "validation", "eval"):
        wavs, packed = (open_examples(p, split, audio) for p in (mixtures, tmp_path / "packed"))
        assert isinstance(packed, Packed)
        assert (packed.names, packed.counts) == (wavs.names, wavs.counts)
        for number in range(len(wavs)):
            np.testing.assert_array_equal(packed.read(number), wavs.read(number))


def test_packing_twice_gives_the_same_bytes(mixtures, packed, tmp_path):
    pack(mixtures, tmp_path / "again")
    assert_same(packed, tmp_path / "again")


def test_mixtures_are_kept_whatever_they_are(copied, tmp_path, capsys):
    lines = (copied / "train_example_list.txt").read_text().splitlines()
    far, absent = (copied / lines[number].split("\t")[0] for number in (0, 1))
    noise = np.random.default_rng(0).integers(-(2**15), 2**15, 4000, dtype=np.int16)
    soundfile.write(far, noise, 8000)
    absent.unlink()
    pack(copied, tmp_path / "packed")
    assert "train/example00000.wav differs from the sum of its" in capsys.readouterr().err
    unpack(tmp_path / "packed", tmp_path / "unpacked")
    assert_same(copied, tmp_path / "unpacked")


def test_odd_headers_and_files_that_no_list_names_come_back(copied, tmp_path):
    path = copied / "train/example00000_sources/background0_sound.wav"
    plain = path.read_bytes()
    chunk = b"LIST" + struct.pack("<I", 5) + b"apit\0" + b"\0"
    odd = plain[:36] + chunk + plain[36:] + b"junk" + struct.pack("<I", 2) + b"xy"
    path.write_bytes(odd[:4] + struct.pack("<I", len(odd) - 8) + odd[8:])
    soundfile.write(copied / "train" / "other.wav", np.zeros(10), 44100)
    (copied / "deep" / "er").mkdir(parents=True)
    (copied / "deep" / "er" / "notes.md").write_text("…")
    (copied / "top.csv").write_text("a,b\n")
    pack(copied, tmp_path / "packed")
    assert (tmp_path / "packed" / "top.csv").exists()
    unpack(tmp_path / "packed", tmp_path / "unpacked")
    assert_same(copied, tmp_path / "unpacked")


MONO = struct.pack("<HHIIHH", 1, 1, 8000, 16000, 2, 16)


def riff(*chunks):
    body = b"".join(kind + struct.pack("<I", len(data)) + data for kind, data in chunks)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body


def test_a_wav_is_taken_apart_as_its_standard_says():
    samples = np.arange(6, dtype="<i2").tobytes()
    plain = struct.pack("<HHIIHH", 1, 2, 8000, 32000, 4, 16)
    wav = Wav.of("x", riff((b"fmt ", plain), (b"data", samples)) + b"more")
    assert wav.format == Format(8000, 2, 3)
    assert bytes(wav.samples) == samples
    assert wav.header.after == b"more"
    extended = struct.pack("<HHIIHHHHIH", 0xFFFE, 1, 8000, 16000, 2, 16, 22, 16, 4, 1) + b"\0" * 14
    assert Wav.of("x", riff((b"fmt ", extended), (b"data", samples))).format == Format(8000, 1, 6)
    for content, said in (
        (b"nothing", "is not a wav"),
        (riff((b"fmt ", plain)), "is cut"),
        (riff((b"data", samples)), "is cut"),
        (riff((b"fmt ", plain), (b"data", samples))[:-1], "is cut"),
        (riff((b"fmt ", struct.pack("<HHIIHH", 3, 1, 8000, 32000, 4, 32))), "is no PCM of 16 bits"),
        (riff((b"fmt ", struct.pack("<HHIIHH", 1, 1, 8000, 24000, 3, 24))), "is no PCM of 16 bits"),
    ):
        with pytest.raises(UserError, match=f"x: {said}"):
            Wav.of("x", content)


def test_what_cannot_be_packed_is_named_and_leaves_nothing(copied, tmp_path, capsys):
    packed = tmp_path / "packed"

    def refused(source=copied):
        code = main(["pack", str(source), "--output", str(packed)])
        assert (code, packed.exists()) == (2, False)
        return capsys.readouterr().err

    assert "no such folder or archive" in refused(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    assert "holds no *_example_list.txt" in refused(tmp_path / "empty")
    path = copied / "train/example00001_sources/background0_sound.wav"
    whole = path.read_bytes()
    for content, said in (
        (whole[:-10], "background0_sound.wav: is cut"),
        (b"", "background0_sound.wav: is not a wav"),
        (riff((b"fmt ", MONO), (b"data", b"\0" * 99998)),
         r"8000 Hz, 1 channel(s), 49999 samples; all must have 8000 Hz, 1 channel(s), 4000"),
    ):  # fmt: skip
        path.write_bytes(content)
        assert said in refused()
    path.unlink()
    assert f"{path}: is listed, and not there" in refused()
    path.write_bytes(whole)
    pack(copied, packed)
    assert main(["pack", str(packed), "--output", str(tmp_path / "twice")]) == 2
    assert "is packed already" in capsys.readouterr().err


PHASES = {
    "add": (shards.Shards, "add"),
    "finish": (shards.json, "dumps"),
    "mixture": (packing.zlib, "compress"),
    "others": (packing, "_write_others"),
    "end": (packing.shutil, "rmtree"),
}


def run(phase, moment, *arguments):
    """Exit code of a command that is killed at its n-th call of a function."""

    def killed():
        shards.SHARD_BYTES = 40_000
        module, name = PHASES[phase]
        setattr(module, name, killed_at(moment, getattr(module, name)))
        return main(list(map(str, arguments)))

    return forked(killed)


@pytest.mark.parametrize("form", ["folder", "tar"])
def test_packing_goes_on_where_it_was_killed(mixtures, tmp_path, small, form, monkeypatch):
    source = mixtures if form == "folder" else archive_of(mixtures, tmp_path / "FUSS.tar")
    arguments = ("pack", source, "--output", tmp_path / "killed")
    for phase, moment in (("add", 17), ("finish", 3), ("mixture", 5), ("others", 1), ("end", 1)):
        assert run(phase, moment, *arguments) == -signal.SIGKILL
        assert not (tmp_path / "killed").exists()
    done = len(list((tmp_path / "killed.part" / "shards").glob("*.i16")))
    written = []
    usual = shards.Shards.finish

    def counted(self):
        written.append(self._file is not None)
        usual(self)

    monkeypatch.setattr(shards.Shards, "finish", counted)
    pack(source, tmp_path / "killed")
    assert done > 5
    assert not any(written)  # all shards were whole
    pack(source, tmp_path / "whole")
    assert_same(tmp_path / "whole", tmp_path / "killed")
    assert not (tmp_path / "killed.part").exists()


def test_a_part_of_other_mixtures_is_thrown_away(mixtures, copied, tmp_path, small):
    assert run("end", 1, "pack", copied, "--output", tmp_path / "packed") == -signal.SIGKILL
    pack(mixtures, tmp_path / "packed")
    unpack(tmp_path / "packed", tmp_path / "unpacked")
    assert_same(mixtures, tmp_path / "unpacked")


@pytest.mark.parametrize("form", ["folder", "tar"])
def test_wavs_that_changed_meanwhile_are_packed_anew(copied, tmp_path, small, form):
    def source():
        return copied if form == "folder" else archive_of(copied, tmp_path / "FUSS.tar")

    assert run("end", 1, "pack", source(), "--output", tmp_path / "packed") == -signal.SIGKILL
    for path in (copied / "train").rglob("*.wav"):
        content = path.read_bytes()
        path.write_bytes(content[:44] + bytes(len(content) - 44))
    pack(source(), tmp_path / "packed")
    unpack(tmp_path / "packed", tmp_path / "unpacked")
    for path in (copied / "train").rglob("*.wav"):
        assert (tmp_path / "unpacked" / path.relative_to(copied)).read_bytes() == path.read_bytes()


def test_what_is_packed_already_is_left_as_it_is(mixtures, tmp_path):
    for work, source, output in ((pack, mixtures, "packed"), (unpack, "packed", "unpacked")):
        work(tmp_path / source, tmp_path / output)
        mark = tmp_path / output / "mark"
        mark.touch()
        work(tmp_path / source, tmp_path / output)
        mark.unlink()  # it is still there


def test_a_file_that_two_lists_name_is_refused(copied, tmp_path):
    line = (copied / "train_example_list.txt").read_text().splitlines()[0]
    with (copied / "eval_example_list.txt").open("a") as file:
        file.write(line.replace("example00000.wav", "other.wav") + "\n")
    said = r"train/example00000_sources/.* is named by both eval_example_list\.txt and train"
    with pytest.raises(UserError, match=said):
        pack(copied, tmp_path / "packed")


def test_outputs_lie_apart_from_what_they_are_made_of(mixtures, copied, bank, configs, capsys):
    for arguments in (
        ["pack", copied, "--output", copied / "packed"],
        ["pack", copied, "--output", copied.parent],
        ["mix", "--scale", "tiny", "--configs", configs, "--bank", bank, "--output", bank],
        [
            "bank",
            "--scale",
            "tiny",
            "--configs",
            configs,
            "--clips",
            copied,
            "--output",
            copied / "b",
        ],
    ):
        assert main(list(map(str, arguments))) == 2
        assert "lies within" in capsys.readouterr().err
    assert_same(copied, mixtures)


def test_a_link_leads_to_what_is_made(mixtures, tmp_path):
    (tmp_path / "scratch").mkdir()
    link = tmp_path / "packed"
    link.symlink_to(tmp_path / "scratch" / "packed")
    for _ in range(2):
        pack(mixtures, link)
        assert link.is_symlink()
        shutil.rmtree(tmp_path / "scratch" / "packed" / "shards")
        (link / MADE).write_text("another")
    assert not (tmp_path / "packed.part").exists()


def test_a_second_packer_says_that_there_is_a_first(mixtures, tmp_path, capsys):
    output = tmp_path / "packed"
    with resumable_folder(output, "first") as part:
        (part / "something").touch()
        assert main(["pack", str(mixtures), "--output", str(output)]) == 2
        assert f"{output}: another process is making it" in capsys.readouterr().err
        assert (part / "something").exists()
    assert (output / "something").exists()


def test_a_part_that_is_not_ours_is_never_removed(mixtures, tmp_path):
    (tmp_path / "packed.part").mkdir()
    (tmp_path / "packed.part" / "mine").touch()
    with pytest.raises(UserError, match=r"packed\.part: exists and was not made by apit"):
        pack(mixtures, tmp_path / "packed")
    assert (tmp_path / "packed.part" / "mine").exists()


def test_a_disk_that_is_full_is_told(mixtures, tmp_path, capsys, monkeypatch):
    def full(self, *arguments):
        raise OSError(28, "No space left on device", str(tmp_path / "packed.part"))

    monkeypatch.setattr(packing.Shards, "add", full)
    assert main(["pack", str(mixtures), "--output", str(tmp_path / "packed")]) == 2
    assert "packed.part: No space left on device" in capsys.readouterr().err
    assert not (tmp_path / "packed").exists()
