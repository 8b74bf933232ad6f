import io
import shutil
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from archives import archive_of, served
from urllib3.util import Retry

from apit.cli import main
from apit.config import Fuss, Package
from apit.data import fuss
from apit.data.examples import open_examples
from apit.data.fetch import fetch_fuss, fetch_packages
from apit.errors import UserError
from apit.layers import load_scale
from apit.provenance import file_digest

SPLITS = ("train", "validation", "eval")
IMPATIENT = Retry(total=1, backoff_factor=0.0)


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


def test_an_archive_is_fetched_verified_and_packed_once(mixtures, audio, remote, tmp_path):
    folder, address, asked = remote
    path = archive_of(mixtures, folder / "FUSS.tar.gz")
    output = tmp_path / "data" / "packed"
    for _ in range(2):
        fetch_fuss(described(path, address), audio, output)
    assert len(asked) == 1
    examples, expected = (open_examples(p, "eval", audio) for p in (output, mixtures))
    assert examples.names == expected.names
    assert (examples.read(3) == expected.read(3)).all()
    assert fuss.sounds(output).startswith("a small FUSS (sha256 ")
    assert (output.parent / "FUSS.tar.gz").read_bytes() == path.read_bytes()
    assert {p.name for p in output.parent.iterdir()} == {"FUSS.tar.gz", "packed"}
    other = audio.model_copy(update={"sample_rate": 16000})
    with pytest.raises(UserError, match="all must have 16000 Hz"):
        fetch_fuss(described(path, address), other, tmp_path / "data" / "other")


def test_another_archive_is_named_and_never_used(mixtures, audio, remote, tmp_path):
    folder, address, asked = remote
    path = archive_of(mixtures, folder / "FUSS.tar.gz")
    wrong = described(path, address).model_copy(update={"sha256": "0" * 64})
    for _ in range(2):
        with pytest.raises(UserError, match=r"FUSS.tar.gz: has the SHA-256 .*, not 0000"):
            fetch_fuss(wrong, audio, tmp_path / "data" / "mixtures", patience=IMPATIENT)
        assert [p.name for p in (tmp_path / "data").iterdir()] == ["FUSS.tar.gz"]
    assert len(asked) == 1
    (tmp_path / "data" / "FUSS.tar.gz").write_bytes(b"another")
    with pytest.raises(UserError, match=r"FUSS.tar.gz: has 7 bytes, not \d+; remove it"):
        fetch_fuss(described(path, address), audio, tmp_path / "data" / "mixtures")


def test_an_archive_of_another_size_is_not_even_fetched(mixtures, audio, remote, tmp_path):
    folder, address, asked = remote
    path = archive_of(mixtures, folder / "FUSS.tar.gz")
    for size in (10, path.stat().st_size + 10):
        wrong = described(path, address).model_copy(update={"bytes": size})
        with pytest.raises(UserError, match=rf"has \d+ bytes there, not {size}; give another addr"):
            fetch_fuss(wrong, audio, tmp_path / "data" / "mixtures", patience=IMPATIENT)
    assert len(asked) == 2
    assert not (tmp_path / "data" / "FUSS.tar.gz").exists()


def test_an_archive_that_is_not_there_or_not_reached(mixtures, audio, remote, tmp_path):
    folder, address, _ = remote
    path = archive_of(mixtures, folder / "FUSS.tar.gz")
    good = described(path, address)
    for wrong in (f"{address}/nothing.tar.gz", "http://127.0.0.1:1/FUSS.tar.gz"):
        elsewhere = good.model_copy(update={"address": wrong})
        with pytest.raises(UserError, match=r"cannot be downloaded: .*or elsewhere"):
            fetch_fuss(elsewhere, audio, tmp_path / "mixtures", patience=IMPATIENT)
    assert not (tmp_path / "mixtures").exists()


def test_an_archive_on_this_machine_is_used_where_it_is(mixtures, tmp_path, capsys, configs):
    path = archive_of(mixtures, tmp_path / "mine.tar.gz")
    output = tmp_path / "data" / "mixtures"
    settings = ("audio={sample_rate: 8000, seconds: 0.5}", "training.crop_seconds=0.4")
    settings += (f"data.sounds.sha256='{file_digest(path)}'",)
    settings += (f"data.sounds.bytes={path.stat().st_size}",)
    arguments = ["fetch", "--output", str(output), "--configs", str(configs)]
    arguments += [f"--set={setting}" for setting in settings]
    assert main([*arguments, "--archive", str(path)]) == 0
    assert [p.name for p in output.parent.iterdir()] == ["mixtures"]
    assert len(fuss.read_lines(fuss.list_path(output, "eval"), 4)) == 8
    arguments[2] += "2"
    assert main([*arguments, "--archive", str(tmp_path / "other.tar.gz")]) == 2
    assert "no such archive" in capsys.readouterr().err


