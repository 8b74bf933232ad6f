"""Training processes that are stopped and killed for good: the same bits in the end."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from folders import same_bits
from forks import forked, killed_at

from apit.cli import main
from apit.data.batches import RandomCrops
from apit.training import step, train, validation

EXPERIMENT = "pit-six"  # every moving part there is


def command(configs, mixtures, output, experiment=EXPERIMENT, *more):
    settings = ("training.steps=100", "training.validate_every=7", "training.log_every=2",
                "training.ema_decay=0.9")  # fmt: skip
    return [
        *("train", "--scale", "tiny", "--experiment", experiment),
        *("--configs", str(configs), "--data", str(mixtures), "--output", str(output)),
        *("--checkpoint-every", "0"),
        *(f"--set={setting}" for setting in settings),
        *map(str, more),
    ]


def started(configs, mixtures, output):
    arguments = [sys.executable, "-m", "apit", *command(configs, mixtures, output)]
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


def half(path, data):
    with open(path, "wb") as file:
        file.write(data[: len(data) // 2])


# What is killed in the middle of each phase: at its n-th call, which for files leaves half of what
# was to be written.
PHASES = {
    "data": [(RandomCrops, "__next__")],
    "step": [(step, "adversarial_loss")],
    "checkpoint": [(Path, "write_bytes", half)],
    "validation": [(validation.si_snr, "standard")],
    "export": [(train, "packed"), (train.fuss, "sounds")],
}
KILLS = [
    *(("data", moment) for moment in (1, 3, 8, 13)),
    *(("step", moment) for moment in (1, 2, 7, 11)),
    *(("checkpoint", moment) for moment in (1, 2, 5, 9)),
    *(("validation", moment) for moment in (1, 2, 3, 4)),
    *(("export", moment) for moment in (1, 2, 1, 2)),
]


def resumed_after(kills, said, output, arguments):
    """How many of a command's processes, each killed as `kills` says, went on from a checkpoint."""
    resumed = 0
    for phase, moment in kills:

        def killed(phase=phase, moment=moment):
            calls = []
            for module, name, *leaving in PHASES[phase]:
                usual = getattr(module, name)
                setattr(module, name, killed_at(moment, usual, *leaving, calls=calls))
            return main(arguments)

        said.unlink(missing_ok=True)
        assert forked(killed, said) == -signal.SIGKILL, (phase, moment, said.read_text())
        resumed += "goes on after step" in said.read_text()
        assert not output.exists()
    return resumed


@pytest.mark.slow
def test_kills_of_a_fork_change_no_bit(configs, mixtures, tmp_path):
    parent, undisturbed, output = (tmp_path / name for name in ("pit", "undisturbed", "run"))
    assert main(command(configs, mixtures, parent, "pit")) == 0

    def fork(output):
        more = ("--start", parent, "--set=experiment.warm_up=12", "--set=training.steps=30")
        return command(configs, mixtures, output, "fork-pit-six", *more)

    assert main(fork(undisturbed)) == 0
    kills = [("data", 1), ("data", 4), ("checkpoint", 5), ("step", 1), ("step", 3),
             ("validation", 2), ("checkpoint", 9), ("export", 2)]  # fmt: skip
    assert resumed_after(kills, tmp_path / "said", output, fork(output)) == len(kills) - 2
    assert main(fork(output)) == 0
    same_bits(output, undisturbed)


@pytest.mark.slow
def test_twenty_kills_in_every_phase_change_no_bit(configs, mixtures, tmp_path):
    undisturbed, output = tmp_path / "undisturbed", tmp_path / "run"
    arguments = command(configs, mixtures, output)
    assert main(command(configs, mixtures, undisturbed)) == 0
    resumed = resumed_after(KILLS, tmp_path / "said", output, arguments)
    assert main(arguments) == 0
    same_bits(output, undisturbed)
    assert resumed >= len(KILLS) - 4  # those of the first steps had no checkpoint yet
    for folder in (undisturbed, output):
        evaluate = ["evaluate", "--run", folder, "--data", mixtures, "--configs", configs]
        assert main([*map(str, evaluate), "--output", f"{folder}-scores", "--jobs", "1"]) == 0
    ours, theirs = (Path(f"{folder}-scores", "scores.csv") for folder in (output, undisturbed))
    assert ours.read_bytes() == theirs.read_bytes()
