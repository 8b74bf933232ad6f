import io
import tarfile

import pytest
from archives import archive_of, served

from apit.config import Fuss
from apit.data import fuss
from apit.data.fetch import fetch_fuss
from apit.errors import UserError
from apit.layers import load_scale
from apit.provenance import file_digest


def described(path, address):
    return Fuss(
        kind="fuss",
        name="a small FUSS",
        address=f"{address}/{path.name}",
        bytes=path.stat().st_size,
        sha256=file_digest(path),
    )


@pytest.fixture
def audio(configs):
    return load_scale("tiny", configs=configs).audio


@pytest.fixture
def remote(tmp_path):
    folder = tmp_path / "remote"
    folder.mkdir()
    with served(folder) as (address, asked):
        yield folder, address, asked


def test_an_archive_is_fetched_verified_and_unpacked_once(mixtures, audio, remote, tmp_path):
    folder, address, asked = remote
    path = archive_of(mixtures, folder / "FUSS.tar.gz")
    output = tmp_path / "data" / "mixtures"
    for _ in range(2):
        fetch_fuss(described(path, address), audio, output)
    assert len(asked) == 1
    for split in ("train", "validation", "eval"):
        listed = fuss.read_list(fuss.list_path(output, split), audio.sources)
        expected = fuss.read_list(fuss.list_path(mixtures, split), audio.sources)
        assert [e.name for e in listed] == [e.name for e in expected]
        for one, other in zip(listed[0].sources, expected[0].sources, strict=True):
            assert one.read_bytes() == other.read_bytes()
    assert fuss.sounds(output).startswith("a small FUSS (sha256 ")
    assert (output.parent / "FUSS.tar.gz").read_bytes() == path.read_bytes()
    assert {p.name for p in output.parent.iterdir()} == {"FUSS.tar.gz", "mixtures"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"bytes": 10}, r"FUSS.tar.gz has \d+ bytes, not 10; http://.*: try again"),
        ({"bytes": 10**9}, r"cannot be downloaded: it ended after \d+ of 1000000000 bytes"),
        ({"sha256": "0" * 64}, "FUSS.tar.gz has the SHA-256 .*, not 0000"),
    ],
)
def test_another_archive_is_refused_and_nothing_is_left(
    mixtures, audio, remote, tmp_path, change, said
):
    folder, address, _ = remote
    path = archive_of(mixtures, folder / "FUSS.tar.gz")
    wrong = described(path, address).model_copy(update=change)
    with pytest.raises(UserError, match=said):
        fetch_fuss(wrong, audio, tmp_path / "data" / "mixtures")
    assert list((tmp_path / "data").iterdir()) == []


def test_an_archive_that_is_not_there_or_not_reached(mixtures, audio, remote, tmp_path):
    folder, address, _ = remote
    path = archive_of(mixtures, folder / "FUSS.tar.gz")
    good = described(path, address)
    for wrong in (f"{address}/nothing.tar.gz", "http://127.0.0.1:1/FUSS.tar.gz"):
        with pytest.raises(UserError, match=r"cannot be downloaded: .*set data\.sounds\.address"):
            fetch_fuss(good.model_copy(update={"address": wrong}), audio, tmp_path / "mixtures")
    assert not (tmp_path / "mixtures").exists()


def packed(path, **members):
    with tarfile.open(path, "w:gz") as tar:
        for name, text in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    return path


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"a/readme.txt": "hello"}, "holds no train_example_list.txt"),
        (
            {"a/train_example_list.txt": "m.wav\ts.wav\n"},
            r"FUSS.tar.gz: is not FUSS: train_example_list.txt:1: names s.wav, which is not in it",
        ),
        (
            {"a/train_example_list.txt": "m.wav\ts.wav\n", "a/s.wav": "x"},
            r"FUSS.tar.gz: is not FUSS: m.wav: is listed, and not there",
        ),
        ({"../outside.txt": "hello"}, "cannot be unpacked: .*outside the destination"),
    ],
)
def test_archives_of_another_content_are_refused(audio, remote, tmp_path, members, said):
    folder, address, _ = remote
    path = packed(folder / "FUSS.tar.gz", **members)
    with pytest.raises(UserError, match=said):
        fetch_fuss(described(path, address), audio, tmp_path / "data" / "mixtures")
    assert [p.name for p in (tmp_path / "data").iterdir()] == ["FUSS.tar.gz"]
    assert not (tmp_path / "outside.txt").exists()


def test_a_kept_archive_that_is_another_is_named_and_stays(mixtures, audio, remote, tmp_path):
    folder, address, asked = remote
    path = archive_of(mixtures, folder / "FUSS.tar.gz")
    kept = tmp_path / "data" / "FUSS.tar.gz"
    kept.parent.mkdir()
    kept.write_bytes(b"x" * path.stat().st_size)
    with pytest.raises(UserError, match=rf"not {file_digest(path)}; {kept}: remove it, and fetch"):
        fetch_fuss(described(path, address), audio, kept.parent / "mixtures")
    assert kept.exists()
    assert asked == []


def test_a_foreign_folder_is_refused_before_anything_is_fetched(mixtures, audio, remote, tmp_path):
    folder, address, asked = remote
    path = archive_of(mixtures, folder / "FUSS.tar.gz")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "kept.txt").touch()
    with pytest.raises(UserError, match="exists and was not made by apit"):
        fetch_fuss(described(path, address), audio, tmp_path / "mine")
    assert asked == []


def test_what_is_no_archive_is_refused(audio, remote, tmp_path):
    folder, address, _ = remote
    path = folder / "FUSS.tar.gz"
    path.write_bytes(b"not an archive")
    with pytest.raises(UserError, match="cannot be unpacked"):
        fetch_fuss(described(path, address), audio, tmp_path / "mixtures")
