"""A residual U-Net over bins and frames, with a recurrent network over time at its bottom."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from apit.config import UNetSizes

GROUP = 8  # channels that are standardised together


class ResidualBlock(nn.Module):
    """Twice group norm → PReLU → convolution, around a shortcut: [batch, channel, bin, frame]."""

    def __init__(self, inputs: int, outputs: int, kernel: int):
        super().__init__()
        self.layers = nn.Sequential(
            _norm(inputs),
            nn.PReLU(),
            nn.Conv2d(inputs, outputs, kernel, padding="same"),
            _norm(outputs),
            nn.PReLU(),
            nn.Conv2d(outputs, outputs, kernel, padding="same"),
        )
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, inputs, bin, frame] → [batch, outputs, bin, frame]."""
        summed: Tensor = self.shortcut(x) + self.layers(x)
        return summed


class Recurrence(nn.Module):
    """A bidirectional LSTM over frames, whose steps see all channels and bins of a frame."""

    def __init__(self, features: int, hidden: int, layers: int):
        super().__init__()
        self.lstm = nn.LSTM(features, hidden, layers, batch_first=True, bidirectional=True)
        self.out = nn.Linear(2 * hidden, features)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, channel, bin, frame] → the same."""
        steps = x.flatten(1, 2).mT  # [batch, frame, channel × bin]
        update: Tensor = self.out(self.lstm(steps)[0])
        return x + update.mT.reshape(x.shape)


class UNet(nn.Module):
    """2-D residual U-Net with a recurrent bottleneck; each level halves bins and frames.

    The paper's separator as far as it is recalled: its wiring is this project's. Magnitudes are
    compressed by a cube root, so that soft bins are seen at all.
    """

    def __init__(self, bins: int, sources: int, sizes: UNetSizes):
        super().__init__()
        channels, kernel = sizes.channels, sizes.kernel
        levels = list(pairwise(channels))  # from the top down
        self.entry = nn.Conv2d(1, channels[0], kernel, padding="same")
        self.encoders = nn.ModuleList(ResidualBlock(c, c, kernel) for c in channels[:-1])
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in levels)
        for _ in levels:
            bins = -(-bins // 2)
        self.bottom = ResidualBlock(channels[-1], channels[-1], kernel)
        self.recurrence = Recurrence(channels[-1] * bins, sizes.recurrent, sizes.recurrent_layers)
        self.decoders = nn.ModuleList(ResidualBlock(a + b, a, kernel) for a, b in levels)
        self.exit = nn.Sequential(
            _norm(channels[0]), nn.PReLU(), nn.Conv2d(channels[0], sources, 1)
        )
        self.consistency = nn.Linear(channels[-1], sources)

    def forward(self, magnitude: Tensor) -> tuple[Tensor, Tensor]:
        """Magnitude [batch, bin, frame] → mask logits, consistency logits."""
        x: Tensor = self.entry(_standardised(magnitude.pow(1 / 3))[:, None])
        skips: list[Tensor] = []
        for encoder, down in zip(self.encoders, self.down, strict=True):
            x = encoder(x)
            skips.append(x)
            x = down(x)  # [batch, channel, bin / 2, frame / 2], rounded up
        x = self.recurrence(self.bottom(x))
        consistency = self.consistency(x.mean((-2, -1)))
        for decoder in reversed(self.decoders):
            skip = skips.pop()
            x = decoder(torch.cat([skip, _doubled(x, skip.shape[-2], skip.shape[-1])], 1))
        return self.exit(x), consistency


def _doubled(x: Tensor, bins: int, frames: int) -> Tensor:
    """Every bin and frame twice, cut to a size; interpolation's gradient is random on CUDA."""
    return x.repeat_interleave(2, -2)[..., :bins, :].repeat_interleave(2, -1)[..., :frames]


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(max(1, channels // GROUP), channels)


def _standardised(x: Tensor) -> Tensor:
    """Zero mean and unit variance over bins and frames; silence stays zero."""
    variance, mean = torch.var_mean(x, (-2, -1), correction=0, keepdim=True)
    return (x - mean) / (variance + 1e-5).sqrt()
