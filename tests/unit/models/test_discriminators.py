import gc
import weakref

import pytest
import torch

from apit.config import Discriminator
from apit.layers import load_run
from apit.models.discriminators import MixtureViews, make_discriminator, ratio_masks
from apit.models.stft import STFT

DOMAINS = ["wave", "stft", "mask"]


@pytest.fixture
def sets(generator):
    views = MixtureViews(torch.randn(3, 800, generator=generator), STFT(64, 32))
    return views.sources(torch.randn(3, 4, 800, generator=generator))


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize(
    ("kind", "conditioned", "judged"),
    [("instance", False, 4), ("context", False, 1), ("context", True, 1)],
)
def test_all_follow_one_contract(tiny, sets, domain, kind, conditioned, judged):
    config = Discriminator(kind=kind, domain=domain, condition_on_mixture=conditioned)
    discriminator = make_discriminator(config, tiny("ctx-stft").adversary, sources=4)
    judgement = discriminator(sets.view(domain), sets.mixture)
    assert judgement.patches.shape[:2] == (3, judged)
    assert judgement.verdict.shape == (3, judged)


def test_an_instance_discriminator_sees_no_neighbour_and_a_context_one_does(tiny, sets):
    view = sets.view("stft")
    changed = view.clone()
    changed[:, 1] += 1
    for kind, sees in (("instance", False), ("context", True)):
        config = Discriminator(kind=kind, domain="stft")
        discriminator = make_discriminator(config, tiny("ctx-stft").adversary, sources=4)
        before, after = (discriminator(v, sets.mixture).patches[:, 0] for v in (view, changed))
        assert torch.equal(before, after) != sees


def test_signals_are_divided_by_the_mixtures_rms(generator):
    mixture = torch.tensor([[3.0, -3.0, 3.0, -3.0]])
    wave = MixtureViews(mixture, STFT(4, 2)).sources(torch.full((1, 2, 4), 6.0)).view("wave")
    assert torch.equal(wave, torch.full((1, 2, 4), 2.0))


def test_ratio_masks_by_hand_and_zero_where_the_mixture_is_inaudible():
    magnitude = torch.tensor([1.0, 3.0]).reshape(1, 2, 1, 1).expand(1, 2, 1, 2)
    mixture = torch.tensor([[[1.0, 1e-7]]])
    views = MixtureViews(torch.ones(1, 8), STFT(4, 2))
    views.magnitude = mixture
    masks = ratio_masks(magnitude, views.audible)
    torch.testing.assert_close(masks[0, :, 0, 0], torch.tensor([0.25, 0.75]))
    assert torch.equal(masks[0, :, 0, 1], torch.zeros(2))


def test_replaced_sets_look_as_if_computed_afresh(generator, sets):
    references = sets.mixture.sources(torch.randn(3, 4, 800, generator=generator))
    positions = torch.rand(3, 4, generator=generator) < 0.5
    mixed = sets.replaced(references, positions)
    afresh = sets.mixture.sources(mixed.view("wave") * sets.mixture.rms[:, None, None])
    for domain in DOMAINS:
        torch.testing.assert_close(mixed.view(domain), afresh.view(domain), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("experiment", ["multi-all-i1"])
def test_discriminators_have_about_0_9_million_parameters_at_paper_scale(experiment):
    run = load_run("paper", experiment, 0)
    for config in run.discriminators:
        with torch.device("meta"):
            made = make_discriminator(config, run.adversary, run.audio.sources)
        assert sum(w.numel() for w in made.parameters()) == pytest.approx(0.9e6, rel=0.2)


def test_a_set_is_freed_with_its_last_name(generator):
    """A reference cycle would keep a step's spectrograms until the garbage collector comes by."""
    views = MixtureViews(torch.randn(3, 800, generator=generator), STFT(64, 32))
    made = views.sources(torch.randn(3, 4, 800, generator=generator))
    mixed = made.replaced(made, torch.ones(3, 4, dtype=torch.bool))
    gc.disable()
    try:
        for name in DOMAINS:
            mixed.view(name)
        kept = [weakref.ref(x) for x in (made, mixed, views, mixed.view("mask"))]
        del made, mixed, views
        assert [ref() for ref in kept] == [None] * 4
    finally:
        gc.enable()
