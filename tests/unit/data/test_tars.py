import gzip
import shutil
import tarfile

import pytest
from archives import archive_of
from folders import assert_same, files

from apit.data.examples import open_examples
from apit.data.fuss import Format
from apit.data.packing import pack
from apit.errors import UserError


def test_nothing_of_a_tar_reaches_outside(mixtures, tmp_path):
    """Its files are read by name alone: what a link leads to is none of them."""
    path = archive_of(mixtures, tmp_path / "FUSS.tar.gz")
    pack(path, tmp_path / "before")
    odd = [("../out.csv", tarfile.REGTYPE), ("/out.txt", tarfile.REGTYPE)]
    odd += [
        ("ssdata_reverb/link.csv", tarfile.SYMTYPE),
        ("ssdata_reverb/hard.csv", tarfile.LNKTYPE),
    ]
    odd += [("ssdata_reverb/null.csv", tarfile.CHRTYPE)]
    with tarfile.open(path) as tar, tarfile.open(tmp_path / "evil.tar", "w") as evil:
        for member in tar:
            evil.addfile(member, tar.extractfile(member))
        for name, kind in odd:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            evil.addfile(member)
    pack(tmp_path / "evil.tar", tmp_path / "packed")
    assert_same(tmp_path / "before", tmp_path / "packed")
    assert not list(tmp_path.parent.glob("out*"))


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


def test_damaged_tars_are_never_taken_for_whole_ones(mixtures, tmp_path):
    plain = archive_of(mixtures, tmp_path / "FUSS.tar.gz")
    content = bytearray(gzip.decompress(plain.read_bytes()))
    wrong = bytearray(content)
    at = content.rfind(b"ssdata_reverb/eval/example00007.txt")
    wrong[at + 148] ^= 1  # of the header's checksum
    for name, data, said in (
        ("header.tar", bytes(wrong), "is cut or damaged|bad checksum"),
        ("end.tar", bytes(content[: content.rfind(b"ssdata_reverb/")]), "is cut or damaged|empty"),
        ("crc.tar.gz", plain.read_bytes()[:-8] + bytes(8), "CRC check failed|Incorrect length"),
        ("no.tar", b"not a tar", "cannot be read: it is no tar"),
        ("no.tar.xz", b"\xfd7zXZ\0" + bytes(100), "cannot be read"),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UserError, match=said):
            pack(tmp_path / name, tmp_path / "packed")


def test_lists_say_what_is_a_source_wherever_they_come(mixtures, tmp_path, audio):
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
        output = tmp_path / f"packed{order.index(names[0])}"
        pack(path, output)
        for split in ("train", "validation", "eval"):
            found, expected = (open_examples(one, split, audio) for one in (output, tree))
            for number in range(len(expected)):
                assert (found.read(number) == expected.read(number)).all()


def test_two_sets_in_one_tar_are_refused(mixtures, tmp_path):
    with tarfile.open(tmp_path / "two.tar", "w") as tar:
        for top in "ab":
            tar.add(mixtures, top)
    with pytest.raises(UserError, match="holds lists in a/ and in b/"):
        pack(tmp_path / "two.tar", tmp_path / "packed")
