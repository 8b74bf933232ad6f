"""SI-SNR in float64: the paper's (`standard`), and the public FUSS evaluator's (`score`)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from apit.losses.permutation import SILENT_RMS, assign, energy

BLOCK = 16_000  # samples
ENERGY_FLOOR = 1e-16
STABILISER = 1e-8  # of the FUSS evaluator
EPSILON = 1e-5  # of the paper
BURIED = 1e-4  # of a target's power: an estimate 40 dB below it is as good as none
ACTIVE_ESTIMATE = 0.01  # of the quietest active target's power: −20 dB


def si_snr(*, reference: Tensor, estimate: Tensor) -> Tensor:
    """Scale-invariant SNR in dB, without mean removal: [..., time] → float64 [...].

    10 log10((c² + 1e-8) / (1 − c² + 1e-8)) with the cosine c; silence on either side gives −80 dB.
    Leading axes broadcast.
    """
    reference, estimate = reference.double(), estimate.double()
    return _decibels((reference * estimate).sum(-1), energy(reference), energy(estimate))


def _decibels(inner: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """SI-SNR of float64 inner products and the energies of both sides.

    In float64, 1 − c² is exact to about 1e-15, next to a stabiliser of 1e-8: the residual, which
    the float32 reference forms near c² = 1, is not needed.
    """
    cosine2 = inner.square() / first.clamp_min(ENERGY_FLOOR) / second.clamp_min(ENERGY_FLOOR)
    rest = (1 - cosine2).clamp_min(0)
    return 10 * torch.log10((cosine2 + STABILISER) / (rest + STABILISER))


def _inner_products(
    references: Tensor, estimates: Tensor, mixture: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Of estimates, then the mixture, with references → [batch, signal, reference], in float64.

    And the energies of references [batch, reference] and of the others [batch, signal]. One float32
    matrix product would be off by up to 0.13 dB. Block by block, since float64 copies of whole
    signals fit into no cache, and moving them costs most of the time.
    """
    batch, slots, samples = references.shape
    signals = 2 * slots + 1
    block = references.new_empty(batch, signals, min(BLOCK, samples), dtype=torch.float64)
    inner = block.new_zeros(batch, signals - slots, slots)
    energies = block.new_zeros(batch, signals)
    for start in range(0, samples, BLOCK):
        time = slice(start, start + BLOCK)
        part = block[..., : min(BLOCK, samples - start)]
        part[:, :slots] = references[..., time]
        part[:, slots:-1] = estimates[..., time]
        part[:, -1] = mixture[..., time]
        inner += part[:, slots:] @ part[:, :slots].mT
        energies += energy(part)
    return inner, energies[:, :slots], energies[:, slots:]


@dataclass(frozen=True)
class _Aligned:
    permutation: Tensor
    """Of estimates: `reorder(estimates, permutation)` is aligned."""
    si_snr: Tensor
    """Of each estimate with its target."""
    si_snr_mixture: Tensor
    """Of the mixture with each target."""
    active: Tensor
    """Bool: the target sounds."""

    @property
    def si_snri(self) -> Tensor:
        """Improvement over the mixture."""
        return self.si_snr - self.si_snr_mixture


def _align(values: Tensor, power: Tensor) -> _Aligned:
    """Align by SI-SNR [batch, estimates and mixture, target]; `power` is that of the targets."""
    permutation = assign(-values[:, :-1])
    chosen = values.gather(1, permutation[:, None]).squeeze(1)
    return _Aligned(permutation, chosen, values[:, -1], power.sqrt() > SILENT_RMS)


@dataclass(frozen=True)
class Scores(_Aligned):
    """Scores of a batch of mixtures, estimates aligned with targets; values in dB.

    All [batch, source], where `active` targets have meaning.
    """

    sounding: Tensor
    """Bool: the estimate exceeds 1 % of the quietest active target's power."""

    @property
    def counted(self) -> Tensor:
        """Bool: pairs that the FUSS evaluator averages, active and sounding."""
        return self.active & self.sounding


def score(*, references: Tensor, estimates: Tensor, mixture: Tensor) -> Scores:
    """Align estimates by best mean SI-SNR over all K slots, silent ones included. [fuss]

    SI-SNR = 10 log10((c² + 1e-8) / (1 − c² + 1e-8)) with the cosine c of target and estimate, as
    the public FUSS evaluator has it; silence on either side gives −80 dB. References and estimates
    [batch, source, time], mixture [batch, time].
    """
    inner, target, other = _inner_products(references, estimates, mixture)
    values = _decibels(inner, other[..., None], target[..., None, :])
    aligned = _align(values, target / references.shape[-1])
    quietest = torch.where(aligned.active, target, torch.inf).amin(-1, keepdim=True)
    sounding = other.gather(1, aligned.permutation) > ACTIVE_ESTIMATE * quietest
    return Scores(**vars(aligned), sounding=sounding)


@dataclass(frozen=True)
class Standard(_Aligned):
    """The paper's scores of a batch of mixtures, estimates aligned with targets; values in dB.

    All [batch, source], where `active` targets have meaning, and [batch] where mixtures are meant.
    """

    buried: Tensor
    """Bool: the target sounds, and its estimate lies 40 dB below it, or more."""

    @property
    def single(self) -> Tensor:
        """SI-SNR_S [batch]: of the first active target, for mixtures of one source."""
        return self._mean(self.si_snr)

    @property
    def improvement(self) -> Tensor:
        """SI-SNR_I [batch]: over the mixture, averaged over the active targets of each mixture."""
        return self._mean(self.si_snri)

    def _mean(self, values: Tensor) -> Tensor:
        return torch.where(self.active, values, 0).sum(-1) / self.active.sum(-1)


def standard(*, references: Tensor, estimates: Tensor, mixture: Tensor) -> Standard:
    """Align estimates by best mean SI-SNR over all K slots, and score them. [paper]

    α = (sᵀŝ + ε) / (‖s‖² + ε), SI-SNR = 10 log10((‖αs‖² + ε) / (‖αs − ŝ‖² + ε)), ε = 1e-5; for
    silent targets, too, which are left out of scores, and not of the alignment [inferred]. A silent
    estimate scores 0 dB. References and estimates [batch, source, time], mixture [batch, time].
    """
    inner, target, other = _inner_products(references, estimates, mixture)
    alpha = (inner + EPSILON) / (target[:, None] + EPSILON)  # [batch, signal, reference]
    scaled = alpha.square() * target[:, None]
    residual = (scaled - 2 * alpha * inner + other[..., None]).clamp_min(0)
    values = 10 * torch.log10((scaled + EPSILON) / (residual + EPSILON))
    aligned = _align(values, target / references.shape[-1])
    buried = other.gather(1, aligned.permutation) <= BURIED * target
    return Standard(**vars(aligned), buried=aligned.active & buried)
