"""Systems that need no training: they bound every table from both sides."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from apit.data.batches import Batch
from apit.models.stft import STFT

Separate = Callable[[Batch], Tensor]  # → estimates [batch, source, time]


def mixture(batch: Batch) -> Tensor:
    """The mixture in every slot: no separation at all."""
    return batch.mixture[:, None].expand_as(batch.references)


def mixture_over_k(batch: Batch) -> Tensor:
    """A K-th of the mixture in every slot, so that the estimates sum to it."""
    return mixture(batch) / batch.references.shape[1]


def mixture_in_one_slot(batch: Batch) -> Tensor:
    """The mixture in the first slot, silence elsewhere: what never dares to separate."""
    estimates = torch.zeros_like(batch.references)
    estimates[:, 0] = batch.mixture
    return estimates


def _masked(batch: Batch, stft: STFT, masks: Callable[[Tensor], Tensor]) -> Tensor:
    magnitudes = stft.analyse(batch.references).abs()  # [batch, source, bin, frame]
    spectrum = stft.analyse(batch.mixture)[:, None]
    return stft.synthesise(masks(magnitudes) * spectrum, batch.mixture.shape[-1])


def ideal_ratio_mask(batch: Batch, stft: STFT) -> Tensor:
    """Masks |S_k| / Σ_j |S_j| on the mixture: what masking could reach, up to phases."""
    return _masked(batch, stft, lambda s: s / s.sum(1, keepdim=True).clamp_min(1e-8))


def ideal_binary_mask(batch: Batch, stft: STFT) -> Tensor:
    """Every bin of the mixture to its loudest source (the first of equals): holes by design."""
    return _masked(
        batch, stft, lambda s: torch.zeros_like(s).scatter_(1, s.argmax(1, keepdim=True), 1.0)
    )


def oracle(name: str, stft: STFT) -> Separate:
    """The system of a name in `apit.config.ORACLES`."""
    systems: dict[str, Separate] = {
        "mixture": mixture,
        "mixture-over-k": mixture_over_k,
        "mixture-in-one-slot": mixture_in_one_slot,
        "ideal-binary-mask": partial(ideal_binary_mask, stft=stft),
        "ideal-ratio-mask": partial(ideal_ratio_mask, stft=stft),
    }
    return systems[name]
