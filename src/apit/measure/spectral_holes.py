"""Spectral holes: patches in which an estimate lacks its target, while others sound there too.

The paper hears holes, over-suppression of a source in a band where other sources are present, and
gives no measure. This one is ours. It compares inner products with the target, relative to the
target's level in its estimate: a gain is no hole, and leakage neither fills nor makes one. A target
that is missing as a whole is told apart.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool1d

from apit.models.stft import STFT

# All of these are ours.
SUPPORT_DB = 60  # below the target's maximum: where it sounds
AS_LOUD_DB = 10  # between the target and the sum of the others: about as loud
PRESENCE_SECONDS = 0.176  # over which a target is present or missing
MISSING_DB = 10  # below its level: where a target is missing
LEVEL = 0.75  # of a target's energy has a gain of no more than its level
EXCESS_DB = 20  # above the floor of the support: leakage outside it
COLLINEAR = 1e-6  # of target and others in a patch, which nothing tells apart


@dataclass(frozen=True)
class Passage:
    """A target beside its estimate, [..., bin, frame]."""

    reference: Tensor  # magnitude, relative to the peak of the signal
    estimate: Tensor  # magnitude, the target's level in it taken out; infinite where it has none
    region: Tensor  # R (bool): the target sounds, and in the patch around others about as loud
    present: Tensor  # bool [..., 1, frame]: the target is not missing, or silent
    judged: Tensor  # bool: of R where no window misses the target
    gain: Tensor  # of the weakest patch around a bin; infinite where none is judged

    @property
    def missing_rate(self) -> Tensor:
        """Share of R in frames from which the target is missing → [...]; NaN where R is empty."""
        return _share(self.region & ~self.present, self.region)

    def holes(self, depth_db: float) -> Tensor:
        """Bins of R in a patch that lies more than `depth_db` too low, where R is judged."""
        return self.gain < 10 ** (-depth_db / 20)

    def hole_rate(self, depth_db: float) -> Tensor:
        """Holes as a share of R where it is judged → [...]; NaN where that is empty."""
        return _share(self.holes(depth_db), self.judged)

    @property
    def excess_rate(self) -> Tensor:
        """Share of the bins outside the target's support that leak, 20 dB above its floor → [...].

        NaN where the target sounds in all bins, or its estimate has nothing of it.
        """
        loudest = self.reference.amax((-2, -1), keepdim=True)
        outside = self.reference < loudest * 10 ** (-SUPPORT_DB / 20)
        leaks = self.estimate > loudest * 10 ** ((EXCESS_DB - SUPPORT_DB) / 20)
        known = self.estimate.isfinite().all(-1).all(-1)
        return torch.where(known, _share(leaks & outside, outside), torch.nan)


def passage(
    *, reference: Tensor, estimate: Tensor, mixture: Tensor, stft: STFT, rate: int
) -> Passage:
    """Compare aligned pairs [..., time], each as part of its mixture, at `rate` Hz.

    γ(t) = Σ Re(S*Ŝ) / Σ |S|² over all bins of 176 ms, and its level is the 75th percentile over the
    target's energy; the target is missing where it sounds and γ lies 10 dB below. Holes are judged
    in frames that no window around such a frame reaches, so that edges of absence are none. A patch
    of 3 × 3 bins has the gain |⟨S*Ŝ⟩| / ⟨|S|²⟩, or that of S in the least squares of Ŝ by S and the
    others, whichever is higher, since a chance correlation is no hole; and it is relative to γ.

    A silent estimate misses all of R; a silent target, and one that sounds alone, has no R.
    """
    peak, loudest = (
        signal.abs().amax(-1, keepdim=True).clamp_min(torch.finfo(signal.dtype).tiny)
        for signal in (reference, estimate)
    )
    target = stft.analyse(reference / peak)
    return _compare(
        target,
        stft.analyse(estimate / loudest),
        stft.analyse(mixture) / peak[..., None] - target,
        window=2 * round(PRESENCE_SECONDS * rate / stft.hop / 2) + 1,
    )


def _compare(target: Tensor, estimate: Tensor, others: Tensor, *, window: int) -> Passage:
    """Compare spectra [..., bin, frame]; a target is present over a window of frames."""
    product, power = target.conj() * estimate, _power(target)
    energy, of_others = _over_patch(power), _over_patch(_power(others))
    loudest, ratio = power.amax((-2, -1), keepdim=True), 10 ** (AS_LOUD_DB / 10)
    sounds = (power >= loudest * 10 ** (-SUPPORT_DB / 10)) & (power > 0)
    region = sounds & (of_others <= ratio * energy) & (energy <= ratio * of_others)

    weights, common = power.sum(-2), product.real.sum(-2)  # [..., frame]
    common = common * common.sum(-1, keepdim=True).sign()  # polarity is no loss
    gain = (_smooth(common, window) / _smooth(weights, window)).nan_to_num(0)
    level = _quantile(gain, weights, LEVEL).clamp_min(0)  # [..., 1]
    present = (gain > level * 10 ** (-MISSING_DB / 20)) | ~sounds.any(-2)
    judged = region & (_smooth((~present).float(), window) == 0)[..., None, :]

    with_target, shared = _over_patch(product), _over_patch(target.conj() * others)
    with_others = _over_patch(others.conj() * estimate)
    apart = energy * of_others
    apart = (apart - _power(shared)).clamp_min(COLLINEAR * apart)
    joint = (with_target * of_others - shared * with_others).abs() / apart
    local = torch.maximum(with_target.abs() / energy, joint) / gain[..., None, :]
    local = torch.where(judged, local, torch.inf)
    return Passage(
        target.abs(),
        estimate.abs() / level[..., None],
        region,
        present[..., None, :],
        judged,
        torch.where(judged, _over_patch(local, torch.minimum), torch.inf),
    )


def _share(part: Tensor, whole: Tensor) -> Tensor:
    return part.sum((-2, -1)) / whole.sum((-2, -1))


def _over_patch(values: Tensor, combine: Callable[..., Tensor] = torch.add) -> Tensor:
    """Combine each bin with the eight around it, by default to their sum; none beyond the edges.

    Slices take a thirtieth of the time of torch's pooling.
    """
    for axis in (-2, -1):
        both = values.clone()
        less = values.shape[axis] - 1
        for here, beside in ((1, 0), (0, 1)):
            inner = both.narrow(axis, here, less)
            combine(inner, values.narrow(axis, beside, less), out=inner)
        values = both
    return values


def _power(spectra: Tensor) -> Tensor:
    return spectra.real.square() + spectra.imag.square()


def _smooth(frames: Tensor, window: int) -> Tensor:
    """Means over an odd number of frames around each; beyond the ends lie zeros."""
    flat = frames.reshape(-1, 1, frames.shape[-1])
    return avg_pool1d(flat, window, stride=1, padding=window // 2).reshape(frames.shape)


def _quantile(values: Tensor, weights: Tensor, share: float) -> Tensor:
    """Least value that with all below it has `share` of the weight [..., frame] → [..., 1]."""
    order = values.argsort(-1)
    sums = weights.gather(-1, order).double().cumsum(-1)
    place = (sums < share * sums[..., -1:]).sum(-1, keepdim=True)
    return values.gather(-1, order.gather(-1, place.clamp_max(order.shape[-1] - 1)))


def rates(
    *, references: Tensor, estimates: Tensor, stft: STFT, rate: int, depths_db: Iterable[float]
) -> dict[str, Tensor]:
    """All rates of aligned examples [..., source, time] → metric: [..., source].

    `missing_rate`, `hole_rate_D` for every depth D, and `excess_rate`, as `Passage` has them. The
    mixture is the sum of the references.
    """
    compared = passage(
        reference=references,
        estimate=estimates,
        mixture=references.sum(-2, keepdim=True),
        stft=stft,
        rate=rate,
    )
    return {
        "missing_rate": compared.missing_rate,
        **{f"hole_rate_{depth:g}": compared.hole_rate(depth) for depth in depths_db},
        "excess_rate": compared.excess_rate,
    }


def log_spectral_distance(*, reference: Tensor, estimate: Tensor) -> Tensor:
    """Mean over frames of the RMS over bins of 20 log10(S/Ŝ), in dB: [..., bin, frame] → [...].

    Magnitudes are floored 60 dB below the reference's maximum, so that silence has a distance, too;
    gain counts. NaN where the reference is silent.
    """
    floor = reference.amax((-2, -1), keepdim=True) * 10 ** (-SUPPORT_DB / 20)
    ratio = torch.maximum(reference, floor) / torch.maximum(estimate, floor)
    return (20 * ratio.log10()).square().mean(-2).sqrt().mean(-1)
