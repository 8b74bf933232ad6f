import pytest
import torch

from apit.layers import load_run
from apit.losses.adversarial import replaced
from apit.models.separators import make_separator
from apit.models.views import Views, auc, near_zero


def views_of(run, references, masks=None, **options):
    separator = make_separator(run.separator, run.stft, run.audio).train()
    mixture = references.sum(1)
    outputs = separator.outputs(mixture)
    masks = separator.to_masks(outputs) if masks is None else masks
    estimates = lambda: separator.estimates(masks, mixture, outputs)  # noqa: E731
    made = Views(separator, run.adversary, mixture, references, masks, estimates, **options)
    return made, separator, masks


@pytest.fixture
def references(generator):
    return torch.randn(2, 4, 4000, generator=generator)


def test_signals_are_divided_by_the_mixtures_rms(tiny, references):
    for gain in (1.0, 7.0):
        view = views_of(tiny("six"), gain * references)[0].view("wave")
        torch.testing.assert_close(view.mixture.square().mean(-1), torch.ones(2))
        torch.testing.assert_close(view.real.sum(1), view.mixture, atol=1e-5, rtol=1e-5)


def test_fakes_of_stft_and_mask_come_straight_from_the_masks(tiny, references):
    views, separator, masks = views_of(tiny("six"), references)
    spectrum = separator.spectrum(references.sum(1)).abs() * views.gain[:, None, None]
    stft, mask = views.view("stft"), views.view("mask")
    torch.testing.assert_close(stft.fake, masks * spectrum[:, None])
    torch.testing.assert_close(stft.fake.sum(1), spectrum)  # softmax masks: |M|, exactly
    assert torch.equal(mask.fake, masks)  # all of noise is audible
    targets = separator.spectrum(references).abs() * views.gain[:, None, None, None]
    torch.testing.assert_close(stft.real, targets, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(mask.real, targets / targets.sum(1, keepdim=True), atol=1e-4, rtol=0)
    torch.testing.assert_close(stft.mixture, spectrum, atol=1e-4, rtol=1e-4)


def test_nothing_is_synthesised_for_stft_and_mask(tiny, references):
    run = tiny("six")
    views, _, _ = views_of(run, references)
    views.estimates = None
    views.view("stft"), views.view("mask")
    with pytest.raises(TypeError):
        views.view("wave")


def test_masks_are_zero_where_the_mixture_is_inaudible(tiny, references):
    references[..., 2000:] = 0
    view = views_of(tiny("six"), references)[0].view("mask")
    assert not view.real[..., -5:].any()
    assert not view.fake[..., -5:].any()


def test_real_magnitudes_may_be_masked(tiny, references):
    run = tiny("six", "adversary.stft.real_magnitudes=masked")
    view = views_of(run, references)[0].view("stft")
    torch.testing.assert_close(view.real.sum(1), view.mixture)


def test_a_floor_lies_under_real_and_fake(tiny, references):
    references[:, 2:] = 0
    run = tiny("six", "adversary.stft.floor_db=-40", "adversary.mask.floor_db=-40")
    views, _, masks = views_of(run, references)
    plain = views_of(tiny("six"), references, masks)[0]
    floor = 0.01 * plain.view("stft").mixture.amax((-2, -1))[:, None, None, None]
    for side in ("real", "fake"):
        expected = getattr(plain.view("stft"), side) + floor
        torch.testing.assert_close(getattr(views.view("stft"), side), expected)
    targets = plain.view("stft").real
    expected = (targets + floor) / (targets.sum(1, keepdim=True) + 4 * floor)
    torch.testing.assert_close(views.view("mask").real, expected)
    torch.testing.assert_close(views.view("mask").fake.sum(1), torch.ones(2, 128, 32))


def test_spectra_are_moved_alike_and_by_nothing_at_paper(tiny, references):
    run = tiny("six")
    plain, _, masks = views_of(run, references)
    moved = views_of(run, references, masks, shift=(2, 1))[0]
    for side in ("mixture", "real", "fake"):
        before, after = (getattr(v.view("stft"), side) for v in (plain, moved))
        torch.testing.assert_close(after[..., 2:, 1:], before[..., :-2, :-1])
        assert not after[..., :2, :].any()
        assert not after[..., :1].any()
    adversary = load_run("paper", "six", 0).adversary
    assert (adversary.shift, adversary.pit_weight) == (0, "balanced")
    for critic in (adversary.stft, adversary.mask):
        assert (critic.floor_db, critic.compression) == (None, 1)
    assert adversary.stft.real_magnitudes == "target"


def test_compression_is_a_power(tiny, references):
    view = views_of(tiny("six", "adversary.stft.compression=0.5"), references)[0].view("stft")
    plain = views_of(tiny("six"), references)[0].view("stft")
    torch.testing.assert_close(view.real, plain.real.sqrt(), atol=2e-3, rtol=1e-3)
    references[0, 1:] = 0  # a single source: where masks are one and zero, fake is real
    masks = torch.zeros(2, 4, 128, 32)
    masks[:, 0] = 1
    run = tiny("six", "adversary.stft.compression=0.3")
    alike = views_of(run, references[:1], masks[:1])[0].view("stft")
    torch.testing.assert_close(alike.fake, alike.real, atol=1e-5, rtol=1e-4)
    assert alike.fake[:, 1:].abs().max() < 1e-6


def test_of_masks_compression_is_of_the_mixture_alone(tiny, references):
    run, masks = tiny("six", "adversary.mask.compression=0.3"), None
    views, _, masks = views_of(run, references)
    plain = views_of(tiny("six"), references, masks)[0]
    view, usual = views.view("mask"), plain.view("mask")
    torch.testing.assert_close(view.mixture, usual.mixture.pow(0.3), atol=2e-2, rtol=1e-2)
    assert torch.equal(view.real, usual.real)
    assert torch.equal(view.fake, usual.fake)
    assert torch.equal(views.view("stft").mixture, plain.view("stft").mixture)


@pytest.mark.parametrize("domain", ["wave", "stft", "mask"])
def test_eq_3_replaces_targets_and_gradients_reach_what_is_left(tiny, references, domain):
    view = views_of(tiny("six"), references)[0].view(domain)
    positions = torch.tensor([[True, False, True, True], [False, True, False, False]])
    aligned = view.fake.detach().requires_grad_()
    mixed = replaced(view.real, aligned, positions)
    assert torch.equal(mixed[positions], view.real[positions])
    assert torch.equal(mixed[~positions], aligned[~positions])
    (gradient,) = torch.autograd.grad(mixed.square().sum(), aligned)
    assert not gradient[positions].any()
    assert gradient[~positions].flatten(1).any(1).all()


def test_the_shortcut_is_an_auc_of_shares_near_zero(tiny, references):
    assert auc(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 1.0])) == (3 + 0.5) / 4
    references[:, 3] = 0
    view = views_of(tiny("six"), references)[0].view("stft")
    real, fake = near_zero(view)
    assert (real[:, 3] == 1).all()
    assert (fake < 0.5).all()
    assert auc(real[:, 3], fake) == 1


def test_near_zero_is_measured_within_each_example(tiny, references):
    references[1] *= 1e-4
    view = views_of(tiny("six"), references)[0].view("stft")
    shares = near_zero(view)[0].mean(1)
    assert shares[1] < 2 * shares[0] + 0.01
