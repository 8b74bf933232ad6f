"""The whole job through a real Slurm on this host, started and stopped here."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import pytest
from repositories import copy_of_the_repository

PROGRAMS = ("munged", "slurmctld", "slurmd", "srun", "sbatch", "squeue")

CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
SlurmUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
MinJobAge=600
GresTypes=gpu
SwitchType=switch/none
MpiDefault=none
AccountingStorageType=accounting_storage/none
SchedulerParameters=sched_interval=1,batch_sched_delay=0
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} RealMemory=8000 Gres=gpu:2 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture
def slurm():
    """A cluster of this host alone, with two files for GPUs; gives the environment to use it."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        pytest.skip(f"Slurm is not installed: no {', '.join(missing)}")
    if os.getuid() != 0:
        pytest.skip("Slurm is started as root here")
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # short, for munge's socket
    folder.chmod(0o755)
    for name in ("state", "spool", "bin"):
        (folder / name).mkdir()
    configuration = folder / "slurm.conf"
    configuration.write_text(
        CONFIGURATION.format(
            host=socket.gethostname().partition(".")[0],
            ports=free_ports(2),
            folder=folder,
            cores=os.cpu_count(),
        )
    )
    devices = [folder / f"gpu{number}" for number in range(2)]
    for device in devices:
        device.touch()
    (folder / "gres.conf").write_text("".join(f"Name=gpu File={d}\n" for d in devices))
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    # The executor's job step drops SLURM_CONF, which this cluster, unlike others, depends on.
    wrapper = folder / "bin" / "srun"
    wrapper.write_text(
        f'#!/bin/sh\nexport SLURM_CONF={configuration}\nexec {shutil.which("srun")} "$@"\n'
    )
    wrapper.chmod(0o755)
    environment = {
        **os.environ,
        "SLURM_CONF": str(configuration),
        "PATH": f"{folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    munge = ["munged", "--force", "--foreground", *(f"--{option}={folder}/munge.{suffix}"
             for option, suffix in (("socket", "sock"), ("key-file", "key"), ("log-file", "log"),
                                    ("pid-file", "pid"), ("seed-file", "seed")))]  # fmt: skip
    daemons = [
        subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for command in (munge, ["slurmctld", "-D"], ["slurmd", "-D"])
    ]
    try:
        deadline = time.monotonic() + 60
        while (
            "idle"
            not in subprocess.run(
                ["sinfo", "-h"], env=environment, capture_output=True, text=True
            ).stdout
        ):
            assert time.monotonic() < deadline, (folder / "slurmctld.log").read_text()
            time.sleep(0.5)
        yield environment
    finally:
        subprocess.run(["scancel", "--user=root"], env=environment, capture_output=True)
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon in daemons:
            daemon.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
def test_the_job_runs_on_slurm_and_a_training_that_is_killed_goes_on(slurm, tmp_path):
    folder = copy_of_the_repository(tmp_path / "repository")
    config = folder / "configs" / "tiny.yaml"
    config.write_text(config.read_text().replace("steps: 4,", "steps: 600,"))
    log = tmp_path / "snakemake.log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [
                *("snakemake", "--profile", "profiles/slurm", "--jobs", "4"),
                *("--slurm-status-command", "squeue", "--slurm-no-account"),
                *("--slurm-init-seconds-before-status-checks", "3", "--set-threads", "mix=2"),
                *("--config", "scale=tiny"),
            ],
            cwd=folder,
            env={**slurm, "PYTHONPATH": str(folder / "src")},
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        written = wait_for_steps(process, log, folder / "logs" / "tiny" / "train")
        subprocess.run(["scancel", job_of("pit-s0", slurm)], env=slurm, check=True)
        assert process.wait(timeout=500) == 0, log.read_text()
    finally:
        process.kill()
    assert "goes on after step" in written.read_text()
    table = pd.read_csv(folder / "results" / "tiny" / "tables" / "ablations.csv")
    assert {"pit", "ctx-stft-i3-m"} <= set(table["experiment"])


def wait_for_steps(process, log, logs):
    """Until the log of the training of `pit` tells of a step; gives that log."""
    deadline = time.monotonic() + 240
    while True:
        for written in logs.glob("pit-s0-*.log"):
            if ": step" in written.read_text():
                return written
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


def job_of(run, environment):
    """Number of the Slurm job that trains a run; the executor writes its rule into the comment."""
    listed = subprocess.run(
        ["squeue", "-h", "-o", "%A %k"], env=environment, capture_output=True, text=True
    ).stdout
    (job,) = (line.split()[0] for line in listed.splitlines() if "train" in line and run in line)
    return job
