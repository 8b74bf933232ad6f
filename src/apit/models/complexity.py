"""How large a run's networks are, and how much they compute."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from apit.config import Run
from apit.models.discriminators import MixtureViews, make_discriminator
from apit.models.separators import make_separator
from apit.models.stft import make_stft


class Complexity(NamedTuple):
    """Weights, and multiply-accumulates of one forward pass per second of sound."""

    parameters: int
    multiply_accumulates: int


def complexities(run: Run) -> dict[str, Complexity]:
    """Complexity of a run's `separator` and of each discriminator, by its name.

    Counted on whole examples, on the meta device: nothing is allocated or computed. Convolutions
    and matrix products count, recurrent steps included; Fourier transforms and activations do not.
    """
    with torch.device("meta"):
        stft = make_stft(run.stft, run.audio.sample_rate)
        mixture = torch.empty(1, run.audio.samples)
        views = MixtureViews(mixture, stft)
        sources = views.sources(torch.empty(1, run.audio.sources, run.audio.samples))
        separator = make_separator(run.separator, run.stft, run.audio)
        found = {"separator": _count(run, separator, separator.network, views.magnitude)}
        for config in run.discriminators:
            assert run.adversary is not None
            discriminator = make_discriminator(config, run.adversary, run.audio.sources)
            view = sources.view(config.domain)
            found[config.name] = _count(run, discriminator, discriminator, view, views)
    return found


def _count(
    run: Run, module: nn.Module, forward: Callable[..., object], *inputs: Tensor | MixtureViews
) -> Complexity:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        forward(*inputs)
    return Complexity(
        parameters=sum(weight.numel() for weight in module.parameters()),
        multiply_accumulates=round(counter.get_total_flops() / 2 / run.audio.seconds),
    )
