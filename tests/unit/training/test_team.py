import json
import os
import socket
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest
import torch
from forks import forked
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


def trained(tiny, mixtures, output, processes):
    """What so many processes leave, which know of each other as `torchrun` tells them."""
    settings = ("batch_size=4", "steps=6", "validate_every=3", "log_every=1")
    run = tiny("pit-six", *(f"training.{setting}" for setting in settings))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def work(rank):
        os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(processes)}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        train(run, mixtures, output)

    said = output.with_suffix(".log")
    with ThreadPoolExecutor(processes) as side_by_side:
        ends = side_by_side.map(lambda rank: forked(lambda: work(rank), said), range(processes))
        assert list(ends) == [0] * processes, said.read_text()
    record = json.loads((output / "record.json").read_text())
    return pd.read_csv(output / "history.csv"), load_file(output / "model.safetensors"), record


def test_two_processes_take_the_steps_of_one(tiny, mixtures, tmp_path):
    one = trained(tiny, mixtures, tmp_path / "one", 1)
    two = trained(tiny, mixtures, tmp_path / "two", 2)
    assert (one[2]["processes"], two[2]["processes"]) == (1, 2)
    for column in one[0].columns:
        if column.startswith(("loss/", "gradient/", "validation/")):
            assert two[0][column].to_numpy() == pytest.approx(
                one[0][column].to_numpy(), rel=2e-3, abs=1e-4, nan_ok=True
            ), column
    for name, weight in one[1].items():
        # Adam takes a step of 5e-4 for the least of gradients, either way.
        torch.testing.assert_close(two[1][name], weight, atol=1.5e-3, rtol=1e-3)
