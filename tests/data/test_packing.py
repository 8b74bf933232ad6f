import filecmp
import gzip
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import tarfile

import numpy as np
import pytest
import soundfile
from archives import archive_of

from apit.cli import main
from apit.data import packing, shards
from apit.data.examples import Packed, open_examples
from apit.data.fuss import Format
from apit.data.packing import pack
from apit.data.shards import Wav
from apit.data.unpacking import unpack
from apit.errors import UserError
from apit.files import MADE, resumable_folder
from apit.provenance import file_digest


def files(folder):
    return sorted(
        str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p.name != MADE
    )


def assert_same(one, other):
    assert files(one) == files(other)
    _, different, failed = filecmp.cmpfiles(one, other, files(one), shallow=False)
    assert different == failed == []


@pytest.fixture
def small(monkeypatch):
    """Shards of a few sources each."""
    monkeypatch.setattr(shards, "SHARD_BYTES", 40_000)


@pytest.fixture
def copied(mixtures, tmp_path):
    return shutil.copytree(mixtures, tmp_path / "copied")


@pytest.fixture
def audio(tiny):
    return tiny("pit").audio


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


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("../x_sources/s.wav", tarfile.REGTYPE, "would lie outside"),
        ("/x_sources/s.wav", tarfile.REGTYPE, "would lie outside"),
        ("a/link", tarfile.SYMTYPE, "is a link, a device or sparse"),
        ("a/link", tarfile.LNKTYPE, "is a link, a device or sparse"),
        ("a/null", tarfile.CHRTYPE, "is a link, a device or sparse"),
    ],
)
def test_members_that_reach_outside_are_refused(mixtures, tmp_path, name, kind, said):
    path = tmp_path / "evil.tar"
    with tarfile.open(path, "w") as tar:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, "/etc/passwd"
        tar.addfile(member)
    with pytest.raises(UserError, match=said):
        pack(path, tmp_path / "packed")


def test_archives_that_lack_something_are_refused(mixtures, tmp_path):
    def archive(*left_out, cut=None):
        path = tmp_path / "some.tar.gz"
        with tarfile.open(path, "w:gz") as tar:
            for name in files(mixtures):
                if name not in left_out:
                    tar.add(mixtures / name, f"ssdata/{name}")
        if cut:
            path.write_bytes(path.read_bytes()[:cut])
        return path

    source = "train/example00000_sources/background0_sound.wav"
    with pytest.raises(UserError, match=f"{source} is listed, and not there"):
        pack(archive(source), tmp_path / "packed")
    lists = [f"{split}_example_list.txt" for split in ("train", "validation", "eval")]
    with pytest.raises(UserError, match=r"holds no eval_example_list\.txt"):
        pack(archive(lists[2]), tmp_path / "packed", lists=lists)
    with pytest.raises(UserError, match=r"holds no \*_example_list\.txt"):
        pack(archive(*lists), tmp_path / "packed")
    with pytest.raises(UserError, match="cannot be read: Compressed file ended before"):
        pack(archive(cut=20_000), tmp_path / "packed")
    with pytest.raises(UserError, match="all must have 16000 Hz"):
        pack(archive(), tmp_path / "packed", Format(16000, 1, 4000))
    assert not (tmp_path / "packed").exists()


KILLED = """
import os, signal, sys
from apit import cli
from apit.data import packing, shards, unpacking

shards.SHARD_BYTES = 40_000
phase, moment = sys.argv[1], int(sys.argv[2])
calls = []

def killing(usual):
    def call(*arguments, **options):
        calls.append(1)
        if len(calls) == moment:
            os.kill(os.getpid(), signal.SIGKILL)
        return usual(*arguments, **options)
    return call

if phase == "add":
    shards.Shards.add = killing(shards.Shards.add)
elif phase == "finish":
    shards.json.dumps = killing(shards.json.dumps)
elif phase == "mixture":
    packing.zlib.compress = killing(packing.zlib.compress)
elif phase == "others":
    packing._write_others = killing(packing._write_others)
elif phase == "end":
    packing.shutil.rmtree = killing(packing.shutil.rmtree)
elif phase == "unpack":
    unpacking._write_once = killing(unpacking._write_once)
sys.exit(cli.main(sys.argv[3:]))
"""


def run(phase, moment, *arguments):
    command = [sys.executable, "-c", KILLED, phase, str(moment), *map(str, arguments)]
    return subprocess.run(command, capture_output=True).returncode


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


def test_unpacking_goes_on_where_it_was_killed(mixtures, packed, tmp_path):
    assert run("unpack", 30, "unpack", packed, "--output", tmp_path / "killed") == -signal.SIGKILL
    assert not (tmp_path / "killed").exists()
    unpack(packed, tmp_path / "killed")
    assert_same(mixtures, tmp_path / "killed")


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
        for _ in range(2):
            work(tmp_path / source, tmp_path / output)
            mark = tmp_path / output / "mark"
            assert mark.exists() == (_ == 1)
            mark.touch()
        mark.unlink()


def test_a_file_that_two_lists_name_is_refused(copied, tmp_path):
    line = (copied / "train_example_list.txt").read_text().splitlines()[0]
    with (copied / "eval_example_list.txt").open("a") as file:
        file.write(line.replace("example00000.wav", "other.wav") + "\n")
    said = r"train/example00000_sources/.* is named by both eval_example_list\.txt and train"
    with pytest.raises(UserError, match=said):
        pack(copied, tmp_path / "packed")


