import pytest
import torch

from apit.losses.adversarial import OBJECTIVES, rank_slots, replaced_positions
from apit.models.discriminators import Judgement, MixtureViews
from apit.models.stft import STFT

REAL = Judgement(torch.tensor([[[2.0, 0.5]], [[-1.0, 1.0]]]))  # [batch, judged, patch]
FAKE = Judgement(torch.tensor([[[-2.0, 0.5]], [[-1.0, 1.0]]]))


def test_hinge_by_hand():
    hinge = OBJECTIVES["hinge"]
    # real: max(0, 1 − D) = 0, ½, 2, 0; fake: max(0, 1 + D) = 0, 1½, 0, 2
    assert hinge.discriminator_loss(REAL, FAKE).item() == pytest.approx(2.5 / 4 + 3.5 / 4)
    assert hinge.separator_loss(FAKE).item() == pytest.approx(1.5 / 4)


def test_least_squares_by_hand():
    squares = OBJECTIVES["least_squares"]
    # real: (D − 1)² = 1, ¼, 4, 0; fake: (D + 1)² = 1, 2¼, 0, 4; fooling: (D − 1)² = 9, ¼, 4, 0
    assert squares.discriminator_loss(REAL, FAKE).item() == pytest.approx(5.25 / 4 + 7.25 / 4)
    assert squares.separator_loss(FAKE).item() == pytest.approx(13.25 / 4)


@pytest.mark.parametrize("replace", [0, 1, 2, 3])
def test_replacement_takes_i_slots_uniformly_and_for_each_example_anew(generator, replace):
    positions = replaced_positions(rank_slots(6000, 4, generator), replace)
    assert (positions.sum(1) == replace).all()
    shares = positions.float().mean(0)
    torch.testing.assert_close(shares, torch.full((4,), replace / 4), atol=0.03, rtol=0)


@pytest.mark.parametrize("replace", [-1, 4])
def test_replacing_all_or_less_than_none_is_refused(replace):
    with pytest.raises(ValueError, match="must lie between 0 and 3"):
        replaced_positions(torch.zeros(1, 4), replace)


def replaced_set(references, estimates, positions):
    views = MixtureViews(references.sum(1), STFT(32, 16))
    return views.sources(estimates).replaced(views.sources(references), positions)


def test_gradients_reach_estimates_only_where_they_stand(generator):
    references = torch.randn(5, 4, 200, generator=generator)
    estimates = torch.randn(5, 4, 200, generator=generator).requires_grad_()
    positions = replaced_positions(rank_slots(*references.shape[:2], generator), 2)
    mixed = replaced_set(references, estimates, positions)
    for domain in ("wave", "stft"):
        (gradient,) = torch.autograd.grad(
            mixed.view(domain).square().sum(), estimates, retain_graph=True
        )
        assert (gradient[positions] == 0).all()
        assert (gradient[~positions].abs().sum(-1) > 0).all()


def test_one_source_and_three_replacements_may_leave_a_silent_slot_as_the_only_fake(generator):
    references = torch.zeros(400, 4, 64)
    references[:, 0] = torch.randn(400, 64, generator=generator)
    estimates = torch.randn(400, 4, 64, generator=generator)
    positions = replaced_positions(rank_slots(*references.shape[:2], generator), 3)
    wave = replaced_set(references, estimates, positions).view("wave")
    rms = references.sum(1).square().mean(-1).sqrt()[:, None]
    fake_slots = (~positions).float().argmax(1)
    assert set(fake_slots.tolist()) == {0, 1, 2, 3}
    for example, slot in enumerate(fake_slots.tolist()):
        torch.testing.assert_close(wave[example, slot], estimates[example, slot] / rms[example])
        others = [k for k in range(4) if k != slot]
        torch.testing.assert_close(
            wave[example, others], references[example, others] / rms[example]
        )
