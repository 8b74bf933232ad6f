"""The paper's separator: a U-Net of one-dimensional convolutions over frames, bins as channels."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad, scaled_dot_product_attention

from apit.config import UNet as UNetConfig

GROUP = 16  # channels that are normalised together


class ResNetBlock(nn.Module):
    """`depth` times group norm → SiLU → convolution, around a shortcut. [ours]"""

    def __init__(self, inputs: int, outputs: int, kernel: int, depth: int):
        super().__init__()
        layers: list[nn.Module] = []
        for before in (inputs, *[outputs] * (depth - 1)):
            layers += [
                _norm(before),
                nn.SiLU(),
                nn.Conv1d(before, outputs, kernel, padding=kernel // 2),
            ]
        self.layers = nn.Sequential(*layers)
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv1d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, inputs, frame] → [batch, outputs, frame]."""
        summed: Tensor = self.shortcut(x) + self.layers(x)
        return summed


class SelfAttention(nn.Module):
    """Self-attention over frames, then a feed-forward layer of the same width, each a residual."""

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(_norm(channels) for _ in range(2))
        self.inputs = nn.Conv1d(channels, 3 * channels, 1)
        self.output = nn.Conv1d(channels, channels, 1)
        self.feed_forward = nn.Sequential(
            nn.Conv1d(channels, channels, 1), nn.SiLU(), nn.Conv1d(channels, channels, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """[batch, channel, frame] → the same."""
        parts = self.inputs(self.norms[0](x)).unflatten(1, (3, self.heads, -1))
        query, key, value = parts.mT.unbind(1)  # [batch, head, frame, channel]
        heard = scaled_dot_product_attention(query, key, value).mT.flatten(1, 2)
        x = x + self.output(heard)
        update: Tensor = self.feed_forward(self.norms[1](x))
        return x + update


class UNet(nn.Module):
    """Magnitudes [batch, bin, frame] → mask logits [batch, source, bin, frame]. [paper]

    Encoder of ResNet blocks, each followed by a downsampler; ResNet block, self-attention, ResNet
    block; the decoder mirrored, each block after an upsampler and beside the encoder's output of
    its level; a linear layer. What a block consists of is not stated: kernel, depth and norms
    are [ours], such that the paper's channels give its 46.9 M weights.
    """

    def __init__(self, bins: int, sources: int, config: UNetConfig):
        super().__init__()
        channels, kernel, depth = config.channels, config.kernel, config.depth
        self.sources, self.config = sources, config
        levels = list(pairwise((bins, *channels)))  # channels before and after, from the top down
        self.encoder = nn.ModuleList(ResNetBlock(a, b, kernel, depth) for a, b in levels)
        self.down = nn.ModuleList(nn.Conv1d(c, c, 3, 2, padding=1) for c in channels)
        bottom = channels[-1]
        self.bottleneck = nn.Sequential(
            ResNetBlock(bottom, bottom, kernel, depth),
            SelfAttention(bottom, config.heads),
            ResNetBlock(bottom, bottom, kernel, depth),
        )
        below = (*channels[1:], bottom)  # channels that come up to each level
        self.up = nn.ModuleList(nn.Conv1d(c, c, 3, padding=1) for c in below)
        self.decoder = nn.ModuleList(
            ResNetBlock(a + b, b, kernel, depth) for a, b in zip(below, channels, strict=True)
        )
        self.logits = nn.Sequential(
            _norm(channels[0]), nn.SiLU(), nn.Conv1d(channels[0], sources * bins, 1)
        )

    def forward(self, magnitude: Tensor) -> tuple[Tensor, None]:
        """Mask logits; and no weights of mixture consistency, which are equal then."""
        frames = magnitude.shape[-1]
        x = magnitude if self.config.input_power == 1 else magnitude.pow(self.config.input_power)
        if self.config.standardise:
            x = _standardised(x)
        x = pad(x, (0, -frames % 2 ** len(self.encoder)))
        skips: list[Tensor] = []
        for block, down in zip(self.encoder, self.down, strict=True):
            skips.append(block(x))
            x = down(skips[-1])
        x = self.bottleneck(x)
        for block, up, skip in zip(
            reversed(self.decoder), reversed(self.up), reversed(skips), strict=True
        ):
            x = up(interpolate(x, scale_factor=2.0, mode="linear", align_corners=False))
            x = block(torch.cat([x, skip], 1))
        return self.logits(x)[..., :frames].unflatten(1, (self.sources, -1)), None


def _norm(channels: int) -> nn.GroupNorm:
    groups = next(n for n in range(max(1, channels // GROUP), 0, -1) if channels % n == 0)
    return nn.GroupNorm(groups, channels)


def _standardised(x: Tensor) -> Tensor:
    """Zero mean and unit variance over bins and frames; silence stays zero."""
    variance, mean = torch.var_mean(x, (-2, -1), correction=0, keepdim=True)
    return (x - mean) / (variance + 1e-5).sqrt()
