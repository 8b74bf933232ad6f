"""Spectral holes: bins where a source sounds and its estimate has next to nothing."""

from dataclasses import dataclass

from torch import Tensor

from apit.models.stft import STFT

SUPPORT_DB = 60  # below the source's maximum: its support R
EXCESS_DB = 20  # above the floor of the support: leakage outside it


@dataclass(frozen=True)
class Passage:
    """Magnitudes [..., bin, frame] of a reference and its estimate, the gain taken out."""

    reference: Tensor
    estimate: Tensor

    @property
    def support(self) -> Tensor:
        """R: bins within 60 dB of the reference's maximum."""
        loudest = self.reference.amax((-2, -1), keepdim=True)
        return (self.reference >= loudest * 10 ** (-SUPPORT_DB / 20)) & (loudest > 0)

    def holes(self, depth_db: float) -> Tensor:
        """Bins of the support where 20 log10(Ŝ/S) < −depth."""
        return self.support & (self.estimate < self.reference * 10 ** (-depth_db / 20))

    def hole_rate(self, depth_db: float) -> Tensor:
        """Holes / |R| → [...]; NaN where nothing sounds."""
        return self.holes(depth_db).sum((-2, -1)) / self.support.sum((-2, -1))

    @property
    def excess_rate(self) -> Tensor:
        """Share of the bins outside R that exceed the reference's floor by 20 dB → [...].

        Leakage hides holes, and shows here. NaN where the support is everything.
        """
        loudest = self.reference.amax((-2, -1), keepdim=True)
        loud = self.estimate > loudest * 10 ** ((EXCESS_DB - SUPPORT_DB) / 20)
        outside = ~self.support
        return (loud & outside).sum((-2, -1)) / outside.sum((-2, -1))


def passage(*, reference: Tensor, estimate: Tensor, stft: STFT) -> Passage:
    """Transform aligned pairs [..., time], the estimate first scaled by ⟨s,ŝ⟩/‖ŝ‖²."""
    gain = (reference * estimate).sum(-1) / estimate.square().sum(-1).clamp_min(1e-16)
    return Passage(stft.analyse(reference).abs(), stft.analyse(gain[..., None] * estimate).abs())
