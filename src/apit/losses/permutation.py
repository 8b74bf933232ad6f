"""Which estimate belongs to which reference: inner products → costs → assignment → reordering.

A cost matrix is [batch, estimate, reference]: its rows are estimates.
"""

from functools import cache
from itertools import permutations

import torch
from torch import Tensor


def squared_distances(estimates: Tensor, references: Tensor) -> Tensor:
    """‖ŝ_i − s_j‖² of all pairs [batch, estimate, reference], by one inner-product matrix.

    Estimates and references are [batch, source, time]. In float32 the result is off by decibels
    where it lies more than 40 dB below the signals: good for choosing, never for the loss itself.
    """
    cross = estimates @ references.mT
    energy = estimates.square().sum(-1)[..., None] + references.square().sum(-1)[..., None, :]
    return (energy - 2 * cross).clamp_min(0)


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


def reorder(estimates: Tensor, permutation: Tensor) -> Tensor:
    """Put estimates [batch, source, …] into the order of the references they were assigned to."""
    rows = torch.arange(len(estimates), device=estimates.device)[:, None]
    return estimates[rows, permutation]
