"""Discriminators: is a set of K sources ground truth (real) or estimated (fake)?

Each looks at one domain (wave, stft, mask) of the whole set jointly (context) or of one source at
a time (instance). All follow one contract: `SourceSet` in, `Judgement` out.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from apit.config import Adversary, Convolutions, Discriminator, Domain
from apit.models.stft import STFT


class SourceSet:
    """K sources as discriminators see them: divided by the mixture's RMS, in three domains.

    A domain is computed when it is first asked for, and once. Shapes: wave [batch, source, time],
    stft and mask [batch, source, bin, frame].
    """

    def __init__(
        self,
        wave: Tensor,
        mixture: "MixtureViews",
        magnitude: Callable[[], Tensor],
        masks: Tensor | None = None,
    ):
        self.mixture = mixture
        self.given_masks = masks  # where they are not the ratio masks of the set itself
        self._magnitude = magnitude
        self._made: dict[Domain, Tensor] = {"wave": wave}

    def _masks(self) -> Tensor:
        if self.given_masks is None:
            return ratio_masks(self.view("stft"), self.mixture.magnitude)
        return self.given_masks * audible(self.mixture.magnitude)

    def view(self, domain: Domain) -> Tensor:
        """The set in one domain."""
        if domain not in self._made:
            self._made[domain] = self._magnitude() if domain == "stft" else self._masks()
        return self._made[domain]

    def replaced(self, references: "SourceSet", positions: Tensor) -> "SourceSet":
        """The set with its sources at `positions` (bool [batch, source]) taken from another.

        Magnitudes belong to one source each, so no signal is transformed twice.
        """
        by_bin = positions[..., None, None]
        masks = self.given_masks
        return SourceSet(
            torch.where(positions[..., None], references.view("wave"), self.view("wave")),
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
        self._magnitude: Tensor | None = None

    @property
    def magnitude(self) -> Tensor:
        """[batch, bin, frame]."""
        if self._magnitude is None:
            self._magnitude = self.stft.analyse(self.wave).abs()
        return self._magnitude

    def sources(self, signals: Tensor, masks: Tensor | None = None) -> SourceSet:
        """A set of this mixture's sources, real or estimated [batch, source, time]."""
        wave = signals / self.rms[:, None, None]
        return SourceSet(wave, self, lambda: self.stft.analyse(wave).abs(), masks)


def ratio_masks(magnitude: Tensor, mixture_magnitude: Tensor) -> Tensor:
    """|STFT(x_k)| / (Σ_j |STFT(x_j)| + 1e-8) → [batch, source, bin, frame].

    Zero in bins where the mixture lies below 1e-6 of its maximum.
    """
    return magnitude / (magnitude.sum(1, keepdim=True) + 1e-8) * audible(mixture_magnitude)


def audible(mixture_magnitude: Tensor) -> Tensor:
    """Bins where the mixture reaches 1e-6 of its maximum, bool [batch, 1, bin, frame]."""
    loudest = mixture_magnitude.amax((-2, -1), keepdim=True)
    return (mixture_magnitude >= 1e-6 * loudest)[:, None]


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

    def __init__(self, config: Discriminator, sizes: Convolutions, sources: int):
        super().__init__()
        self.config = config
        convolution = nn.Conv1d if config.domain == "wave" else nn.Conv2d
        inputs = 1 if config.kind == "instance" else sources + config.condition_on_mixture
        layers: list[nn.Module] = []
        for outputs in sizes.channels:
            layers += [
                convolution(inputs, outputs, sizes.kernel, sizes.stride, (sizes.kernel - 1) // 2),
                nn.LeakyReLU(0.2),
            ]
            inputs = outputs
        layers.append(convolution(inputs, 1, 3, 1, 1))
        self.layers = nn.Sequential(*layers)

    def forward(self, view: Tensor, mixture: MixtureViews) -> Judgement:
        """Judge a set in this discriminator's domain: [batch, source, …] → `Judgement`."""
        batch, sources = view.shape[:2]
        if self.config.kind == "instance":
            return Judgement(self.layers(view.flatten(0, 1)[:, None]).reshape(batch, sources, -1))
        if self.config.condition_on_mixture:
            mixed = mixture.wave if self.config.domain == "wave" else mixture.magnitude
            view = torch.cat([view, mixed[:, None]], 1)
        return Judgement(self.layers(view).reshape(batch, 1, -1))


def make_discriminator(
    config: Discriminator, adversary: Adversary, sources: int
) -> PatchDiscriminator:
    """One of an experiment's discriminators, initialised from torch's global generator."""
    sizes = adversary.wave if config.domain == "wave" else adversary.spectral
    return PatchDiscriminator(config, sizes, sources)
