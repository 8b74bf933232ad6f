import math
from dataclasses import asdict, replace
from itertools import permutations

import pytest
import torch

from apit.config import LogMSE as Config
from apit.errors import UserError
from apit.losses.permutation import reorder
from apit.losses.reconstruction import (
    LogMSE,
    NegativeSISNR,
    best_permutation,
    make_reconstruction,
    pit_loss,
    squared_error,
)


def permutation_invariant(loss, estimates, references, mixture):
    """L_PIT and P*."""
    permutation = best_permutation(loss, estimates, references, mixture)
    return pit_loss(loss, estimates, references, mixture, permutation), permutation


LOG_MSE = LogMSE(active_threshold_db=-30, silent_threshold_db=-20)


def hand_computed(estimate, reference, mixture):
    """The formula of one pair, in plain Python floats."""
    error = sum((s - e) ** 2 for s, e in zip(reference, estimate, strict=True))
    if math.sqrt(sum(s * s for s in reference) / len(reference)) < 1e-8:
        return 10 * math.log10(1e-8 + error + 0.01 * sum(m * m for m in mixture))
    return 10 * math.log10(1e-8 + error + 0.001 * sum(s * s for s in reference))


def test_log_mse_of_an_active_target():
    # ‖s − ŝ‖² = 1, ‖s‖² = 5: 10 log10(1 + 0.005).
    loss = LOG_MSE(torch.tensor([1.0, 1.0]), torch.tensor([1.0, 2.0]), torch.zeros(2))
    assert loss.item() == pytest.approx(10 * math.log10(1.005), abs=1e-6)


def test_log_mse_of_a_silent_target():
    # ‖ŝ‖² = 2, ‖m‖² = 25: 10 log10(2 + 0.25).
    loss = LOG_MSE(torch.ones(2), torch.zeros(2), torch.tensor([3.0, 4.0]))
    assert loss.item() == pytest.approx(10 * math.log10(2.25), abs=1e-6)


def test_perfect_estimates_stop_at_the_thresholds():
    loss, s = LOG_MSE, torch.tensor([1.0, 2.0])
    assert loss(s, s, s).item() == pytest.approx(10 * math.log10(0.005), abs=1e-5)
    assert loss(0 * s, 0 * s, s).item() == pytest.approx(10 * math.log10(0.05), abs=1e-5)


@pytest.mark.parametrize("silent", [0, 1, 3])
def test_pit_is_the_least_over_all_permutations(generator, silent):
    estimates = torch.randn(3, 4, 20, generator=generator, dtype=torch.float64)
    references = torch.randn(3, 4, 20, generator=generator, dtype=torch.float64)
    references[:, 4 - silent :] = 0
    mixture = references.sum(1)
    expected = sum(
        min(
            sum(hand_computed(e[p[k]], r[k], m) for k in range(4)) / 4
            for p in permutations(range(4))
        )
        for e, r, m in zip(estimates.tolist(), references.tolist(), mixture.tolist(), strict=True)
    )
    found, _ = permutation_invariant(LOG_MSE, estimates, references, mixture)
    assert found.item() == pytest.approx(expected / 3, abs=1e-9)


@pytest.mark.parametrize(
    ("search", "first"), [("loss", [100.0, -3.0]), ("unthresholded", [100.0, 0.0])]
)
def test_the_search_may_be_unthresholded(search, first):
    # ‖s‖² = 1e4 gives floors of 10. In order, errors are 0 and 16: thresholded 10 · 26, else the
    # exact match wins. Exchanged, they are 9 and 1: thresholded 19 · 11, which is less.
    references = torch.tensor([[[100.0, 0.0], [100.0, 1.0]]], dtype=torch.float64)
    estimates = torch.tensor([[[100.0, 0.0], [100.0, -3.0]]], dtype=torch.float64)
    loss = replace(LOG_MSE, search=search)
    _, permutation = permutation_invariant(loss, estimates, references, references.sum(1))
    assert reorder(estimates, permutation)[0, 0].tolist() == first


def test_the_squared_errors_own_backward_is_the_gradient(generator):
    estimates = torch.randn(2, 3, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    references = torch.randn(2, 3, 5, generator=generator, dtype=torch.float64)
    assert torch.autograd.gradcheck(squared_error, (estimates, references))
    assert torch.equal(squared_error(references, references), torch.zeros(2, 3).double())
    pairs = squared_error(estimates[:, :, None], references[:, None])  # broadcasts
    torch.testing.assert_close(pairs.diagonal(dim1=1, dim2=2), squared_error(estimates, references))


@pytest.mark.parametrize("samples", [200, 48_000])
@pytest.mark.parametrize("error", [1.0, 1e-3])  # −60 dB
def test_gradients_equal_those_in_double_precision(generator, error, samples):
    references = torch.randn(2, 4, samples, generator=generator)
    mixture = references.sum(1)
    noise = error * torch.randn(2, 4, samples, generator=generator)
    estimates = references[:, [2, 0, 3, 1]] + noise
    gradients = []
    for dtype in (torch.float32, torch.float64):
        given = estimates.to(dtype, copy=True).requires_grad_()
        loss, _ = permutation_invariant(LOG_MSE, given, references.to(dtype), mixture.to(dtype))
        loss.backward()
        gradients.append(given.grad.double())
    assert (gradients[0] - gradients[1]).norm() < 1e-5 * gradients[1].norm()


def test_negative_si_snr_ignores_gain_and_is_minus_twenty_at_a_tenth():
    reference = torch.tensor([1.0, 0.0])
    estimate = 7 * torch.tensor([1.0, 0.1])
    loss = NegativeSISNR(LOG_MSE)(estimate, reference, reference)
    assert loss.item() == pytest.approx(-20, abs=1e-4)


def test_anything_that_broadcasts_is_a_loss(generator):
    def mean_absolute_error(estimates, references, mixture):
        return (estimates - references).abs().mean(-1)

    references = torch.randn(2, 4, 30, generator=generator)
    found, permutation = permutation_invariant(
        mean_absolute_error, references[:, [3, 1, 0, 2]], references, references.sum(1)
    )
    assert found.item() == 0
    assert torch.equal(reorder(references[:, [3, 1, 0, 2]], permutation), references)


def test_a_loss_that_reduces_too_much_is_told_so(generator):
    x = torch.randn(2, 4, 30, generator=generator)
    with pytest.raises(UserError, match=r"shape \(\) where \(2, 4, 4\) was due"):
        permutation_invariant(lambda e, r, m: (e - r).abs().mean(), x, x, x.sum(1))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mse", "none of log_mse"),
        ("no_such_module:loss", "PYTHONPATH"),
        ("math:loss", "cannot be imported"),
        ("math:pi", "is not a function"),
    ],
)
def test_unknown_losses_are_refused(name, said):
    with pytest.raises(UserError, match=said):
        make_reconstruction(name, Config(**asdict(LOG_MSE)))
