import pytest
import torch

from apit.losses.balance import Balance


def test_without_decay_it_is_each_batches_own_ratio():
    balance = Balance(0.0)
    assert balance(torch.tensor(6.0), torch.tensor(2.0)) == 3
    assert balance(torch.tensor(1.0), torch.tensor(4.0)) == 0.25


def test_with_decay_it_is_a_running_mean_that_settles():
    balance = Balance(0.75)
    assert balance(torch.tensor(2.0), torch.tensor(1.0)) == 2  # the mean starts with the first
    assert balance(torch.tensor(6.0), torch.tensor(1.0)) == 0.75 * 2 + 0.25 * 6
    for _ in range(60):
        found = balance(torch.tensor(5.0), torch.tensor(1.0))
    assert found == pytest.approx(5)


@pytest.mark.parametrize(
    "norms", [(1.0, 0.0), (0.0, 1.0), (float("nan"), 1.0), (1.0, float("inf"))]
)
def test_gradients_that_vanish_or_are_not_finite_change_nothing(norms):
    balance = Balance(0.5)
    balance(torch.tensor(3.0), torch.tensor(1.0))
    assert balance(*map(torch.tensor, norms)) == 3
    assert Balance(0.5)(*map(torch.tensor, norms)) == 1