def test_damaged_tars_are_never_taken_for_whole_ones(mixtures, tmp_path):
    plain = archive_of(mixtures, tmp_path / "FUSS.tar.gz")
    content = bytearray(gzip.decompress(plain.read_bytes()))
    wrong = bytearray(content)
    at = content.rfind(b"ssdata_reverb/eval/example00007.txt")
    wrong[at + 148] ^= 1  # of the header's checksum
    for name, data, said in (
        ("header.tar", bytes(wrong), "is cut or damaged after ssdata_reverb/eval/|bad checksum"),
        ("end.tar", bytes(content[: content.rfind(b"ssdata_reverb/")]), "is cut or damaged|empty"),
        ("crc.tar.gz", plain.read_bytes()[:-8] + bytes(8), "CRC check failed|Incorrect length"),
        ("no.tar", b"not a tar", "cannot be read: it is no tar"),
        ("no.tar.xz", b"\xfd7zXZ\0" + bytes(100), "cannot be read"),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UserError, match=said):
            pack(tmp_path / name, tmp_path / "packed")


def test_lists_say_what_is_a_source_if_they_come_in_time(mixtures, tmp_path):
    tree = shutil.copytree(mixtures, tmp_path / "tree")
    for name in ("train", "validation", "eval"):
        path = tree / f"{name}_example_list.txt"
        path.write_text(path.read_text().replace("_sources/", "_parts/"))
        for folder in (tree / name).glob("*_sources"):
            folder.rename(folder.with_name(folder.name.replace("_sources", "_parts")))
    names = files(tree)
    for order in (sorted(names, key=lambda n: "/" in n), sorted(names, key=lambda n: "/" not in n)):
        path = tmp_path / "some.tar"
        with tarfile.open(path, "w") as tar:
            for name in order:
                tar.add(tree / name, f"./{name}")
        if "/" in order[0]:
            with pytest.raises(UserError, match="a source only when its list came; unpack"):
                pack(path, tmp_path / "late")
        else:
            pack(path, tmp_path / "packed")
            unpack(tmp_path / "packed", tmp_path / "unpacked")
            assert_same(tree, tmp_path / "unpacked")


def test_two_sets_in_one_tar_are_refused(mixtures, tmp_path):
    with tarfile.open(tmp_path / "two.tar", "w") as tar:
        for top in "ab":
            tar.add(mixtures, top)
    with pytest.raises(UserError, match="holds lists in a/ and in b/"):
        pack(tmp_path / "two.tar", tmp_path / "packed")


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


def test_damaged_shards_are_told(packed, tmp_path, audio, configs):
    copy = shutil.copytree(packed, tmp_path / "packed")
    shard = copy / "shards" / "000.i16"
    content = bytearray(shard.read_bytes())
    content[100] ^= 1
    shard.write_bytes(content)
    with pytest.raises(UserError, match=r"000\.i16: is not the file that was packed; fetch or"):
        unpack(copy, tmp_path / "unpacked")
    os.truncate(shard, 1000)
    with pytest.raises(UserError, match=r"000\.i16: has not the \d+ bytes that were packed"):
        open_examples(copy, "train", audio)
    with pytest.raises(UserError, match=r"holds 8000 Hz.*; the configuration's audio says 16000"):
        open_examples(packed, "train", audio.model_copy(update={"sample_rate": 16000}))
    index = copy / "shards" / "index.json"
    index.write_text(index.read_text()[:50])
    with pytest.raises(UserError, match=r"index\.json: cannot be read .*; pack it again"):
        open_examples(copy, "train", audio)


@pytest.mark.parametrize(
    "name",
    [
        *("train_example_list.txt", "shards/sources.csv", "shards/mixtures.csv"),
        *("shards/residuals.bin", "shards/labels.tar.gz", "manifest.csv"),
    ],
)
def test_whatever_was_changed_later_is_told(packed, tmp_path, audio, name):
    copy = shutil.copytree(packed, tmp_path / "packed")
    content = (copy / name).read_bytes()
    lines = content.splitlines(keepends=True)
    (copy / name).write_bytes(b"".join([*lines[:2], *lines[3:]]) if len(lines) > 3 else b"")
    said = f"{copy / name}: is not the file that was packed"
    if name in ("train_example_list.txt", "shards/sources.csv"):
        with pytest.raises(UserError, match=said):
            open_examples(copy, "train", audio)
    with pytest.raises(UserError, match=said):
        unpack(copy, tmp_path / "unpacked")


def test_a_packed_folder_of_others_writes_nothing_outside(packed, tmp_path):
    copy = shutil.copytree(packed, tmp_path / "packed")
    table = copy / "shards" / "sources.csv"
    first = table.read_text().splitlines()[1].split(",")[0]
    table.write_text(table.read_text().replace(first, "../../outside.wav", 1))
    listed = copy / "eval_example_list.txt"
    listed.write_text(listed.read_text().replace(first, "other.wav"))
    index = copy / "shards" / "index.json"
    found = json.loads(index.read_text())
    found["sha256"] |= {str(p.relative_to(copy)): file_digest(p) for p in (table, listed)}
    index.write_text(json.dumps(found))
    with pytest.raises(UserError, match="would lie outside of it"):
        unpack(copy, tmp_path / "deep" / "unpacked")
    assert not (tmp_path / "outside.wav").exists()


def test_a_disk_that_is_full_is_told(mixtures, tmp_path, capsys, monkeypatch):
    def full(self, *arguments):
        raise OSError(28, "No space left on device", str(tmp_path / "packed.part"))

    monkeypatch.setattr(packing.Shards, "add", full)
    assert main(["pack", str(mixtures), "--output", str(tmp_path / "packed")]) == 2
    assert "packed.part: No space left on device" in capsys.readouterr().err
    assert not (tmp_path / "packed").exists()
