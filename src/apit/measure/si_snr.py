"""SI-SNR and its companions, as the public FUSS evaluator defines them, in float64."""

from dataclasses import dataclass

import torch
from torch import Tensor

from apit.losses.permutation import assign

ENERGY_FLOOR = 1e-16
STABILISER = 1e-8
SILENT_RMS = 1e-8
ACTIVE_ESTIMATE = 0.01  # of the quietest active target's power: −20 dB


def si_snr(*, reference: Tensor, estimate: Tensor) -> Tensor:
    """Scale-invariant SNR in dB, without mean removal: [..., time] → float64 [...].

    10 log10((c² + 1e-8) / (1 − c² + 1e-8)) with the cosine c; silence on either side gives −80 dB.
    Leading axes broadcast.
    """
    reference, estimate = _unit(reference), _unit(estimate)
    cosine = (reference * estimate).sum(-1)
    rest = 1 - cosine**2
    # 1 − c² loses its digits near c² = 1: there the residual is formed and summed.
    near = rest < 0.01
    if near.any():
        shape = (*rest.shape, reference.shape[-1])
        reference, estimate = reference.expand(shape), estimate.expand(shape)
        exact = (estimate[near] - cosine[near][:, None] * reference[near]).square().sum(-1)
        rest = rest.masked_scatter(near, exact)
    return 10 * torch.log10((cosine**2 + STABILISER) / (rest + STABILISER))


def _unit(signals: Tensor) -> Tensor:
    signals = signals.double()
    energy = signals.square().sum(-1, keepdim=True)
    return signals / energy.clamp_min(ENERGY_FLOOR).sqrt()


@dataclass(frozen=True)
class Scores:
    """Scores of a batch of mixtures, estimates aligned with targets; values in dB.

    aligned [batch, source, time]; the rest [batch, source], where `active` targets have meaning.
    """

    aligned: Tensor
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
    pairs = si_snr(reference=references[:, None], estimate=estimates[:, :, None])
    permutation = assign(-pairs)  # of [batch, estimate, reference]
    rows = torch.arange(len(estimates))[:, None]
    aligned = estimates[rows, permutation]
    power = references.double().square().mean(-1)
    active = power.sqrt() > SILENT_RMS
    quietest = torch.where(active, power, torch.inf).amin(-1, keepdim=True)
    return Scores(
        aligned=aligned,
        si_snr=pairs[rows, permutation, torch.arange(references.shape[1])],
        si_snr_mixture=si_snr(reference=references, estimate=mixture[:, None]),
        active=active,
        sounding=aligned.double().square().mean(-1) > ACTIVE_ESTIMATE * quietest,
    )
