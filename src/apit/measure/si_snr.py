"""SI-SNR in float64: the paper's (`standard`), and the public FUSS evaluator's (`score`)."""

from collections.abc import Sequence
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


def _inner_products(groups: Sequence[Tensor], references: int) -> tuple[Tensor, Tensor]:
    """Inner products and energies of signals [batch, signal, time] in several groups, in float64.

    → [batch, other signal, reference], where references are the first signals, and
    [batch, signal]. One float32 matrix product would be off by up to 0.13 dB. Block by block, since
    float64 copies of whole signals fit into no cache, and moving them costs most of the time.
    """
    batch, _, samples = groups[0].shape
    counts = [group.shape[1] for group in groups]
    firsts = [sum(counts[:number]) for number in range(len(counts))]
    like = groups[0].new_empty(0, dtype=torch.float64)
    block = like.new_empty(batch, sum(counts), min(BLOCK, samples))
    inner = like.new_zeros(batch, sum(counts) - references, references)
    energies = like.new_zeros(batch, sum(counts))
    for start in range(0, samples, BLOCK):
        part = block[..., : min(BLOCK, samples - start)]
        for first, group in zip(firsts, groups, strict=True):
            part[:, first : first + group.shape[1]] = group[..., start : start + BLOCK]
        inner += part[:, references:] @ part[:, :references].mT
        energies += energy(part)
    return inner, energies


@dataclass(frozen=True)
class Scores:
    """Scores of a batch of mixtures, estimates aligned with targets; values in dB.

    All [batch, source], where `active` targets have meaning.
    """

    permutation: Tensor  # of estimates: `reorder(estimates, permutation)` is aligned
    si_snr: Tensor
    si_snr_mixture: Tensor
    active: Tensor  # bool: the target sounds
    sounding: Tensor  # bool: the estimate exceeds 1 % of the quietest active target's power

    @property
    def si_snri(self) -> Tensor:
        """Improvement over the mixture."""
        return self.si_snr - self.si_snr_mixture

    @property
    def counted(self) -> Tensor:
        """Pairs that the FUSS evaluator averages."""
        return self.active & self.sounding


def score(*, references: Tensor, estimates: Tensor, mixture: Tensor) -> Scores:
    """Align estimates by best mean SI-SNR over all K slots, silent ones included, and score them.

    References and estimates [batch, source, time], mixture [batch, time].
    """
    slots = references.shape[1]
    inner, energies = _inner_products((references, estimates, mixture[:, None]), slots)
    target, other = energies[:, :slots], energies[:, slots:]
    values = _decibels(inner, other[..., None], target[..., None, :])

    pairs = values[:, :-1]  # [batch, estimate, reference]
    permutation = assign(-pairs)
    power = target / references.shape[-1]
    active = power.sqrt() > SILENT_RMS
    quietest = torch.where(active, target, torch.inf).amin(-1, keepdim=True)
    return Scores(
        permutation=permutation,
        si_snr=pairs.gather(1, permutation[:, None]).squeeze(1),
        si_snr_mixture=values[:, -1],
        active=active,
        sounding=other[:, :-1].gather(1, permutation) > ACTIVE_ESTIMATE * quietest,
    )


@dataclass(frozen=True)
class Standard:
    """The paper's scores of a batch of mixtures, estimates aligned with targets; values in dB.

    All [batch, source], where `active` targets have meaning, and [batch] where mixtures are meant.
    """

    permutation: Tensor  # of estimates: `reorder(estimates, permutation)` is aligned
    si_snr: Tensor
    si_snr_mixture: Tensor
    active: Tensor  # bool: the target sounds
    buried: Tensor  # bool: it does, and its estimate lies 40 dB below it, or more

    @property
    def single(self) -> Tensor:
        """SI-SNR_S [batch]: of the first active target, for mixtures of one source."""
        return self._mean(self.si_snr)

    @property
    def improvement(self) -> Tensor:
        """SI-SNR_I [batch]: over the mixture, averaged over the active targets of each mixture."""
        return self._mean(self.si_snr - self.si_snr_mixture)

    def _mean(self, values: Tensor) -> Tensor:
        return torch.where(self.active, values, 0).sum(-1) / self.active.sum(-1)


def standard(*, references: Tensor, estimates: Tensor, mixture: Tensor) -> Standard:
    """Align estimates by best mean SI-SNR over all K slots, and score them. [paper]

    α = (sᵀŝ + ε) / (‖s‖² + ε), SI-SNR = 10 log10((‖αs‖² + ε) / (‖αs − ŝ‖² + ε)), ε = 1e-5; for
    silent targets, too, which are left out of scores, and not of the alignment [inferred]. A silent
    estimate scores 0 dB. References and estimates [batch, source, time], mixture [batch, time].
    """
    slots = references.shape[1]
    inner, energies = _inner_products((references, estimates, mixture[:, None]), slots)
    target, other = energies[:, None, :slots], energies[:, slots:, None]
    alpha = (inner + EPSILON) / (target + EPSILON)  # [batch, estimate, reference]
    scaled = alpha.square() * target
    residual = (scaled - 2 * alpha * inner + other).clamp_min(0)
    values = 10 * torch.log10((scaled + EPSILON) / (residual + EPSILON))
    pairs = values[:, :-1]
    permutation = assign(-pairs)
    target = target.squeeze(1)
    active = (target / references.shape[-1]).sqrt() > SILENT_RMS
    chosen = other[:, :-1, 0].gather(1, permutation)
    return Standard(
        permutation=permutation,
        si_snr=pairs.gather(1, permutation[:, None]).squeeze(1),
        si_snr_mixture=values[:, -1],
        active=active,
        buried=active & (chosen <= BURIED * target),
    )
