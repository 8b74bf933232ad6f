"""Discriminators: is a set of K sources ground truth (real) or estimated (fake)?

Each looks at one domain (wave, stft, mask) of the whole set jointly (context) or of one source at
a time (instance). All follow one contract: `SourceSet` in, `Judgement` out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from apit.config import Adversary, Convolutions, Discriminator, Domain
from apit.models.precision import Precision, arithmetic
from apit.models.stft import STFT


class SourceSet:
    """K sources as discriminators see them: divided by the mixture's RMS, in three domains.

    A domain is computed when it is first asked for, and once. Shapes: wave [batch, source, time],
    stft and mask [batch, source, bin, frame].
    """

    def __init__(
        self,
        wave: Callable[[], Tensor],
        mixture: "MixtureViews",
        magnitude: Callable[[], Tensor],
        masks: Tensor | None = None,
    ):
        self.mixture = mixture
        self.given_masks = masks  # where they are not the ratio masks of the set itself
        self._make = {"wave": wave, "stft": magnitude}
        self._made: dict[Domain, Tensor] = {}

    def _masks(self) -> Tensor:
        if self.given_masks is None:
            return ratio_masks(self.view("stft"), self.mixture.audible)
        return self.given_masks * self.mixture.audible

    def view(self, domain: Domain) -> Tensor:
        """The set in one domain."""
        if domain not in self._made:
            self._made[domain] = self._masks() if domain == "mask" else self._make[domain]()
        return self._made[domain]

    def replaced(self, references: "SourceSet", positions: Tensor) -> "SourceSet":
        """The set with its sources at `positions` (bool [batch, source]) taken from another.

        Magnitudes belong to one source each, so no signal is transformed twice.
        """
        by_bin = positions[..., None, None]
        masks = self.given_masks
        return SourceSet(
            lambda: torch.where(positions[..., None], references.view("wave"), self.view("wave")),
            self.mixture,
            lambda: torch.where(by_bin, references.view("stft"), self.view("stft")),
            masks if masks is None else torch.where(by_bin, references.view("mask"), masks),
        )


class MixtureViews:
    """A mixture [batch, time] by its RMS, and what discriminators need of it."""

    def __init__(self, mixture: Tensor, stft: STFT):
        self.stft = stft
        self.rms = mixture.square().mean(-1).sqrt().clamp_min(1e-8)  # [batch]
        self.wave = mixture / self.rms[:, None]

    @cached_property
    def magnitude(self) -> Tensor:
        """[batch, bin, frame]."""
        return self.stft.magnitude(self.wave)

    @cached_property
    def audible(self) -> Tensor:
        """Bins where the mixture reaches 1e-6 of its maximum, bool [batch, 1, bin, frame]."""
        loudest = self.magnitude.amax((-2, -1), keepdim=True)
        return (self.magnitude >= 1e-6 * loudest)[:, None]

    def sources(self, signals: Tensor, masks: Tensor | None = None) -> SourceSet:
        """A set of this mixture's sources, real or estimated [batch, source, time]."""
        wave = signals / self.rms[:, None, None]
        return SourceSet(lambda: wave, self, lambda: self.stft.magnitude(wave), masks)


def ratio_masks(magnitude: Tensor, audible: Tensor) -> Tensor:
    """|STFT(x_k)| / (Σ_j |STFT(x_j)| + 1e-8) → [batch, source, bin, frame].

    Zero in bins that are not `audible` (bool [batch, 1, bin, frame]).
    """
    return magnitude * (audible / (magnitude.sum(1, keepdim=True) + 1e-8))


@dataclass(frozen=True)
class Judgement:
    """Logits [batch, judged, patch], above zero for real; `judged` is K or, in context, 1."""

    patches: Tensor

    @property
    def verdict(self) -> Tensor:
        """Mean over patches → [batch, judged]."""
        return self.patches.mean(-1)


class PatchDiscriminator(nn.Module):
    """Strided convolutions over one domain of a set of sources; every output is a patch."""

    precision: Precision = "float32"

    def __init__(self, config: Discriminator, sizes: Convolutions, sources: int):
        super().__init__()
        self.config = config
        inputs = 1 if config.kind == "instance" else sources + config.condition_on_mixture
        layers: list[nn.Module] = []
        for outputs in sizes.channels:
            layers += [
                self._convolution(inputs, outputs, sizes.kernel, sizes.stride),
                nn.LeakyReLU(0.2),
            ]
            inputs = outputs
        layers.append(self._convolution(inputs, 1, 3, 1))
        self.layers = nn.Sequential(*layers)

    def _convolution(self, inputs: int, outputs: int, kernel: int, stride: int) -> nn.Module:
        """A waveform is an image one sample high.

        The weights' layout is channels last: with one channel in, their gradients come 15 times
        as fast on a CPU.
        """
        wave = self.config.domain == "wave"
        made = nn.Conv2d(
            inputs,
            outputs,
            (1 if wave else kernel, kernel),
            (1 if wave else stride, stride),
            (0 if wave else (kernel - 1) // 2, (kernel - 1) // 2),
        )
        return made.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]

    def forward(self, view: Tensor, mixture: MixtureViews) -> Judgement:
        """Judge a set in this discriminator's domain: [batch, source, …] → `Judgement`."""
        batch, sources = view.shape[:2]
        if self.config.kind == "instance":
            return Judgement(self._patches(view.flatten(0, 1)[:, None]).reshape(batch, sources, -1))
        if self.config.condition_on_mixture:
            mixed = mixture.wave if self.config.domain == "wave" else mixture.magnitude
            view = torch.cat([view, mixed[:, None]], 1)
        return Judgement(self._patches(view).reshape(batch, 1, -1))

    def _patches(self, view: Tensor) -> Tensor:
        image = view[..., None, :] if self.config.domain == "wave" else view
        with arithmetic(self.precision, view.device):
            found: Tensor = self.layers(image.contiguous(memory_format=torch.channels_last))
        return found.float()


def make_discriminator(
    config: Discriminator, adversary: Adversary, sources: int
) -> PatchDiscriminator:
    """One of an experiment's discriminators, initialised from torch's global generator."""
    sizes = adversary.wave if config.domain == "wave" else adversary.spectral
    return PatchDiscriminator(config, sizes, sources)