def test_room_is_looked_for_before_anything_is_fetched(
    mixtures, audio, remote, tmp_path, monkeypatch
):
    folder, address, asked = remote
    path = archive_of(mixtures, folder / "FUSS.tar.gz")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10**6))
    large = described(path, address).model_copy(update={"bytes": 10**9})
    with pytest.raises(UserError, match=r"3.50GB are needed .* and 1.00MB are free"):
        fetch_fuss(large, audio, tmp_path / "data" / "mixtures")
    assert asked == []


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
        ({"a/readme.txt": "hello"}, r"FUSS.tar.gz: holds no \*_example_list.txt"),
        ({"a/eval_example_list.txt": "m.wav\ts.wav\n"}, "holds no train_example_list.txt"),
        (
            {f"a/{name}_example_list.txt": f"{name}.wav\t{name}/s.wav\n" for name in SPLITS}
            | {"a/train/s.wav": "x"},
            "a/train/s.wav: cannot be read as sound",
        ),
    ],
)
def test_archives_of_another_content_are_refused(audio, remote, tmp_path, members, said):
    folder, address, _ = remote
    path = packed(folder / "FUSS.tar.gz", **members)
    with pytest.raises(UserError, match=said):
        fetch_fuss(described(path, address), audio, tmp_path / "data" / "mixtures")
    assert not (tmp_path / "data" / "mixtures").exists()


def test_a_file_of_ones_own_that_is_another_is_named_and_stays(mixtures, audio, tmp_path):
    path = archive_of(mixtures, tmp_path / "mine.tar.gz")
    before = path.read_bytes()
    other = described(path, tmp_path.as_uri()).model_copy(update={"sha256": "0" * 64})
    with pytest.raises(
        UserError, match=r"mine\.tar\.gz: has the SHA-256 .*; remove it, give another"
    ):
        fetch_fuss(other, audio, tmp_path / "data" / "mixtures")
    assert path.read_bytes() == before


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
    with pytest.raises(UserError, match="cannot be read: it is no tar"):
        fetch_fuss(described(path, address), audio, tmp_path / "mixtures")


APT = """#!{python}
import os, pathlib, sys
name = sys.argv[2]
with open("{calls}", "a") as calls:
    calls.write(name + "\\n")
if name == os.environ.get("ABSENT"):
    sys.exit("E: Unable to locate package " + name)
pathlib.Path(name + "_1%3a1.0_all.deb").write_text(name)
"""
DPKG = """#!{python}
import pathlib, sys
import numpy as np, soundfile
name = pathlib.Path(sys.argv[2]).read_text()
for number in range(3):
    path = pathlib.Path(sys.argv[3], "usr", "share", name, "deep", f"{{name}}_{{number}}.ogg")
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.random.default_rng(number).normal(0, 0.1, 8000), 8000)
path.with_name("readme.txt").write_text("no sound")
"""


@pytest.fixture
def debian(tmp_path, monkeypatch):
    """Stand-ins for apt-get and dpkg-deb, and a list of the packages that were asked for."""
    tools, calls = tmp_path / "tools", tmp_path / "calls"
    tools.mkdir()
    calls.touch()
    for name, text in (("apt-get", APT), ("dpkg-deb", DPKG)):
        (tools / name).write_text(text.format(python=sys.executable, calls=calls))
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tools))
    return calls


def packages(*names):
    return [Package(name=n, folder=f"usr/share/{n}", licence=f"L-{n}") for n in names]


def test_packages_are_fetched_once_with_their_licences(debian, tmp_path, monkeypatch):
    output = tmp_path / "clips"
    monkeypatch.setenv("ABSENT", "two")
    with pytest.raises(
        UserError, match="two cannot be fetched: E: Unable to locate package two; g"
    ):
        fetch_packages(packages("one", "two"), output)
    assert not output.exists()
    monkeypatch.delenv("ABSENT")
    monkeypatch.chdir(tmp_path)
    fetch_packages(packages("one", "two"), Path("clips"))
    assert debian.read_text().split() == ["one", "two", "one", "two"]
    assert sorted(p.name for p in output.rglob("*.ogg")) == [
        f"{name}_{number}.ogg" for name in ("one", "two") for number in range(3)
    ]
    assert not list(output.rglob("*.txt"))
    rows = pd.read_csv(output / "licences.csv").set_index("clips")
    assert rows["licence"].to_dict() == {"one/*": "L-one", "two/*": "L-two"}
    assert rows["origin"].str.fullmatch(r"(one|two) 1:1\.0 \(sha256 [0-9a-f]{64}\)").all()


def test_what_a_killed_call_unpacked_is_no_clip(debian, tmp_path):
    output = tmp_path / "clips"
    left = tmp_path / ".partial-clips" / "scratch" / "unpacked"
    left.mkdir(parents=True)
    (left / "leaked_0.ogg").touch()
    fetch_packages(packages("one"), output)
    assert not list(tmp_path.rglob("leaked*"))
    calls = debian.read_text()
    fetch_packages(packages("one"), output)
    assert debian.read_text() == calls  # it is there already


def test_packages_without_sounds_or_tools_are_refused(debian, tmp_path, monkeypatch):
    elsewhere = packages("one")[0].model_copy(update={"folder": "usr/lib"})
    with pytest.raises(
        UserError, match=r"one_1%3a1\.0_all\.deb holds no sound in usr/lib; give a fol"
    ):
        fetch_packages([elsewhere], tmp_path / "clips")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="apt-get and dpkg-deb cannot be found here"):
        fetch_packages(packages("one"), tmp_path / "clips")
