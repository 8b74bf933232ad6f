import pytest
import torch
from torch import nn

from apit.config import Discriminator as DiscriminatorConfig
from apit.errors import UserError
from apit.layers import load_run
from apit.models.discriminators import make_discriminator

SHAPES = {"wave": (800,), "stft": (32, 25), "mask": (32, 25)}


def made(tiny, shape, **config):
    return make_discriminator(tiny("six"), DiscriminatorConfig(**config), shape)


@pytest.mark.parametrize("domain", SHAPES)
@pytest.mark.parametrize(
    ("kind", "conditioned", "judged", "channels"),
    [("instance", False, 4, 1), ("context", False, 1, 4), ("context", True, 1, 5)],
)
def test_all_give_one_scalar_for_each_that_is_judged(
    tiny, generator, domain, kind, conditioned, judged, channels
):
    shape = SHAPES[domain]
    found = made(tiny, shape, kind=kind, domain=domain, condition_on_mixture=conditioned)
    mixture = torch.randn(3, *shape, generator=generator)
    sources = torch.randn(3, 4, *shape, generator=generator)
    assert found(mixture, sources).shape == (3, judged)
    assert found.layers[0].in_channels == channels


def test_the_mixture_is_the_first_channel(tiny, generator):
    found = made(tiny, (800,), kind="context", domain="wave", condition_on_mixture=True)
    seen = []
    found.layers[0].register_forward_hook(lambda layer, inputs, output: seen.append(inputs[0]))
    mixture, sources = torch.randn(2, 800), torch.randn(2, 4, 800)
    found(mixture, sources)
    assert torch.equal(seen[0][:, 0], mixture)
    assert torch.equal(seen[0][:, 1:], sources)


def test_an_instance_discriminator_sees_no_neighbour(tiny, generator):
    view = torch.rand(3, 4, 32, 25, generator=generator)
    changed = view.clone()
    changed[:, 1] += 1
    found = made(tiny, (32, 25), kind="instance", domain="stft")
    mixture = view.sum(1)
    before, after = found(mixture, view), found(mixture, changed)
    assert torch.equal(before[:, [0, 2, 3]], after[:, [0, 2, 3]])
    assert not torch.equal(before[:, 1], after[:, 1])


@pytest.mark.parametrize("domain", SHAPES)
def test_layers_and_sizes_are_the_papers_at_paper_scale(domain):
    run = load_run("paper", "six", 0)
    shape = (160_000,) if domain == "wave" else (256, 1250)
    expected = [128, 256, 256, 512] if domain == "wave" else [64, 128, 128, 256]
    for config in (d for d in run.discriminators if d.domain == domain):
        with torch.device("meta"):
            found = make_discriminator(run, config, shape)
            assert found(torch.empty(1, *shape), torch.empty(1, 4, *shape)).shape[0] == 1
        assert 0.92e6 < sum(w.numel() for w in found.parameters()) < 0.93e6
        convolutions = [m for m in found.layers if isinstance(m, nn.Conv1d | nn.Conv2d)]
        assert [c.out_channels for c in convolutions] == [*expected, 1]
        assert {c.kernel_size[0] for c in convolutions} == {4}
        assert [c.stride[0] for c in convolutions] == [3, 3, 3, 3, 1]
        assert found.layers[-1].out_features == 1


def test_inputs_that_are_too_short_are_told_with_the_key(tiny):
    with pytest.raises(UserError, match=r"^3 values are too few .* adversary.wave.channels"):
        made(tiny, (3,), kind="instance", domain="wave")
