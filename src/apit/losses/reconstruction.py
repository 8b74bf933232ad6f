"""How far estimates are from references, and permutation invariant training (PIT) with it.

A reconstruction loss is any function of (estimates, references, mixture) [..., time] that gives
one value for each pair [...]; leading axes broadcast. Smaller is better.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from apit.config import LogMSE as LogMSEConfig
from apit.errors import UserError
from apit.losses.permutation import SILENT_RMS, assign, energy, reorder, squared_distances
from apit.own import imported, is_own

Reconstruction = Callable[[Tensor, Tensor, Tensor], Tensor]

STABILISER = 1e-8


def is_silent(references: Tensor) -> Tensor:
    """Whether targets' RMS lies below SILENT_RMS, [..., time] → bool [...]."""
    return (energy(references) / references.shape[-1]).sqrt() < SILENT_RMS


def _decibels(power: Tensor) -> Tensor:
    return 10 * torch.log10(STABILISER + power)


@dataclass(frozen=True)
class LogMSE:
    """Thresholded log-MSE of the FUSS baseline, in dB, with sums over samples.

    Active target: 10 log10(1e-8 + ‖s − ŝ‖² + τ_a ‖s‖²). Silent target: 10 log10(1e-8 + ‖ŝ‖² +
    τ_s ‖m‖²). `search` says what P* minimises: the loss, or log-MSE without τ. [fuss]
    """

    active_threshold_db: float  # τ_a
    silent_threshold_db: float  # τ_s
    search: Literal["loss", "unthresholded"] = "loss"

    def __call__(self, estimates: Tensor, references: Tensor, mixture: Tensor) -> Tensor:
        """[..., time] each → dB [...]."""
        return _decibels(squared_error(estimates, references) + self._floor(references, mixture))

    def costs(self, estimates: Tensor, references: Tensor, mixture: Tensor) -> Tensor:
        """Approximate costs of all pairs [batch, estimate, reference], to choose with."""
        distances = squared_distances(estimates, references)
        if self.search == "unthresholded":
            return _decibels(distances)
        return _decibels(distances + self._floor(references, mixture[:, None])[:, None])

    def _floor(self, references: Tensor, mixture: Tensor) -> Tensor:
        """What keeps the loss from rewarding errors nobody hears: τ_a ‖s‖² or τ_s ‖m‖²."""
        active = 10 ** (self.active_threshold_db / 10) * energy(references)
        silent = 10 ** (self.silent_threshold_db / 10) * energy(mixture)
        return torch.where(is_silent(references), silent, active)


class _SquaredError(torch.autograd.Function):
    """‖ŝ − s‖² and its gradient 2 (ŝ − s) in one pass each, where autograd takes several."""

    @staticmethod
    def forward(ctx: Any, estimates: Tensor, references: Tensor) -> Tensor:
        difference = estimates - references
        ctx.save_for_backward(difference)
        return energy(difference)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (difference,) = ctx.saved_tensors
        return difference * (2 * gradient)[..., None], None


def squared_error(estimates: Tensor, references: Tensor) -> Tensor:
    """‖ŝ − s‖² [..., time] → [...]; both of one shape, gradients for the estimates alone."""
    if estimates.shape != references.shape or references.requires_grad:
        return (estimates - references).square().sum(-1)
    squared: Tensor = _SquaredError.apply(estimates, references)  # type: ignore[no-untyped-call]
    return squared


@dataclass(frozen=True)
class NegativeSISNR:
    """Negative SI-SNR without mean removal for active targets, in dB; log-MSE for silent ones.

    `silent` is that log-MSE.
    """

    silent: LogMSE

    def __call__(self, estimates: Tensor, references: Tensor, mixture: Tensor) -> Tensor:
        """[..., time] each → dB [...]."""
        energy = references.square().sum(-1, keepdim=True)
        scale = (estimates * references).sum(-1, keepdim=True) / (energy + STABILISER)
        target = scale * references
        error = (estimates - target).square().sum(-1)
        active = _decibels(error) - _decibels(target.square().sum(-1))
        silent = self.silent(estimates, references, mixture)
        return torch.where(is_silent(references), silent, active)


def make_reconstruction(name: str, config: LogMSEConfig) -> Reconstruction:
    """The reconstruction loss called `log_mse`, `si_snr` or `package.module:function`.

    `none` is log-MSE, too: it is no loss then, but P* of waveforms is still its own.
    """
    log_mse = LogMSE(**config.model_dump())
    if name in ("log_mse", "none"):
        return log_mse
    if name == "si_snr":
        return NegativeSISNR(log_mse)
    if not is_own(name):
        raise UserError(
            f"reconstruction: {name!r} is none of log_mse, si_snr, none and package.module:function"
        )
    loss: Reconstruction = imported("reconstruction", name)
    return loss


def best_permutation(
    reconstruction: Reconstruction, estimates: Tensor, references: Tensor, mixture: Tensor
) -> Tensor:
    """P* of a reconstruction loss: which estimate belongs to which reference [batch, source].

    Estimates and references [batch, source, time], mixture [batch, time]. Without gradient. Raises
    UserError where the loss gives no values [batch, estimate, reference].
    """
    with torch.no_grad():
        if isinstance(reconstruction, LogMSE):
            return assign(reconstruction.costs(estimates, references, mixture))
        costs = reconstruction(estimates[:, :, None], references[:, None], mixture[:, None, None])
        _check_shape(costs, (*estimates.shape[:2], references.shape[1]))
        return assign(costs)


def pit_loss(
    reconstruction: Reconstruction,
    estimates: Tensor,
    references: Tensor,
    mixture: Tensor,
    permutation: Tensor,
) -> Tensor:
    """L_PIT for a permutation, the mean over slots and batch; the chosen pairs exactly. [Eq. 1]

    Estimates and references [batch, source, time], mixture [batch, time], and the permutation
    [batch, source] that `best_permutation` gives → []. Raises UserError where the loss gives no
    values [batch, source].
    """
    # References are brought into the estimates' order: no gradient has to pass through a gather.
    ordered = reorder(references, permutation.argsort(-1))
    pairs = reconstruction(estimates, ordered, mixture[:, None])
    _check_shape(pairs, references.shape[:2])
    return pairs.mean()


def _check_shape(values: object, shape: tuple[int, ...]) -> None:
    if not isinstance(values, Tensor):
        raise UserError(f"reconstruction: gave {type(values).__name__}, and a tensor was due")
    if tuple(values.shape) != tuple(shape):
        raise UserError(
            f"reconstruction: gave values of shape {tuple(values.shape)} where "
            f"{tuple(shape)} was due: reduce the last axis (time) only; let the others broadcast"
        )
