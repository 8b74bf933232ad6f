import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from apit.data.batches import Prefetched, RandomCrops
from apit.data.examples import open_examples
from apit.errors import UserError
from apit.provenance import array_generator


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


def trained(configs, mixtures, output, *launcher):
    settings = ("batch_size=4", "steps=6", "validate_every=3", "log_every=1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        *(part.format(port=port) for part in launcher),
        *("-m", "apit", "train", "--scale", "tiny", "--experiment", "multi-all-i1"),
        *("--configs", str(configs), "--data", str(mixtures), "--output", str(output)),
        *(f"--set=training.{setting}" for setting in settings),
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    record = json.loads((output / "record.json").read_text())
    return pd.read_csv(output / "history.csv"), load_file(output / "model.safetensors"), record


def test_two_processes_take_the_steps_of_one(configs, mixtures, tmp_path):
    one = trained(configs, mixtures, tmp_path / "one", sys.executable)
    torchrun = str(Path(sys.executable).parent / "torchrun")
    two = trained(configs, mixtures, tmp_path / "two", torchrun, "--nproc-per-node", "2",
                  "--master-port", "{port}")  # fmt: skip
    assert (one[2]["processes"], two[2]["processes"]) == (1, 2)
    for column in one[0].columns:
        if column.startswith(("loss/", "gradient/", "validation/")):
            assert two[0][column].to_numpy() == pytest.approx(
                one[0][column].to_numpy(), rel=2e-3, abs=1e-4, nan_ok=True
            ), column
    for name, weight in one[1].items():
        # Adam takes a step of 5e-4 for the least of gradients, either way.
        torch.testing.assert_close(two[1][name], weight, atol=1.5e-3, rtol=1e-3)
