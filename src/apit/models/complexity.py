"""How large a run's networks are, and how much they compute."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from apit.config import Discriminator, Run
from apit.models.discriminators import make_discriminator
from apit.models.separators import make_separator


class Complexity(NamedTuple):
    """Weights, and multiply-accumulates of one forward pass per second of sound."""

    parameters: int
    multiply_accumulates: int


Networks = dict[str, tuple[nn.Module, tuple[Tensor, ...]]]  # by name, with inputs of one mixture


def networks(run: Run, discriminators: Sequence[Discriminator]) -> Networks:
    """A run's `separator` and these discriminators by name, on the meta device.

    Nothing is allocated or computed.
    """
    samples, sources = run.audio.samples, run.audio.sources
    with torch.device("meta"):
        separator = make_separator(run.separator, run.stft, run.audio)
        spectrum = separator.mask_shape(samples)
        found: Networks = {"separator": (separator.network, (torch.empty(1, *spectrum),))}
        for config in discriminators:
            assert run.adversary is not None
            shape = (samples,) if config.domain == "wave" else spectrum
            made = make_discriminator(config, run.adversary, sources, shape)
            found[config.name] = made, (torch.empty(1, *shape), torch.empty(1, sources, *shape))
    return found


def complexities(run: Run) -> dict[str, Complexity]:
    """Complexity of each of a run's networks, counted on whole examples.

    Convolutions and matrix products count; Fourier transforms and activations do not.
    """
    return _counts(run, run.discriminators)


def _counts(run: Run, discriminators: Sequence[Discriminator]) -> dict[str, Complexity]:
    return {name: _count(run, *found) for name, found in networks(run, discriminators).items()}


def _count(run: Run, module: nn.Module, inputs: tuple[Tensor, ...]) -> Complexity:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(*inputs)
    return Complexity(
        parameters=sum(weight.numel() for weight in module.parameters()),
        multiply_accumulates=round(counter.get_total_flops() / 2 / run.audio.seconds),
    )


def activations(module: nn.Module, inputs: tuple[Tensor, ...]) -> int:
    """Bytes that the backward pass of one mixture needs to be kept, weights aside."""
    sizes: dict[int, int] = {}
    weights = {id(w.untyped_storage()) for w in module.parameters()}
    kept = []  # so that no two storages share an address

    def pack(saved: Tensor) -> Tensor:
        storage = saved.untyped_storage()
        kept.append(storage)
        if id(storage) not in weights and not isinstance(saved, nn.Parameter):
            sizes[storage._cdata] = storage.nbytes()
        return saved

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved):
        module(*inputs)
    return sum(sizes.values())


def step_memory(run: Run) -> float:
    """Bytes of memory that a step takes at the least, from shapes alone.

    Weights, their gradients and Adam's two moments, the average; for the whole batch what the
    separator gives, and what is made of it for discriminators: three spectra for each domain and
    two for each discriminator; of one part of it the activations of the separator and, on real
    and fake, of the largest discriminator.
    """
    found = networks(run, run.discriminators)
    module, inputs = found.pop("separator")
    counts = [sum(w.numel() for w in network.parameters()) for network, _ in found.values()]
    own = sum(w.numel() for w in module.parameters())
    fixed = 4 * (4 * (own + sum(counts)) + (own if run.training.average_decay else 0))
    judged = [activations(*network) for network in found.values()]
    spectrum = run.audio.sources * inputs[0].numel() * 4
    batch = run.training.batch_size
    part = batch // run.training.accumulate
    each = activations(module, inputs) + 2 * max(judged, default=0)
    domains = {config.domain for config in run.discriminators}
    spectra = 4 + 3 * len(domains) + 2 * len(run.discriminators)
    return fixed + batch * spectra * spectrum + part * each


def step_macs(run: Run, discriminators: Sequence[Discriminator]) -> int:
    """Multiply-accumulates of a step with these discriminators: a backward pass costs two forward.

    A discriminator runs forward and back on real and fake, for its weights; forward on fake again,
    and back for its input alone. One that is never trained does only the latter.
    """
    counts = _counts(run, discriminators)
    macs = 3 * counts["separator"].multiply_accumulates
    for config in discriminators:
        passes = 2 if config.frozen else 3 + 3 + 2
        macs += passes * counts[config.name].multiply_accumulates
    return round(macs * run.training.crop_seconds * run.training.batch_size)


def total_steps(run: Run) -> int:
    """Steps of a run: its own, or as many as cost the multiply-accumulates of `as_costly_as`."""
    other = run.as_costly_as
    if other is None:
        return run.training.steps
    macs = total_steps(other) * step_macs(other, other.discriminators)
    return round(macs / step_macs(run, run.discriminators))
