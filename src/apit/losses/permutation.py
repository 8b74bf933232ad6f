"""Which estimate belongs to which reference: inner products → costs → assignment → reordering.

A cost matrix is [batch, estimate, reference]: its rows are estimates.
"""

from functools import cache
from itertools import permutations
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

SILENT_RMS = 1e-8  # below which a target is silent


def squared_distances(estimates: Tensor, references: Tensor) -> Tensor:
    """‖ŝ_i − s_j‖² of all pairs [batch, estimate, reference], by one inner-product matrix.

    Estimates and references are [batch, source, time]. In float32 the result is off by decibels
    where it lies more than 40 dB below the signals: good for choosing, never for the loss itself.
    """
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")  # without TF32, as networks may use on a GPU
    cross = estimates @ references.mT
    torch.set_float32_matmul_precision(precision)
    total = energy(estimates)[..., None] + energy(references)[..., None, :]
    return (total - 2 * cross).clamp_min(0)


def energy(signals: Tensor) -> Tensor:
    """‖x‖² [..., time] → [...], without a squared copy of the signals."""
    norm: Tensor = torch.linalg.vector_norm(signals, dim=-1)
    return norm.square()


@cache
def _orders(sources: int) -> Tensor:
    """All permutations in lexicographic order [permutation, reference]."""
    return torch.tensor(list(permutations(range(sources))))


def assign(costs: Tensor) -> Tensor:
    """Cheapest one-to-one assignment of estimates to references.

    Costs [batch, estimate, reference] → permutation [batch, reference], which says for every
    reference the number of its estimate. Ties go to the lexicographically first permutation: costs
    are sorted before they are summed, so that equal terms give equal sums in any order.
    """
    orders = _orders(costs.shape[-1]).to(costs.device)
    references = torch.arange(costs.shape[-1], device=costs.device)
    totals = costs[:, orders, references].sort(-1).values.sum(-1)  # [batch, permutation]
    return orders[totals.argmin(-1)]


def absolute_distances(estimates: Tensor, references: Tensor) -> Tensor:
    """‖x̂_i − x_j‖₁ of all pairs [batch, estimate, reference], of signals [batch, source, …].

    What P* minimises for magnitudes and masks [paper]; without gradient.
    """
    with torch.no_grad():
        columns = [
            (estimates - references[:, [j]]).abs_().flatten(2).sum(-1)
            for j in range(references.shape[1])
        ]
        return torch.stack(columns, -1)


def reorder(estimates: Tensor, permutation: Tensor) -> Tensor:
    """Put estimates [batch, source, …] into the order of the references they were assigned to."""
    reordered: Tensor = _Reorder.apply(estimates, permutation)  # type: ignore[no-untyped-call]
    return reordered


class _Reorder(torch.autograd.Function):
    """Its gradient is a reordering, too: autograd would add up what never coincides."""

    @staticmethod
    def forward(ctx: Any, estimates: Tensor, permutation: Tensor) -> Tensor:
        ctx.save_for_backward(permutation)
        return _taken(estimates, permutation)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (permutation,) = ctx.saved_tensors
        return _taken(gradient, permutation.argsort(-1)), None


def _taken(signals: Tensor, order: Tensor) -> Tensor:
    rows = torch.arange(len(signals), device=signals.device)[:, None]
    return signals[rows, order]
