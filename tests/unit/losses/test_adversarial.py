import pytest
import torch

from apit.losses.adversarial import (
    discriminator_loss,
    rank_slots,
    replaced_positions,
    separator_loss,
)

REAL = torch.tensor([[2.0, 0.5], [-1.0, 1.0]])  # [batch, judged]
FAKE = torch.tensor([[-2.0, 0.5], [-1.0, 1.0]])


def test_hinge_by_hand():
    # real: max(0, 1 − D) = 0, ½, 2, 0; fake: max(0, 1 + D) = 0, 1½, 0, 2
    assert discriminator_loss(REAL, FAKE).item() == pytest.approx(2.5 / 4 + 3.5 / 4)
    assert separator_loss(FAKE).item() == pytest.approx(1.5 / 4)


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
