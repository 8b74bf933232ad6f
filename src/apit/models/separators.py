"""Separators: a mixture → K masks → K estimates that sum to it."""

from typing import NamedTuple

from torch import Tensor, nn

from apit.config import Audio, Separator, Transform
from apit.models.precision import Precision, arithmetic
from apit.models.stft import STFT, make_stft
from apit.models.tdcnpp import TDCNpp
from apit.models.unet import UNet


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
    """STFT magnitude → network → masks on the mixture's STFT → mixture consistency.

    Mixture [batch, time] → `Separation`. The network maps magnitudes [batch, bin, frame] to mask
    logits [batch, source, bin, frame] and consistency logits [batch, source].
    """

    precision: Precision = "float32"  # of the network alone

    def __init__(self, network: nn.Module, stft: STFT, masks: str):
        super().__init__()
        self.network = network
        self.stft = stft
        self.masks = masks

    def forward(self, mixture: Tensor, channels: Tensor | None = None) -> Separation:
        """Separate a batch of mixtures, or the channels [channel, time] that one [1, time] mixes.

        Channels share the masks of their mixture; estimates are then [channel, source, time].
        """
        spectrum = self.stft.analyse(mixture)  # [batch, bin, frame]
        with arithmetic(self.precision, mixture.device):
            logits, consistency = self.network(spectrum.abs())
        logits, consistency = logits.float(), consistency.float()
        masks = logits.softmax(1) if self.masks == "softmax" else logits.sigmoid()
        if channels is not None:
            mixture, spectrum = channels, self.stft.analyse(channels)
        estimates = self.stft.synthesise(masks * spectrum[:, None], mixture.shape[-1])
        return Separation(mixture_consistent(estimates, mixture, consistency.softmax(-1)), masks)


def make_separator(config: Separator, transform: Transform, audio: Audio) -> MaskingSeparator:
    """The separator of a configuration, initialised from torch's global generator."""
    stft = make_stft(transform, audio.sample_rate)
    network: nn.Module
    if config.architecture == "tdcnpp":
        assert config.tdcnpp is not None
        network = TDCNpp(stft.bins, audio.sources, config.tdcnpp)
    else:
        assert config.unet is not None
        network = UNet(stft.bins, audio.sources, config.unet)
    return MaskingSeparator(network, stft, config.masks)
