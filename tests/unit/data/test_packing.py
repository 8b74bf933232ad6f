import shutil
import signal
import struct

import numpy as np
import pytest
import soundfile
from archives import archive_of
from folders import assert_same, files
from forks import forked, killed_at
from sounds import unsaid

from apit.cli import main
from apit.data import packing
from apit.data.examples import Packed, open_examples
from apit.data.fuss import Format
from apit.data.packed import Index
from apit.data.packing import Source, pack
from apit.errors import UserError
from apit.files import whole_folder
from apit.identity import FILE, Identity


@pytest.mark.parametrize("form", ["folder", "tar.gz", "tar"])
def test_packed_examples_are_those_of_the_wavs(mixtures, tmp_path, small, audio, form):
    source = mixtures
    if form != "folder":
        source = archive_of(mixtures, tmp_path / f"FUSS.{form}")
    pack(source, tmp_path / "packed")
    shards = sorted((tmp_path / "packed" / "shards").glob("*.i16"))
    assert len(shards) > 5
    for split in ("train", "validation", "eval"):
        wavs, packed = (open_examples(p, split, audio) for p in (mixtures, tmp_path / "packed"))
        assert isinstance(packed, Packed)
        assert (packed.names, packed.counts) == (wavs.names, wavs.counts)
        for number in range(len(wavs)):
            np.testing.assert_array_equal(packed.read(number), wavs.read(number))


def test_shards_hold_the_sources_alone_and_the_index_tells_of_every_file(copied, tmp_path):
    (copied / ".snakemake_timestamp").touch()
    (copied / "top.csv").write_text("a,b\n")
    (copied / "top.wav").touch()
    pack(copied, tmp_path / "packed")
    top = [p.name for p in copied.iterdir() if p.is_file() and p.name[0] != "." and p.name != FILE]
    shards = ["shards/000.i16", "shards/index.json", "shards/sources.csv"]
    assert files(tmp_path / "packed") == sorted({*top, *shards} - {"top.wav"})
    named = (tmp_path / "packed/shards/sources.csv").read_text().splitlines()
    sounds = [soundfile.read(copied / name, dtype="int16")[0] for name in named[1:]]
    shard = np.concatenate(sounds).astype("<i2").tobytes()
    assert (tmp_path / "packed/shards/000.i16").read_bytes() == shard
    index = Index.read(tmp_path / "packed")
    assert [*index.sha256] == [n for n in files(tmp_path / "packed") if "index.json" not in n]
    for name in index.sha256:
        index.verify(name)


def test_packing_twice_gives_the_same_bytes(mixtures, packed, tmp_path):
    pack(mixtures, tmp_path / "again")
    assert_same(packed, tmp_path / "again")


def test_mixtures_need_not_be_there(copied, packed, tmp_path):
    for split in ("train", "validation", "eval"):
        for path in (copied / split).glob("*.wav"):
            path.unlink()
    pack(copied, tmp_path / "packed")
    assert_same(packed, tmp_path / "packed")


def test_odd_headers_do_not_matter(copied, packed, tmp_path):
    path = copied / "train/example00000_sources/background0_sound.wav"
    plain = path.read_bytes()
    chunk = b"LIST" + struct.pack("<I", 5) + b"apit\0" + b"\0"
    odd = plain[:36] + chunk + plain[36:] + b"junk" + struct.pack("<I", 2) + b"xy"
    path.write_bytes(odd[:4] + struct.pack("<I", len(odd) - 8) + odd[8:])
    pack(copied, tmp_path / "packed")
    assert_same(packed, tmp_path / "packed")


MONO = struct.pack("<HHIIHH", 1, 1, 8000, 16000, 2, 16)


def riff(*chunks):
    body = b"".join(kind + struct.pack("<I", len(data)) + data for kind, data in chunks)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body


