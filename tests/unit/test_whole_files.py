"""Files and folders appear whole, one process at a time, on any file system."""

import errno
import fcntl
import os
from pathlib import Path

import pytest
from filelock import Timeout

from apit import files
from apit.cli import main
from apit.errors import UserError
from apit.files import alone, check_replaceable, locked, whole_file, whole_folder
from apit.identity import Identity
from apit.training import devices

IDENTITY = Identity("test", {})


@pytest.fixture(params=[errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def without_locks(request, monkeypatch):
    """A file system on which nothing can be locked."""

    def flock(file, operation):
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", flock)


def test_a_file_system_without_locks_is_told_and_worked_on(without_locks, tmp_path, capsys):
    with whole_folder(tmp_path / "made", IDENTITY) as folder:
        (folder / "file").touch()
    assert (tmp_path / "made" / "file").exists()
    with alone(tmp_path / "other"):
        pass
    said = capsys.readouterr().err
    assert said.startswith(f"{tmp_path}: has no locks (")
    assert said.count("\n") == 1


def test_so_is_a_lease_of_a_gpu(without_locks, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(devices, "visible", lambda environment: ["0"])
    with devices.leased({}, tmp_path / "leases") as device:
        assert device == "0"
    assert f"{tmp_path / 'leases'}: has no locks (" in capsys.readouterr().err


def test_a_lock_that_is_held_is_no_such_case(tmp_path):
    held = locked(tmp_path / "lock")
    with pytest.raises(Timeout):
        locked(tmp_path / "lock")
    held.release()
    locked(tmp_path / "lock").release()
    made = tmp_path / "made"
    with alone(made), pytest.raises(UserError, match="another process is making it"):
        whole_folder(made, IDENTITY).__enter__()


def test_a_mount_point_is_refused_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MOUNTS", tmp_path / "of no Linux")
    monkeypatch.setattr(Path, "is_mount", lambda path: path == tmp_path / "mounted")
    (tmp_path / "mounted").mkdir()
    with pytest.raises(UserError, match="mounted: is a mount point"):
        whole_folder(tmp_path / "mounted", IDENTITY).__enter__()


def bound(tmp_path, monkeypatch, made):
    """What Linux says where something of the same disk is bound to a path."""
    text = os.fsencode(made).replace(b" ", rb"\040").replace(b"\xe9", rb"\351")
    (tmp_path / "mounts").write_bytes(b"36 35 8:1 /src " + text + b" rw - ext4 /dev/sda1 rw\n")
    monkeypatch.setattr(files, "MOUNTS", tmp_path / "mounts")


def test_so_is_a_folder_that_is_bound_to_another_of_the_same_disk(tmp_path, monkeypatch):
    made = tmp_path / os.fsdecode(b"a caf\xe9")
    made.mkdir()
    (tmp_path / "link").symlink_to(made)
    bound(tmp_path, monkeypatch, made)
    for path in (made, tmp_path / "link"):
        with pytest.raises(UserError, match="is a mount point"):
            check_replaceable(path)
    check_replaceable(tmp_path / "other")


def test_a_file_that_is_bound_to_another_is_written_itself(tmp_path, monkeypatch):
    made = tmp_path / "made.csv"
    made.write_text("before")
    bound(tmp_path, monkeypatch, made)
    before = made.stat().st_ino
    with whole_file(made) as path:
        path.write_text("after")
    assert (made.read_text(), made.stat().st_ino) == ("after", before)


def test_a_pipe_or_device_is_written_itself(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    (tmp_path / "device").symlink_to(os.devnull)
    for name in ("pipe", "device"):
        with whole_file(tmp_path / name) as path:
            path.write_text("a,b\n")
    assert os.read(reader, 100) == b"a,b\n"
    os.close(reader)
    assert (tmp_path / "pipe").is_fifo()
    assert (tmp_path / "device").is_char_device()


def test_a_link_stays_and_leads_to_the_file_that_is_made(tmp_path):
    link, made = tmp_path / "link.csv", tmp_path / "far" / "made.csv"
    link.symlink_to(made)
    for text in ("once", "again"):
        with whole_file(link) as path:
            assert path.parent == made.parent
            path.write_text(text)
        assert link.is_symlink()
        assert made.read_text() == text


def test_a_training_is_refused_before_the_work_where_nothing_can_be_written(
    tmp_path, capsys, configs, packed, monkeypatch
):
    def access(path, mode, really=os.access):
        return Path(path) != tmp_path / "read-only" and really(path, mode)

    monkeypatch.setattr(os, "access", access)
    (tmp_path / "read-only").mkdir()
    output, work = tmp_path / "read-only" / "deep" / "made", tmp_path / "work"
    command = ["train", "--scale", "tiny", "--configs", configs, "--experiment", "pit", "--data",
               packed, "--work", work, "--output", output]  # fmt: skip
    assert main([*map(str, command)]) == 2
    assert f"nothing can be written to {tmp_path / 'read-only'}" in capsys.readouterr().err
    assert not work.exists()
