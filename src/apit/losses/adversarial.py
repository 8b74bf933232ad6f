"""Adversarial losses on discriminators' logits [batch, judged]: the hinge, and I-replacement."""

import torch
from torch import Tensor
from torch.nn.functional import relu


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """What D minimises: −E[min(0, −1 + D(real))] − E[min(0, −1 − D(fake))]. [paper]

    Logits [batch, judged] → their mean loss [].
    """
    return relu(1 - real).mean() + relu(1 + fake).mean()


def separator_loss(fake: Tensor) -> Tensor:
    """What the separator minimises: −E[D(fake)]. [paper]

    Logits [batch, judged] → their mean loss [].
    """
    return -fake.mean()


def rank_slots(batch: int, sources: int, generator: torch.Generator) -> Tensor:
    """Random rank of every slot [batch, source]: one draw a step serves all discriminators."""
    return torch.rand(batch, sources, generator=generator).argsort(-1).argsort(-1)


def replaced_positions(ranks: Tensor, replace: int) -> Tensor:
    """I-replacement: which I of the K slots are given their ground truth, bool [batch, source].

    `ranks` [batch, source] are those of `rank_slots`, so that positions are uniform without
    replacement, independently for every example. Raises ValueError unless 0 ≤ I < K.
    [paper, Eq. 3]
    """
    sources = ranks.shape[-1]
    if not 0 <= replace < sources:
        raise ValueError(f"I = {replace} must lie between 0 and {sources - 1}: I = K is all real")
    return ranks < replace


def replaced(real: Tensor, aligned: Tensor, positions: Tensor) -> Tensor:
    """I-replacement: estimates, with the targets at `positions` [batch, source]. [paper, Eq. 3]

    Both are [batch, source, …] in one order: waveforms, magnitudes or masks.
    """
    where = positions.reshape(*positions.shape, *[1] * (aligned.dim() - 2))
    return torch.where(where, real, aligned)