def test_wavs_that_are_not_whole_or_not_of_16_bits_are_refused():
    samples = np.arange(6, dtype="<i2").tobytes()
    plain = struct.pack("<HHIIHH", 1, 2, 8000, 32000, 4, 16)
    whole = riff((b"fmt ", plain), (b"data", samples))
    source = Source.of("x", whole + b"more")
    assert source.format == Format(8000, 2, 3)
    assert source.samples.astype("<i2").tobytes() == samples
    piped = whole.replace(struct.pack("<I", len(samples)), b"\xff" * 4)
    assert Source.of("x", piped).format == Format(8000, 2, 3)
    for size in (0, 0x7FFFF000, 0x7FFFFFDB, 0x80000000):
        content, _ = unsaid(f"wav-{size:#x}", np.arange(6.0).reshape(3, 2) / 8, 8000)
        assert Source.of("x", content).format == Format(8000, 2, 3)
    extended = struct.pack("<HHIIHHHHIH", 0xFFFE, 1, 8000, 16000, 2, 16, 22, 16, 4, 1)
    extended += bytes.fromhex("000000001000800000aa00389b71")
    assert Source.of("x", riff((b"fmt ", extended), (b"data", samples))).format.samples == 6
    for content, said in (
        (b"nothing", "cannot be read as sound"),
        (riff((b"fmt ", plain)), "cannot be read as sound|holds no sample"),
        (riff((b"data", samples)), "cannot be read as sound"),
        (riff((b"fmt ", plain), (b"data", b"")), "holds no sample"),
        (whole[:-1], "is cut: it lacks 1 bytes"),
        (whole[:-8], "is cut: it lacks 8 bytes"),
        (riff((b"fmt ", struct.pack("<HHIIHH", 3, 1, 8000, 32000, 4, 32)), (b"data", samples)),
         "is no PCM of 16 bits"),
        (riff((b"fmt ", struct.pack("<HHIIHH", 1, 1, 8000, 24000, 3, 24)), (b"data", samples)),
         "is no PCM of 16 bits"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=f"x: {said}"):
            Source.of("x", content)


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
        (b"", "background0_sound.wav: cannot be read as sound"),
        (riff((b"fmt ", MONO), (b"data", b"\0" * 99998)),
         r"8000 Hz, 1 channel(s), 49999 samples; all must have 8000 Hz, 1 channel(s), 4000"),
    ):  # fmt: skip
        path.write_bytes(content)
        assert said in refused()
    path.unlink()
    assert f"{path.relative_to(copied)} is listed, and not there" in refused()
    path.write_bytes(whole)
    pack(copied, packed)
    assert main(["pack", str(packed), "--output", str(tmp_path / "twice")]) == 2
    assert "is packed already" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["folder", "tar"])
@pytest.mark.parametrize("function", ["Source.of", "file_digest"])
def test_a_killed_call_starts_again(copied, tmp_path, small, form, function):
    """Whatever it left, and whatever of the wavs has changed since."""

    def source():
        return copied if form == "folder" else archive_of(copied, tmp_path / "FUSS.tar")

    def killed():
        owner = packing.Source if function == "Source.of" else packing
        name = function.removeprefix("Source.")
        setattr(owner, name, killed_at(17 if name == "of" else 3, getattr(owner, name)))
        return main(["pack", str(source()), "--output", str(tmp_path / "packed")])

    for change in (False, True):
        assert forked(killed) == -signal.SIGKILL
        assert not (tmp_path / "packed").exists()
        if change:
            for path in (copied / "train").rglob("*.wav"):
                content = path.read_bytes()
                path.write_bytes(content[:44] + bytes(len(content) - 44))
        pack(source(), tmp_path / "packed")
        assert not (tmp_path / ".partial-packed").exists()
        pack(source(), tmp_path / "whole")
        assert_same(tmp_path / "whole", tmp_path / "packed")
        shutil.rmtree(tmp_path / "packed")
        shutil.rmtree(tmp_path / "whole")


def test_what_is_packed_already_is_left_as_it_is(mixtures, tmp_path):
    pack(mixtures, tmp_path / "packed")
    mark = tmp_path / "packed" / "mark"
    mark.touch()
    pack(mixtures, tmp_path / "packed")
    assert mark.exists()


def test_another_archive_is_packed_in_place_of_the_one_before(copied, tmp_path):
    archive = archive_of(copied, tmp_path / "FUSS.tar.gz")
    pack(archive, tmp_path / "packed")
    mark = tmp_path / "packed" / "mark"
    mark.touch()
    pack(archive, tmp_path / "packed")
    assert mark.exists()
    for path in (copied / "train").rglob("*.wav"):
        content = path.read_bytes()
        path.write_bytes(content[:44] + bytes(len(content) - 44))
    pack(archive_of(copied, archive), tmp_path / "packed")
    assert not mark.exists()


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
        Identity("packed", {}).write(link)
    assert not list(tmp_path.rglob(".partial-*"))


def test_a_second_packer_says_that_there_is_a_first(mixtures, tmp_path, capsys):
    output = tmp_path / "packed"
    with whole_folder(output, Identity("packed", {})) as part:
        (part / "something").touch()
        assert main(["pack", str(mixtures), "--output", str(output)]) == 2
        assert f"{output}: another process is making it" in capsys.readouterr().err
        assert (part / "something").exists()
    assert (output / "something").exists()


def test_a_disk_that_is_full_is_told(mixtures, tmp_path, capsys, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device", str(tmp_path / "packed"))

    monkeypatch.setattr(packing, "_write_shards", full)
    assert main(["pack", str(mixtures), "--output", str(tmp_path / "packed")]) == 2
    assert "packed: No space left on device" in capsys.readouterr().err
    assert not (tmp_path / "packed").exists()
