"""Adversarial losses: what discriminators and the separator each try to lower."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import relu

from apit.models.discriminators import Judgement


@dataclass(frozen=True)
class Objective:
    """A game between a discriminator and the separator, on logits [batch, judged, patch].

    All three return one number: per patch, then the mean over patches, then the expectation.
    """

    real: Callable[[Tensor], Tensor]
    fake: Callable[[Tensor], Tensor]
    fooling: Callable[[Tensor], Tensor]

    def discriminator_loss(self, real: Judgement, fake: Judgement) -> Tensor:
        """What a discriminator minimises."""
        return self.real(real.patches).mean() + self.fake(fake.patches).mean()

    def separator_loss(self, fake: Judgement) -> Tensor:
        """What the separator minimises, before its weight λ_d."""
        return self.fooling(fake.patches).mean()


OBJECTIVES = {
    # max E[min(0, −1 + D(real))] + E[min(0, −1 − D(fake))], and min −E[D(fake)]
    "hinge": Objective(lambda d: relu(1 - d), lambda d: relu(1 + d), lambda d: -d),
    "least_squares": Objective(
        lambda d: (d - 1).square(), lambda d: (d + 1).square(), lambda d: (d - 1).square()
    ),
}


def rank_slots(batch: int, sources: int, generator: torch.Generator) -> Tensor:
    """Random rank of every slot [batch, source]: one draw a step serves all discriminators."""
    return torch.rand(batch, sources, generator=generator).argsort(-1).argsort(-1)


def replaced_positions(ranks: Tensor, replace: int) -> Tensor:
    """I-replacement: which I of the K slots are given their ground truth, bool [batch, source].

    Uniform without replacement, independently for every example.
    """
    sources = ranks.shape[-1]
    if not 0 <= replace < sources:
        raise ValueError(f"I = {replace} must lie between 0 and {sources - 1}: I = K is all real")
    return ranks < replace
