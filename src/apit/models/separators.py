"""Separators: a mixture → K masks → K estimates."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from apit.config import Audio, Separator, Transform
from apit.config import TDCNpp as TDCNppConfig
from apit.models.precision import Precision, arithmetic
from apit.models.stft import STFT, make_stft
from apit.models.tdcnpp import TDCNpp
from apit.models.unet import UNet


class Outputs(NamedTuple):
    """What a network gives: mask logits [batch, source, bin, frame], and consistency's weights."""

    logits: Tensor
    consistency: Tensor | None = None  # logits [batch, source]; None: equal weights


class Separation(NamedTuple):
    """Estimates [batch, source, time], and the masks [batch, source, bin, frame] behind them."""

    estimates: Tensor
    masks: Tensor


def mixture_consistent(estimates: Tensor, mixture: Tensor, weights: Tensor) -> Tensor:
    """Share out the residual m − Σ ŝ_k, so that the estimates sum to the mixture.

    estimates [batch, source, time], mixture [batch, time], weights [batch, source] that sum to 1.
    """
    residual = mixture - estimates.sum(1)
    return estimates + weights[..., None] * residual[:, None]


class MaskingSeparator(nn.Module):
    """|STFT| → network → masks on the mixture's STFT → inverse STFT. [paper]

    Mixture [batch, time] → `Separation`. Nyquist's bin and the last frame are dropped, so that they
    are zero in what masks give [ours]; mixture consistency, where it is asked for, brings back
    what that leaves out.
    """

    precision: Precision = "float32"  # of the network alone

    def __init__(self, network: nn.Module, stft: STFT, masks: str, consistency: str):
        super().__init__()
        self.network, self.stft = network, stft
        self.masks, self.consistency = masks, consistency

    def spectrum(self, signals: Tensor) -> Tensor:
        """[..., time] → complex [..., bin, frame], without Nyquist's bin and the last frame."""
        return self.stft.analyse(signals)[..., :-1, :-1]

    def mask_shape(self, samples: int) -> tuple[int, int]:
        """Bins and frames of the masks of so many samples."""
        return self.stft.bins - 1, -(-samples // self.stft.hop)

    def outputs(self, mixture: Tensor) -> Outputs:
        """What the network says of mixtures [batch, time]."""
        magnitude = self.spectrum(mixture).abs()
        with arithmetic(self.precision, mixture.device):
            logits, consistency = self.network(magnitude)
        return Outputs(logits.float(), None if consistency is None else consistency.float())

    def to_masks(self, outputs: Outputs) -> Tensor:
        """Mask logits → masks."""
        return outputs.logits.softmax(1) if self.masks == "softmax" else outputs.logits.sigmoid()

    def estimates(self, masks: Tensor, mixture: Tensor, outputs: Outputs) -> Tensor:
        """Masks on mixtures [batch, time] → [batch, source, time].

        Channels of one mixture may share its masks: [1, source, bin, frame] and [channel, time].
        """
        masked = masks * self.spectrum(mixture)[:, None]
        estimates = self.stft.synthesise(pad(masked, (0, 1, 0, 1)), mixture.shape[-1])
        if self.consistency == "inference" and self.training:
            return estimates
        if outputs.consistency is None:
            weights = torch.full(estimates.shape[:2], 1 / estimates.shape[1]).to(estimates)
        else:
            weights = outputs.consistency.softmax(-1)
        return mixture_consistent(estimates, mixture, weights)

    def forward(self, mixture: Tensor, channels: Tensor | None = None) -> Separation:
        """Separate a batch of mixtures, or the channels [channel, time] that one [1, time] mixes.

        Channels share the masks of their mixture; estimates are then [channel, source, time].
        """
        outputs = self.outputs(mixture)
        masks = self.to_masks(outputs)
        given = mixture if channels is None else channels
        return Separation(self.estimates(masks, given, outputs), masks)


def make_separator(config: Separator, transform: Transform, audio: Audio) -> MaskingSeparator:
    """The separator of a configuration, initialised from torch's global generator."""
    stft = make_stft(transform, audio.sample_rate)
    chosen = config.network
    make = TDCNpp if isinstance(chosen, TDCNppConfig) else UNet
    network = make(stft.bins - 1, audio.sources, chosen)  # type: ignore[arg-type]
    return MaskingSeparator(network, stft, chosen.masks, chosen.consistency)
