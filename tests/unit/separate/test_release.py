import json
import subprocess
import tarfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import apit
from apit.cli import main
from apit.models.separators import make_separator


@pytest.fixture
def runs(tiny, tmp_path):
    """Four runs: weights of the seed, and what validation said."""
    folders = []
    values = {
        ("pit", 0): 5.0,
        ("pit", 1): 6.0,
        ("ctx-wave-i3-m", 0): 4.0,
        ("pit-random", 0): 9.0,
    }
    for (name, seed), value in values.items():
        run = tiny(name, seed=seed)
        torch.manual_seed(seed)
        folder = tmp_path / "runs" / f"{name}-s{seed}"
        folder.mkdir(parents=True)
        separator = make_separator(run.separator, run.stft, run.audio)
        save_file(separator.state_dict(), folder / "model.safetensors")
        record = {"run": run.model_dump(mode="json"), "validation": {"si_snri_all": value}}
        (folder / "record.json").write_text(json.dumps(record))
        folders.append(folder)
    return folders


def test_the_best_two_are_packed_and_separate_as_before(runs, tmp_path, capsys):
    for name in ("one.tar", "other.tar"):
        assert main(["release", "--runs", *map(str, runs), "--output", str(tmp_path / name)]) == 0
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "other.tar").read_bytes()
    assert "pit-s1, ctx-wave-i3-m-s0; sha256 " in capsys.readouterr().out
    checked = subprocess.run(["sha256sum", "--check", "one.tar.sha256"], cwd=tmp_path)
    assert checked.returncode == 0
    with tarfile.open(tmp_path / "one.tar") as tar:
        tar.extractall(tmp_path / "released", filter="data")
    checked = subprocess.run(["sha256sum", "--check", "SHA256SUMS"], cwd=tmp_path / "released")
    assert checked.returncode == 0
    sound = np.sin(np.arange(8000) / 7)
    np.testing.assert_array_equal(
        apit.load(tmp_path / "released/pit-s1").separate(sound, 8000, silent=True),
        apit.load(runs[1]).separate(sound, 8000, silent=True),
    )


def test_weights_that_are_not_there_are_named(runs, tmp_path, capsys):
    (runs[1] / "model.safetensors").unlink()
    assert main(["release", "--runs", *map(str, runs), "--output", str(tmp_path / "one.tar")]) == 2
    assert "pit-s1/model.safetensors: the weights are not here" in capsys.readouterr().err
    assert not (tmp_path / "one.tar").exists()
