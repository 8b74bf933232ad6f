import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack

import pytest
import torch

from apit.errors import UserError
from apit.training.devices import leased, visible


@pytest.fixture
def machine(monkeypatch):
    """A machine with two GPUs."""
    for name in ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        (None, ["0", "1"]),
        ("1", ["1"]),
        ("1, 0", ["1", "0"]),
        ("GPU-bb", ["GPU-bb"]),
        ("MIG-8,MIG-9", ["MIG-8", "MIG-9"]),
        ("", []),
        ("-1", []),
        ("0,-1,1", ["0"]),
    ],
)
def test_cuda_visible_devices_is_respected(machine, named, expected):
    assert visible({} if named is None else {"CUDA_VISIBLE_DEVICES": named}) == expected


def test_a_lease_exports_one_device_and_takes_it_back(machine, tmp_path):
    environment = {}
    with leased(environment, tmp_path) as first:
        assert environment == {"CUDA_VISIBLE_DEVICES": "0"}
        with leased({"CUDA_VISIBLE_DEVICES": "0,1"}, tmp_path) as second:
            assert (first, second) == ("0", "1")
    assert environment == {}
    given = {"CUDA_VISIBLE_DEVICES": "1,0"}
    with leased(given, tmp_path):
        assert given["CUDA_VISIBLE_DEVICES"] == "1"
    assert given == {"CUDA_VISIBLE_DEVICES": "1,0"}


def test_devices_are_shared_by_as_many_runs_as_are_allowed_and_evenly(machine, tmp_path):
    taken, two = [], {"APIT_RUNS_PER_GPU": "2"}
    with ExitStack() as leases:
        for _ in range(4):
            taken.append(leases.enter_context(leased(dict(two), tmp_path)))
        assert taken == ["0", "1", "0", "1"]
        fifth = start(tmp_path, "fifth", **two)
        assert fifth.stderr.readline() == "waiting for a GPU: 0, 1 are all taken\n"
    assert fifth.wait(60) == 0
    with pytest.raises(UserError, match="APIT_RUNS_PER_GPU: 'few' is no number of runs"):
        leases.enter_context(leased({"APIT_RUNS_PER_GPU": "few"}, tmp_path))


@pytest.mark.parametrize(
    "assigned",
    [
        {"SLURM_JOB_ID": "7", "CUDA_VISIBLE_DEVICES": "0"},
        {"LOCAL_RANK": "1", "CUDA_VISIBLE_DEVICES": "0,1"},
    ],
)
def test_a_lease_steps_aside_where_a_device_was_assigned(machine, tmp_path, assigned):
    environment = dict(assigned)
    with leased(environment, tmp_path / "locks") as device:
        assert device is None
        assert environment == assigned
    assert not (tmp_path / "locks").exists()


def test_in_a_slurm_job_of_several_devices_each_run_has_one(machine, tmp_path):
    job = {"SLURM_JOB_ID": "7", "CUDA_VISIBLE_DEVICES": "0,1"}
    with leased(dict(job), tmp_path) as first, leased(dict(job), tmp_path) as second:
        assert (first, second) == ("0", "1")


@pytest.mark.parametrize("lacking", ["build", "devices"])
def test_without_a_gpu_nothing_happens(machine, tmp_path, monkeypatch, lacking):
    given = {"CUDA_VISIBLE_DEVICES": "0"} if lacking == "build" else {}
    monkeypatch.setattr(torch.version, "cuda", None if lacking == "build" else "13.0")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    environment = dict(given)
    with leased(environment, tmp_path / "locks") as device:
        assert device is None
        assert environment == given
    assert not (tmp_path / "locks").exists()


def test_a_folder_that_cannot_be_written_is_told(machine, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="set TMPDIR"), leased({}, tmp_path / "file" / "locks"):
        pass


RUN = """
import os, sys, time
from pathlib import Path
from types import SimpleNamespace as Fake
sys.modules["torch"] = Fake(  # which takes seconds to import
    version=Fake(cuda="13.0"), cuda=Fake(device_count=lambda: 2), device=None
)
from apit.training.devices import leased
folder, name, seconds = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
with leased(folder=folder) as device:
    assert os.environ["CUDA_VISIBLE_DEVICES"] == device
    with open(folder / f"{device}.log", "a") as log:
        print("in", name, file=log, flush=True)
        time.sleep(seconds)
        print("out", name, file=log, flush=True)
"""


def start(folder, name, seconds=0.3, **environment):
    return subprocess.Popen(
        [sys.executable, "-c", RUN, str(folder), name, str(seconds)],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )


def test_six_runs_on_two_devices_never_share_one_even_after_kills(machine, tmp_path):
    killed = start(tmp_path, "killed", seconds=60)
    deadline = time.monotonic() + 60
    while not (tmp_path / "0.log").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    runs = [start(tmp_path, f"run{number}") for number in range(6)]
    while not (tmp_path / "1.log").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    said = [run.communicate(timeout=60)[1] for run in runs]
    assert [run.returncode for run in runs] == [0] * 6, said
    assert any("waiting for a GPU: 0, 1 are all taken" in text for text in said)
    lines = {name: (tmp_path / f"{name}.log").read_text().splitlines() for name in ("0", "1")}
    assert lines["0"].pop(0) == "in killed"
    assert sum(map(len, lines.values())) == 12
    for logged in lines.values():
        for entered, left in zip(logged[::2], logged[1::2], strict=True):
            assert (entered.split()[0], left.split()[0]) == ("in", "out")
            assert entered.split()[1] == left.split()[1]
    assert lines["0"], "the device of the killed run was never used again"
