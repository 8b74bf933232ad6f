"""Separators: a mixture → K estimates, by K masks or as a network of one's own has it."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from apit.config import Audio, Transform
from apit.config import Separator as SeparatorConfig
from apit.config import TDCNpp as TDCNppConfig
from apit.errors import UserError
from apit.models.precision import Precision, arithmetic
from apit.models.stft import STFT, make_stft
from apit.models.tdcnpp import TDCNpp
from apit.models.unet import UNet
from apit.own import imported

# What a network gives, down to where losses are differentiated: mask logits [batch, source, bin,
# frame] and, of some, logits [batch, source] of consistency's weights; or, of a separator of one's
# own, estimates [batch, source, time] and, of some, masks.
Outputs = tuple[Tensor, ...]


class Separation(NamedTuple):
    """Estimates [batch, source, time], and the masks [batch, source, bin, frame] behind them."""

    estimates: Tensor
    masks: Tensor | None  # None where there are none


def mixture_consistent(estimates: Tensor, mixture: Tensor, weights: Tensor) -> Tensor:
    """Share out the residual m − Σ ŝ_k, so that the estimates sum to the mixture.

    estimates [batch, source, time], mixture [batch, time], weights [batch, source] that sum to 1.
    """
    residual = mixture - estimates.sum(1)
    return estimates + weights[..., None] * residual[:, None]


class Separator(nn.Module, ABC):
    """A network, and how what it gives becomes masks and estimates.

    Mixture [batch, time] → `Separation`. Spectra lack Nyquist's bin and the last frame [ours].
    """

    precision: Precision = "float32"  # of the network alone

    def __init__(self, network: nn.Module, stft: STFT):
        super().__init__()
        self.network, self.stft = network, stft

    @abstractmethod
    def outputs(self, mixture: Tensor) -> Outputs:
        """What the network says of mixtures [batch, time]."""

    @abstractmethod
    def to_masks(self, outputs: Outputs) -> Tensor | None:
        """Masks [batch, source, bin, frame]; None where the network has none."""

    @abstractmethod
    def estimates(self, masks: Tensor | None, mixture: Tensor, outputs: Outputs) -> Tensor:
        """Masks on mixtures [batch, time] → [batch, source, time].

        Channels of one mixture may share its masks: [1, source, bin, frame] and [channel, time].
        """

    def spectrum(self, signals: Tensor) -> Tensor:
        """[..., time] → complex [..., bin, frame]."""
        return self.stft.analyse(signals)[..., :-1, :-1]

    def mask_shape(self, samples: int) -> tuple[int, int]:
        """Bins and frames of the masks of so many samples."""
        return self.stft.bins - 1, -(-samples // self.stft.hop)

    def masked(self, masks: Tensor, mixture: Tensor) -> Tensor:
        """Masks on the STFT of mixtures, synthesised; the dropped bin and frame are zero."""
        masked = masks * self.spectrum(mixture)[:, None]
        return self.stft.synthesise(pad(masked, (0, 1, 0, 1)), mixture.shape[-1])

    def forward(self, mixture: Tensor, channels: Tensor | None = None) -> Separation:
        """Separate a batch of mixtures, or the channels [channel, time] that one [1, time] mixes.

        Channels share the masks of their mixture; estimates are then [channel, source, time].
        """
        outputs = self.outputs(mixture)
        masks = self.to_masks(outputs)
        given = mixture if channels is None else channels
        return Separation(self.estimates(masks, given, outputs), masks)


class MaskingSeparator(Separator):
    """|STFT| → network → masks on the mixture's STFT → inverse STFT. [paper]

    Mixture consistency, where it is asked for, brings back what the dropped bin and frame leave
    out.
    """

    def __init__(self, network: nn.Module, stft: STFT, masks: str, consistency: str):
        super().__init__(network, stft)
        self.masks, self.consistency = masks, consistency

    def outputs(self, mixture: Tensor) -> Outputs:
        """Mask logits and, of some networks, logits of consistency's weights."""
        magnitude = self.spectrum(mixture).abs()
        with arithmetic(self.precision, mixture.device):
            given = self.network(magnitude)
        return tuple(output.float() for output in given if output is not None)

    def to_masks(self, outputs: Outputs) -> Tensor:
        """Mask logits → masks."""
        return outputs[0].softmax(1) if self.masks == "softmax" else outputs[0].sigmoid()

    def estimates(self, masks: Tensor | None, mixture: Tensor, outputs: Outputs) -> Tensor:
        """Masks on mixtures, made consistent with them."""
        assert masks is not None
        estimates = self.masked(masks, mixture)
        if self.consistency == "inference" and self.training:
            return estimates
        if len(outputs) == 1:
            weights = torch.full(estimates.shape[:2], 1 / estimates.shape[1]).to(estimates)
        else:
            weights = outputs[1].softmax(-1)
        return mixture_consistent(estimates, mixture, weights)


