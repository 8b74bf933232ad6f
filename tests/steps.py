"""Batches and weights, for tests that take steps of training."""

import torch

from apit.data.examples import open_examples
from apit.data.remixing import training_batches
from apit.training.world import World

CPU = World(torch.device("cpu"))


def batches_of(run, mixtures, count=2):
    stream = training_batches(run, open_examples(mixtures, "train", run.audio), None, CPU.device)
    return [next(stream) for _ in range(count)]


def weights(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)
