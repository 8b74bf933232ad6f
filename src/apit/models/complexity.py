"""How large a run's networks are, and how much they compute."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from apit.config import Run
from apit.models.discriminators import make_discriminator
from apit.models.separators import OwnSeparator, make_separator
from apit.own import is_own


class Complexity(NamedTuple):
    """Weights, and multiply-accumulates of one forward pass per second of sound."""

    parameters: int
    multiply_accumulates: int


Networks = dict[str, tuple[nn.Module, tuple[Tensor, ...]]]  # by name, with inputs of one mixture


def networks(run: Run) -> Networks:
    """A run's `separator` and its discriminators by name, on the meta device.

    Nothing is allocated or computed; but a separator of one's own, which may not know that device,
    is made on the CPU, with all others.
    """
    samples, sources = run.audio.samples, run.audio.sources
    with torch.device("cpu" if is_own(run.separator.architecture) else "meta"):
        separator = make_separator(run.separator, run.stft, run.audio)
        spectrum = separator.mask_shape(samples)
        heard = (samples,) if isinstance(separator, OwnSeparator) else spectrum
        made: Networks = {"separator": (separator.network, (torch.empty(1, *heard),))}
        for config in run.discriminators:
            shape = (samples,) if config.domain == "wave" else spectrum
            discriminator = make_discriminator(run, config, shape)
            inputs = torch.empty(1, *shape), torch.empty(1, sources, *shape)
            made[config.name] = discriminator, inputs
    return made


def complexities(run: Run) -> dict[str, Complexity]:
    """Complexity of a run's separator and discriminators, counted on whole examples.

    Convolutions and matrix products count; Fourier transforms and activations do not.
    """
    counts = {}
    for name, (network, inputs) in networks(run).items():
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(*inputs)
        counts[name] = Complexity(
            parameters=_size(network),
            multiply_accumulates=round(counter.get_total_flops() / 2 / run.audio.seconds),
        )
    return counts


def _size(network: nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())


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

    Weights, their gradients and Adam's two moments, the EMA; for the whole batch what the
    separator gives, and what is made of it for discriminators: three spectra for each domain and
    two for each discriminator; of one part of it the activations of the separator and, on real
    and fake, of the largest discriminator.
    """
    separator, *others = networks(run).values()
    module, inputs = separator
    own, size = _size(module), sum(_size(network) for network, _ in others)
    fixed = 4 * (4 * (own + size) + (own if run.training.ema_decay else 0))
    judged = [activations(*network) for network in others]
    spectrum = run.audio.sources * inputs[0].numel() * 4
    batch = run.training.batch_size
    part = batch // run.training.grad_accum_steps
    each = activations(module, inputs) + 2 * max(judged, default=0)
    domains = {config.domain for config in run.discriminators}
    spectra = 4 + 3 * len(domains) + 2 * len(run.discriminators)
    return fixed + batch * spectra * spectrum + part * each


def step_macs(run: Run) -> int:
    """Multiply-accumulates of a step: a backward pass costs two forward.

    A discriminator runs forward and back on real and fake, for its weights; forward on fake again,
    and back for its input alone. One that is never trained does only the latter.
    """
    counts = complexities(run)
    macs = 3 * counts["separator"].multiply_accumulates
    for config in run.discriminators:
        passes = 2 if config.frozen else 3 + 3 + 2
        macs += passes * counts[config.name].multiply_accumulates
    return round(macs * run.training.crop_seconds * run.training.batch_size)


def total_steps(run: Run) -> int:
    """Steps of a run: its own, or as many as cost the multiply-accumulates of `as_costly_as`.

    What came before them does not count: a warm-up, or the run that a fork starts from.
    """
    other = run.as_costly_as
    if other is None:
        return run.training.steps
    macs = total_steps(other) * step_macs(other)
    return round(macs / step_macs(run))
