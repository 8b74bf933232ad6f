"""Spectral holes: bins where a source sounds and its estimate has next to nothing.

The definitions are this project's own; the paper shows holes in spectrograms only.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from apit.config import HEADLINE_DB
from apit.models.stft import STFT

SUPPORT_DB = 60  # below the source's maximum: its support R
EXCESS_DB = 20  # above the floor of the support: leakage outside it
BURIED_DB = 20  # below the sum of the others: where a source is buried


@dataclass(frozen=True)
class Passage:
    """Magnitudes [..., bin, frame] of a reference and its estimate."""

    reference: Tensor
    estimate: Tensor

    @cached_property
    def support(self) -> Tensor:
        """R: bins within 60 dB of the reference's maximum."""
        loudest = self.reference.amax((-2, -1), keepdim=True)
        return (self.reference >= loudest * 10 ** (-SUPPORT_DB / 20)) & (loudest > 0)

    def holes(self, depth_db: float) -> Tensor:
        """Bins of the support where 20 log10(Ŝ/S) < −depth."""
        return self.support & self._low(depth_db)

    def _low(self, depth_db: float) -> Tensor:
        return self.estimate < self.reference * 10 ** (-depth_db / 20)

    def hole_rate(self, depth_db: float, weight: Tensor | None = None) -> Tensor:
        """Holes / |R| → [...]; NaN where nothing sounds.

        With a weight for each bin, such as S² or a part of R, weighted holes / weighted |R|.
        """
        weight = self.support if weight is None else weight * self.support
        return (weight * self._low(depth_db)).sum((-2, -1)) / weight.sum((-2, -1))

    @property
    def excess_rate(self) -> Tensor:
        """Share of the bins outside R that exceed the reference's floor by 20 dB → [...].

        Leakage hides holes, and shows here. NaN where the support is everything.
        """
        loudest = self.reference.amax((-2, -1), keepdim=True)
        loud = self.estimate > loudest * 10 ** ((EXCESS_DB - SUPPORT_DB) / 20)
        outside = ~self.support
        return (loud & outside).sum((-2, -1)) / outside.sum((-2, -1))


def _scaled(*, reference: Tensor, estimate: Tensor) -> Tensor:
    """The estimate times ⟨s,ŝ⟩/‖ŝ‖², which takes its gain out, however large or small."""
    exact = estimate.double()
    energy = exact.square().sum(-1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
    gain = (reference.double() * exact).sum(-1, keepdim=True) / energy
    return (gain * exact).to(estimate.dtype)


def passage(*, reference: Tensor, estimate: Tensor, stft: STFT) -> Passage:
    """Transform aligned pairs [..., time], the estimate's gain taken out."""
    return Passage(
        stft.analyse(reference).abs(),
        stft.analyse(_scaled(reference=reference, estimate=estimate)).abs(),
    )


def rates(
    *, references: Tensor, estimates: Tensor, stft: STFT, depths_db: Iterable[float]
) -> dict[str, Tensor]:
    """All rates of aligned examples [..., source, time] → metric: [..., source].

    `hole_rate_D` for every depth D; at 20 dB also weighted by energy, where the target dominates
    (at least as loud as the others' sum) or is buried (20 dB or more below it), and with the
    estimate's gain left in. A rate over no bin is NaN.
    """
    spectra = stft.analyse(references)
    reference = spectra.abs()
    others = (spectra.sum(-3, keepdim=True) - spectra).abs()
    scaled = Passage(
        reference, stft.analyse(_scaled(reference=references, estimate=estimates)).abs()
    )
    level = stft.analyse(estimates).abs()
    unscaled = Passage(reference, level)
    return {
        **{f"hole_rate_{depth:g}": scaled.hole_rate(depth) for depth in depths_db},
        "hole_rate_energy": scaled.hole_rate(HEADLINE_DB, reference.square()),
        "hole_rate_dominant": scaled.hole_rate(HEADLINE_DB, reference >= others),
        "hole_rate_buried": scaled.hole_rate(
            HEADLINE_DB, reference <= others * 10 ** (-BURIED_DB / 20)
        ),
        "hole_rate_unscaled": unscaled.hole_rate(HEADLINE_DB),
        "excess_rate": scaled.excess_rate,
        "log_spectral_distance": log_spectral_distance(reference=reference, estimate=level),
    }


def log_spectral_distance(*, reference: Tensor, estimate: Tensor) -> Tensor:
    """Mean over frames of the RMS over bins of 20 log10(S/Ŝ), in dB: [..., bin, frame] → [...].

    Magnitudes are floored 60 dB below the reference's maximum, so that silence has a distance, too;
    gain counts. NaN where the reference is silent.
    """
    floor = reference.amax((-2, -1), keepdim=True) * 10 ** (-SUPPORT_DB / 20)
    ratio = torch.maximum(reference, floor) / torch.maximum(estimate, floor)
    return (20 * ratio.log10()).square().mean(-2).sqrt().mean(-1)
