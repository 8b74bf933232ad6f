import json
import os
import socket
import subprocess
import sys

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from apit.data.batches import Prefetched, RandomCrops
from apit.data.examples import open_examples
from apit.errors import UserError
from apit.provenance import array_generator
from apit.training.train import train


def test_the_parts_of_a_batch_make_up_the_batch(tiny, mixtures):
    examples = open_examples(mixtures, "train", tiny("pit").audio)

    def crops(share):
        return RandomCrops(examples, 3200, 4, array_generator(0, "data"), share)

    whole, first, second = crops((0, 1)), crops((0, 2)), crops((1, 2))
    for _ in range(5):
        batch, parts = next(whole), [next(first), next(second)]
        assert torch.equal(batch.references, torch.cat([part.references for part in parts]))
        assert batch.names == parts[0].names + parts[1].names
    with pytest.raises(UserError, match="cannot be shared out among 3 processes"):
        crops((0, 3))


def test_what_is_read_ahead_does_not_count(tiny, mixtures):
    examples = open_examples(mixtures, "train", tiny("pit").audio)

    def crops():
        return RandomCrops(examples, 3200, 2, array_generator(0, "data"))

    plain, ahead = crops(), Prefetched(crops())
    for _ in range(8):
        assert ahead.state_dict() == plain.state_dict()
        assert torch.equal(next(ahead).references, next(plain).references)
    later = Prefetched(crops())
    later.load_state_dict(ahead.state_dict())
    assert next(later).names == next(plain).names


def left(output):
    """History, weights and record of a finished run."""
    record = json.loads((output / "record.json").read_text())
    return pd.read_csv(output / "history.csv"), load_file(output / "model.safetensors"), record


def test_two_processes_take_the_steps_of_one(tiny, configs, mixtures, tmp_path):
    settings = [f"training.{s}" for s in ("batch_size=4", "steps=6", "validate_every=3")]
    train(tiny("pit-six", *settings), mixtures, tmp_path / "one")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "apit", "train", "--scale", "tiny", "--experiment", "pit-six"]
    command += ["--configs", configs, "--data", mixtures, "--output", tmp_path / "two"]
    command += [f"--set={setting}" for setting in settings]
    told = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    processes = [  # told of each other as `torchrun` does it
        subprocess.Popen(command, env=os.environ | told | {"RANK": rank}, stderr=subprocess.PIPE)
        for rank in ("0", "1")
    ]
    said = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    one, two = left(tmp_path / "one"), left(tmp_path / "two")
    assert (one[2]["processes"], two[2]["processes"]) == (1, 2)
    for column in one[0].columns:
        if column.startswith(("loss/", "gradient/", "validation/")):
            assert two[0][column].to_numpy() == pytest.approx(
                one[0][column].to_numpy(), rel=2e-3, abs=1e-4, nan_ok=True
            ), column
    for name, weight in one[1].items():
        # Adam takes a step of 5e-4 for the least of gradients, either way.
        torch.testing.assert_close(two[1][name], weight, atol=1.5e-3, rtol=1e-3)
