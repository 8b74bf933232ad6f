"""The wheel, in an environment of its own, far from any clone."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
import soundfile
from repositories import REPOSITORY

pytestmark = pytest.mark.slow

SMALL = [  # of `smoke`
    "data.sounds.clips_per_family=4", "data.recipe.examples={train: 8, validation: 4, eval: 4}",
    "separator.unet.channels=[8, 8]", "training.steps=2", "training.batch_size=2",
    "training.validate_every=2", "evaluation.resamples=50",
]  # fmt: skip


@pytest.fixture(scope="module")
def call(tmp_path_factory):
    """Run a program of the environment, in a folder without a clone around it."""
    folder = tmp_path_factory.mktemp("package")
    wheel = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder]
    subprocess.run([*wheel, REPOSITORY], check=True)
    subprocess.run([sys.executable, "-m", "venv", folder / "env"], check=True)
    install = [folder / "env" / "bin" / "pip", "install", "--quiet", "--no-deps"]
    subprocess.run([*install, *folder.glob("*.whl")], check=True)
    # What it depends on is that of this environment; a .pth does not see that one's editable apit.
    (site,) = (folder / "env").glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    work = folder / "elsewhere"
    work.mkdir()
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}

    def run(program, *arguments):
        done = subprocess.run(
            [folder / "env" / "bin" / program, *arguments],
            cwd=work, env=environment, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    run.folder = work
    return run


def test_it_is_the_wheel_that_runs(call):
    where = Path(call("python", "-c", "import apit; print(apit.__file__)").strip())
    assert where.is_relative_to(call.folder.parent / "env")
    assert (where.parent / "py.typed").exists()
    said = call("python", "-c", "from apit import *; print(LogMSE, load, discriminator)")
    assert "apit.losses" in said


def test_what_is_shipped_trains_separates_scores_and_reports(call):
    scale = ["--scale", "smoke", *(word for one in SMALL for word in ("--set", one))]
    packed = ["--data", "packed"]
    call("apit", "bank", *scale, "--output", "bank")
    call("apit", "mix", *scale, "--bank", "bank", "--output", "mixtures")
    call("apit", "pack", "mixtures", "--output", "packed")
    call("apit", "train", *scale, *packed, "--experiment", "ctx-wave-i3-m", "--output", "run")
    soundfile.write(call.folder / "street.wav", np.random.default_rng(0).normal(0, 0.1, 9000), 8000)
    call("apit", "separate", "street.wav", "--model", "run", "--output", "separated", "--silent")
    assert len([*call.folder.glob("separated/street/*.wav")]) == 4
    call("apit", "evaluate", *scale, *packed, "--run", "run", "--output", "scores",
         "--estimates", "estimates")  # fmt: skip
    (listed,) = call.folder.glob("mixtures/eval_example_list.txt")
    call("apit", "score", "--references", listed, "--estimates", "estimates",
         "--output", "scores.csv")  # fmt: skip
    assert (call.folder / "scores.summary.json").exists()
    call("apit", "tables", *scale, "--scores", "scores", "--runs", "run", "--output", "tables")
    call("apit", "report", *scale, "--tables", "tables", "--runs", "run", "--output", "report.pdf")
    assert (call.folder / "report.pdf").read_bytes().startswith(b"%PDF")
    assert "/env/lib/" in (call.folder / "origin.json").read_text()


def test_configurations_of_ones_own_take_their_place(call):
    shipped = call("python", "-c", "import apit.layers; print(apit.layers.CONFIGS)").strip()
    own = shutil.copytree(shipped, call.folder / "own")
    (own / "mine.yaml").write_text("like: smoke\nexperiments: [ctx-wave-i0-m, ctx-wave-i3-m]\n")
    assert "I-replacement" in call("apit", "plan", "--scale", "mine", "--configs", own)
