"""Discriminators: is a set of K sources ground truth (real) or estimated (fake)? One logit each.

Each looks at one domain (wave, stft, mask) of the whole set jointly (context) or of one source at
a time (instance). [paper]
"""

from collections.abc import Callable, Sequence
from math import prod

import torch
from torch import Tensor, nn

from apit.config import Adversary, Critic
from apit.config import Discriminator as DiscriminatorConfig
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
        self, config: DiscriminatorConfig, adversary: Adversary, sources: int, shape: Sequence[int]
    ):
        super().__init__()
        critic: Critic = getattr(adversary, config.domain)
        self.config, self.critic = config, critic
        inputs = 1 if config.kind == "instance" else sources + config.condition_on_mixture
        planar = len(shape) == 2  # padded by one, where 256 bins would not last for 5 layers [ours]
        convolution: Callable[..., nn.Module] = nn.Conv2d if planar else nn.Conv1d
        left = list(shape)
        layers: list[nn.Module] = []
        for outputs in critic.channels:
            layers += [
                convolution(inputs, outputs, critic.kernel, critic.stride, padding=int(planar)),
                nn.LeakyReLU(SLOPE),
            ]
            left = [(n + 2 * planar - critic.kernel) // critic.stride + 1 for n in left]
            if min(left) < 1:
                raise UserError(
                    f"adversary: {config.name} sees {' × '.join(map(str, shape))} values, too few "
                    f"for {len(critic.channels)} convolutions of kernel {critic.kernel} and "
                    f"stride {critic.stride}; shorten {config.domain}.channels"
                )
            inputs = outputs
        kernel = [min(LAST, n + 2 * planar) for n in left]
        layers.append(convolution(inputs, 1, kernel, padding=int(planar)))
        left = [n + 2 * planar - k + 1 for n, k in zip(left, kernel, strict=True)]
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