class OwnSeparator(Separator):
    """A module of one's own: mixture [batch, time] → estimates [batch, source, time].

    It may give masks [batch, source, bin, frame] beside them, whose products with the mixture's
    STFT (of the configuration, without Nyquist's bin and the last frame) discriminators then see.
    """

    def __init__(self, network: nn.Module, stft: STFT, sources: int):
        super().__init__(network, stft)
        self.sources = sources

    def outputs(self, mixture: Tensor) -> Outputs:
        """Estimates and, of some networks, masks. Raises UserError where their shapes are wrong."""
        with arithmetic(self.precision, mixture.device):
            given = self.network(mixture)
        outputs = (given,) if isinstance(given, Tensor) else tuple(given)
        batch, samples = mixture.shape
        due = (self.sources, samples), (self.sources, *self.mask_shape(samples))
        shapes = [tuple(output.shape) for output in outputs]
        if shapes not in ([(batch, *due[0])], [(batch, *due[0]), (batch, *due[1])]):
            raise UserError(
                f"separator: for {batch} mixtures of {samples} samples the network gave {shapes}: "
                f"estimates [batch, source, time] of {(batch, *due[0])} were due and, if it has "
                f"masks, those [batch, source, bin, frame] of {(batch, *due[1])}"
            )
        return tuple(output.float() for output in outputs)

    def to_masks(self, outputs: Outputs) -> Tensor | None:
        """Those that the network gave."""
        return outputs[1] if len(outputs) > 1 else None

    def estimates(self, masks: Tensor | None, mixture: Tensor, outputs: Outputs) -> Tensor:
        """As the network gave them; channels of one mixture share its masks, or its ratio masks."""
        if len(mixture) == len(outputs[0]):
            return outputs[0]
        if masks is None:
            masks = ratio_masks(self.spectrum(outputs[0]).abs())
        return self.masked(masks, mixture)


def ratio_masks(magnitudes: Tensor) -> Tensor:
    """|S_k| / Σ_j |S_j| [batch, source, …]; zero where nothing sounds."""
    return magnitudes / magnitudes.sum(1, keepdim=True).clamp_min(1e-8)


def make_separator(config: SeparatorConfig, transform: Transform, audio: Audio) -> Separator:
    """The separator of a configuration, initialised from torch's global generator.

    A class of one's own is called with `sources`, `sample_rate` and its options. Raises UserError
    where it cannot be.
    """
    stft = make_stft(transform, audio.sample_rate)
    sizes = config.network
    if sizes is None:
        make_own = imported("separator.architecture", config.architecture)
        try:
            own = make_own(sources=audio.sources, sample_rate=audio.sample_rate, **config.options)
        except TypeError as error:
            raise UserError(f"separator: {config.architecture}: {error}") from error
        if not isinstance(own, nn.Module) or next(own.parameters(), None) is None:
            raise UserError(
                f"separator: {config.architecture}: is no torch.nn.Module with weights to be learnt"
            )
        return OwnSeparator(own, stft, audio.sources)
    make = TDCNpp if isinstance(sizes, TDCNppConfig) else UNet
    network = make(stft.bins - 1, audio.sources, sizes)  # type: ignore[arg-type]
    return MaskingSeparator(network, stft, sizes.masks, sizes.consistency)
