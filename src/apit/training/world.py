"""Several processes that train one run together, a part of every batch each (`torchrun`)."""

import os
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, distributed, nn


class World:
    """What processes agree on. A process alone is a world of one, and every method is trivial.

    Gradients are averaged in one message for each network, after its backward pass: what
    DistributedDataParallel does, for networks that run forward several times a step.
    """

    def __init__(self, device: torch.device) -> None:
        """Join the other processes, if `torchrun` started this one with others."""
        self.rank = int(os.environ.get("RANK", "0"))
        self.size = int(os.environ.get("WORLD_SIZE", "1"))
        self.device = device
        if self.size > 1 and not distributed.is_initialized():
            distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")

    @property
    def is_main(self) -> bool:
        """Whether this process writes for all."""
        return self.rank == 0

    def average_gradients(self, weights: Iterable[nn.Parameter]) -> None:
        """Replace gradients by their means over all processes."""
        if self.size == 1:
            return
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        flat = self.mean(torch.cat([gradient.flatten() for gradient in gradients]))
        parts = torch.split(flat, [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def mean(self, values: Tensor) -> Tensor:
        """Mean over processes."""
        return self.sum(values) / self.size

    def sum(self, values: Tensor) -> Tensor:
        """Sum over processes."""
        if self.size > 1:
            values = values.detach().clone()
            distributed.all_reduce(values)
        return values

    def any(self, flag: bool) -> bool:
        """Whether it is true in any process."""
        if self.size == 1:
            return flag
        return bool(self.sum(torch.tensor(float(flag), device=self.device)) > 0)

    def from_main(self, value: Any) -> Any:
        """The main process's object, whatever it is; `value` counts there alone."""
        if self.size == 1:
            return value
        shared = [value]
        distributed.broadcast_object_list(shared, 0, device=self.device)
        return shared[0]
