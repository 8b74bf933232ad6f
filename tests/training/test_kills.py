"""Training processes that are stopped and killed for good: the same bits in the end."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_checkpoint import EXPERIMENT, same_bits


def command(configs, mixtures, output):
    settings = ("training.steps=100", "training.validate_every=7", "training.log_every=2",
                "training.average_decay=0.9")  # fmt: skip
    return [
        *(sys.executable, "-m", "apit", "train", "--scale", "tiny", "--experiment", EXPERIMENT),
        *("--configs", str(configs), "--data", str(mixtures), "--output", str(output)),
        *("--checkpoint-every", "0"),
        *(f"--set={setting}" for setting in settings),
    ]


def started(configs, mixtures, output):
    arguments = command(configs, mixtures, output)
    return subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True)


def test_sigterm_ends_a_training_process_with_a_checkpoint(configs, mixtures, tmp_path):
    output = tmp_path / "run"
    process = started(configs, mixtures, output)
    while not list(tmp_path.glob("run.work/*.pt")) and process.poll() is None:
        time.sleep(0.01)
    process.terminate()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert "the same command goes on from there" in said
    assert not output.exists()


# What a process does before it trains, to be killed in the middle of a phase: at its n-th call of
# a function, which for files leaves half of what was to be written.
KILLER = """
import os, signal, sys
from pathlib import Path
from apit import cli
from apit.data.batches import RandomCrops
from apit.training import loop
from apit.training.step import Training
phase, moment = sys.argv[1], int(sys.argv[2])
calls = []

def killing(usual, half=None):
    def call(*arguments, **options):
        calls.append(1)
        if len(calls) == moment:
            if half:
                half(*arguments)
            os.kill(os.getpid(), signal.SIGKILL)
        return usual(*arguments, **options)
    return call

def half(path, data):
    with open(path, "wb") as file:
        file.write(data[: len(data) // 2])

if phase == "data":
    RandomCrops.__next__ = killing(RandomCrops.__next__)
elif phase == "step":
    Training._separator_loss = killing(Training._separator_loss)
elif phase == "checkpoint":
    Path.write_bytes = killing(Path.write_bytes, half)
elif phase == "validation":
    loop.score = killing(loop.score)
elif phase == "export":
    loop.packed = killing(loop.packed)
    loop.pd.DataFrame.to_csv = killing(loop.pd.DataFrame.to_csv)
sys.exit(cli.main(sys.argv[3:]))
"""
KILLS = [
    *(("data", moment) for moment in (1, 3, 8, 13)),
    *(("step", moment) for moment in (1, 2, 7, 11)),
    *(("checkpoint", moment) for moment in (1, 2, 5, 9)),
    *(("validation", moment) for moment in (1, 2, 3, 4)),
    *(("export", moment) for moment in (1, 2, 1, 2)),
]


@pytest.mark.slow
def test_twenty_kills_in_every_phase_change_no_bit(configs, mixtures, tmp_path):
    undisturbed, output = tmp_path / "undisturbed", tmp_path / "run"
    subprocess.run(command(configs, mixtures, undisturbed), check=True, capture_output=True)
    resumed = 0
    for phase, moment in KILLS:
        arguments = command(configs, mixtures, output)[3:]  # after python -m apit
        ended = subprocess.run(
            [sys.executable, "-c", KILLER, phase, str(moment), *arguments],
            capture_output=True,
            text=True,
        )
        assert ended.returncode == -signal.SIGKILL, (phase, moment, ended.stderr)
        resumed += "goes on after step" in ended.stderr
        assert not output.exists()
    subprocess.run(command(configs, mixtures, output), check=True, capture_output=True)
    same_bits(output, undisturbed)
    assert resumed >= len(KILLS) - 4  # those of the first steps had no checkpoint yet
    for folder in (undisturbed, output):
        subprocess.run(
            [sys.executable, "-m", "apit", "evaluate", "--run", str(folder), "--data", mixtures,
             "--configs", configs, "--output", f"{folder}.csv", "--jobs", "1"],
            check=True,
            capture_output=True,
        )  # fmt: skip
    assert Path(f"{output}.csv").read_bytes() == Path(f"{undisturbed}.csv").read_bytes()
