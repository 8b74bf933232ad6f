"""TDCN++: the network of the FUSS baseline, dilated convolutions over time."""

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from apit.config import TDCNpp as TDCNppConfig


class Norm(nn.Module):
    """Standardise over the last `axes` axes, then one learnable gain and one bias for all.

    Over frames alone this is the FUSS baseline's per-channel instance norm, over bins and frames
    its layer norm. Silence comes out as the bias.
    """

    def __init__(self, axes: int):
        super().__init__()
        self.axes = axes
        self.gain = nn.Parameter(torch.ones(()))
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """Any shape → the same shape."""
        return torch.addcmul(self.bias, layer_norm(x, x.shape[-self.axes :]), self.gain)


class Dense(nn.Module):
    """Linear layer over channels [batch, channel, frame], Glorot-initialised as in FUSS.

    A matrix product, which on a CPU takes half the time of a convolution with a kernel of one.
    """

    def __init__(self, inputs: int, outputs: int, bias: bool = False):
        super().__init__()
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(outputs, inputs)))
        self.bias = nn.Parameter(torch.zeros(outputs, 1)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """[batch, channel, frame] → the same, with `outputs` channels."""
        y = self.weight @ x
        return y if self.bias is None else y + self.bias


class TDCNBlock(nn.Module):
    """Dense → PReLU, norm → dilated depthwise convolution → PReLU, norm → dense, and a residual."""

    def __init__(self, bottleneck: int, channels: int, kernel: int, dilation: int, scale: float):
        super().__init__()
        self.layers = nn.Sequential(
            Dense(bottleneck, channels),
            nn.PReLU(init=0.1),
            Norm(1),
            nn.Conv1d(
                channels, channels, kernel, padding="same", dilation=dilation, groups=channels
            ),
            nn.PReLU(init=0.1),
            Norm(1),
            Dense(channels, bottleneck),
        )
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, x: Tensor) -> Tensor:
        """[batch, channel, frame] → the same."""
        update: Tensor = self.layers(x)
        return x + self.scale * update


class TDCNpp(nn.Module):
    """TDCN++ as in the FUSS baseline (google-research/sound-separation, network.py, model.py).

    Block b of all starts with output scale 0.9^b; the input of every repeat also receives the
    inputs of all earlier repeats, each through a dense layer.
    """

    def __init__(self, bins: int, sources: int, sizes: TDCNppConfig):
        super().__init__()
        self.sources = sources
        bottleneck, channels, kernel = sizes.bottleneck, sizes.channels, sizes.kernel
        self.norm = Norm(2)
        self.entry = Dense(bins, bottleneck, bias=True)
        self.repeats = nn.ModuleList(
            nn.Sequential(
                *(
                    TDCNBlock(bottleneck, channels, kernel, 2**b, 0.9 ** (r * sizes.blocks + b))
                    for b in range(sizes.blocks)
                )
            )
            for r in range(sizes.repeats)
        )
        self.skips = nn.ModuleDict(
            {
                f"{source}-{target}": Dense(bottleneck, bottleneck, bias=True)
                for target in range(sizes.repeats)
                for source in range(target)
            }
        )
        self.mask = Dense(bottleneck, sources * bins)
        self.consistency = Dense(bottleneck, sources)

    def forward(self, magnitude: Tensor) -> tuple[Tensor, Tensor]:
        """Magnitude [batch, bin, frame] → mask logits, consistency logits."""
        x = self.entry(self.norm(magnitude))
        inputs: list[Tensor] = []
        for target, repeat in enumerate(self.repeats):
            for source, earlier in enumerate(inputs):
                x = x + self.skips[f"{source}-{target}"](earlier)
            inputs.append(x)
            x = repeat(x)
        masks = self.mask(x).unflatten(1, (self.sources, -1))
        return masks, self.consistency(x.mean(-1, keepdim=True)).squeeze(-1)
