from itertools import permutations

import pytest
import torch

from apit.losses.permutation import absolute_distances, assign, reorder, squared_distances


def test_distances_are_those_of_all_pairs(generator):
    estimates = torch.randn(2, 4, 100, generator=generator, dtype=torch.float64)
    references = torch.randn(2, 4, 100, generator=generator, dtype=torch.float64)
    expected = (estimates[:, :, None] - references[:, None]).square().sum(-1)
    torch.testing.assert_close(squared_distances(estimates, references), expected)


def test_distances_never_fall_below_zero_in_single_precision(generator):
    references = 100 * torch.randn(1, 4, 1000, generator=generator)
    assert (squared_distances(references + 1e-5, references) >= 0).all()


def test_absolute_distances_are_those_of_all_pairs(generator):
    estimates = torch.randn(2, 4, 5, 6, generator=generator, dtype=torch.float64)
    references = torch.randn(2, 4, 5, 6, generator=generator, dtype=torch.float64)
    expected = (estimates[:, :, None] - references[:, None]).abs().sum((-2, -1))
    torch.testing.assert_close(absolute_distances(estimates, references), expected)


def test_rows_of_a_cost_matrix_are_estimates():
    # Estimate 2 fits reference 0, estimate 0 reference 1, estimate 1 reference 2: a cycle, whose
    # transpose is another permutation.
    costs = torch.ones(1, 3, 3)
    costs[0, 2, 0] = costs[0, 0, 1] = costs[0, 1, 2] = 0
    assert assign(costs).tolist() == [[2, 0, 1]]


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_every_permutation_is_found_and_undone(order, generator):
    references = torch.randn(1, 4, 50, generator=generator)
    estimates = references[:, list(order)]
    permutation = assign(squared_distances(estimates, references))
    assert torch.equal(reorder(estimates, permutation), references)


def test_assignment_is_the_cheapest_of_all(generator):
    costs = torch.rand(8, 4, 4, generator=generator)
    for cost, found in zip(costs, assign(costs), strict=True):
        totals = {p: sum(cost[p[k], k] for k in range(4)) for p in permutations(range(4))}
        assert tuple(found.tolist()) == min(totals, key=totals.__getitem__)


def test_ties_go_to_the_lexicographically_first_permutation(generator):
    assert assign(torch.zeros(1, 4, 4)).tolist() == [[0, 1, 2, 3]]
    # Silent targets 1, 2 and 3 have equal columns; whatever the costs, sums must tie exactly.
    costs = torch.rand(64, 4, 4, generator=generator)
    costs[:, :, 1:] = costs[:, :, 1:2]
    for permutation in assign(costs).tolist():
        assert permutation[1:] == sorted(permutation[1:])


def test_the_gradient_of_a_reordering_goes_back_where_it_came_from(generator):
    estimates = torch.randn(2, 3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    permutation = torch.tensor([[2, 0, 1], [0, 2, 1]])
    assert torch.equal(reorder(estimates, permutation)[0, 0], estimates[0, 2])
    assert torch.autograd.gradcheck(lambda x: reorder(x, permutation), estimates)
