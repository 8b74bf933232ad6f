"""Discriminators: is a set of K sources ground truth (real) or estimated (fake)? One logit each.

Each looks at one domain (wave, stft, mask) of the whole set jointly (context) or of one source at
a time (instance). [paper]
"""

from collections.abc import Callable, Sequence
from math import prod
from typing import Literal

import torch
from torch import Tensor, nn

from apit.config import Discriminator as DiscriminatorConfig
from apit.config import Run
from apit.errors import UserError
from apit.models.precision import Precision, arithmetic

SLOPE = 0.2  # of LeakyReLU [ours]
LAST = 4  # kernel of the projection to one channel


class Discriminator(nn.Module):
    """Strided convolutions, a projection to one channel, and a linear layer over what is left.

    The linear layer ties it to inputs of one size: `shape` is (time,), or (bins, frames).
    """

    precision: Precision = "float32"

    def __init__(
        self,
        config: DiscriminatorConfig,
        sources: int,
        shape: Sequence[int],
        channels: Sequence[int],
        kernel: int,
        stride: int,
    ):
        super().__init__()
        self.config = config
        inputs = 1 if config.kind == "instance" else sources + config.condition_on_mixture
        planar = len(shape) == 2  # padded by one, where 256 bins would not last for 5 layers [ours]
        convolution: Callable[..., nn.Module] = nn.Conv2d if planar else nn.Conv1d
        left = list(shape)
        layers: list[nn.Module] = []
        for outputs in channels:
            layers += [
                convolution(inputs, outputs, kernel, stride, padding=int(planar)),
                nn.LeakyReLU(SLOPE),
            ]
            left = [(n + 2 * planar - kernel) // stride + 1 for n in left]
            if min(left) < 1:
                raise UserError(
                    f"{' × '.join(map(str, shape))} values are too few for {len(channels)} "
                    f"convolutions of kernel {kernel} and stride {stride}; give fewer channels (in "
                    f"a configuration: adversary.{config.domain}.channels)"
                    if len(shape) < 3
                    else f"shape {tuple(shape)} must be (time,) or (bins, frames)"
                )
            inputs = outputs
        last = [min(LAST, n + 2 * planar) for n in left]
        layers.append(convolution(inputs, 1, last, padding=int(planar)))
        left = [n + 2 * planar - k + 1 for n, k in zip(left, last, strict=True)]
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(prod(left), 1))

    def forward(self, mixture: Tensor, sources: Tensor) -> Tensor:
        """Mixture [batch, …] and sources [batch, source, …] of its domain → logits [batch, judged].

        `judged` is K, or 1 in context. Above zero means real.
        """
        batch = len(sources)
        if self.config.kind == "instance":
            return self._logits(sources.flatten(0, 1)[:, None]).reshape(batch, -1)
        if self.config.condition_on_mixture:
            sources = torch.cat([mixture[:, None], sources], 1)
        return self._logits(sources)

    def _logits(self, inputs: Tensor) -> Tensor:
        with arithmetic(self.precision, inputs.device):
            logits: Tensor = self.layers(inputs)
        return logits.float()


def make_discriminator(
    run: Run, config: DiscriminatorConfig, shape: Sequence[int]
) -> Discriminator:
    """One of a run's discriminators, for inputs of a shape."""
    critic = run.critic(config)
    sizes = critic.channels, critic.kernel, critic.stride
    return Discriminator(config, run.audio.sources, shape, *sizes)


def discriminator(
    sources: int,
    shape: Sequence[int],
    channels: Sequence[int],
    *,
    kind: Literal["instance", "context"] = "context",
    condition_on_mixture: bool = False,
    kernel: int = 4,
    stride: int = 3,
) -> Discriminator:
    """A discriminator of sets of `sources` signals, for a training loop of one's own. [paper]

    `shape` of each signal is (time,), or (bins, frames) of magnitudes or masks; `channels` are
    those of its strided convolutions. The paper's are 128, 256, 256, 512 for waveforms and
    64, 128, 128, 256 for spectra. Called with the mixture [batch, …] and sources
    [batch, source, …] it gives logits [batch, 1] (context) or [batch, source] (instance), above
    zero for real. Raises UserError where so few values do not last for so many convolutions;
    ValueError for another kind, and for an instance that is to see the mixture.
    """
    config = DiscriminatorConfig(
        kind=kind,
        domain="wave" if len(shape) == 1 else "stft",
        condition_on_mixture=condition_on_mixture,
    )
    return Discriminator(config, sources, shape, channels, kernel, stride)
