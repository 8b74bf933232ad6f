"""Validation: how good a separator is on the mixtures that weights are chosen by."""

from collections.abc import Callable
from math import isnan

import torch

from apit.config import Run
from apit.data.batches import whole_examples
from apit.data.examples import Examples
from apit.errors import UserError
from apit.measure import si_snr
from apit.models.separators import Separator
from apit.training.world import World


def validate(
    separator: Separator,
    examples: Examples,
    run: Run,
    world: World,
    check: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """`validation/si_snri_all`, by which weights are chosen: MSi(all) in dB, of several sources.

    Beside it the paper's `validation/si_snr_i` and, of single sources, `validation/si_snr_s`. Each
    process takes its part. `check` is called between batches, and may raise.
    """
    kinds = ("si_snri_all", "si_snr_i", "si_snr_s")
    sums = torch.zeros(len(kinds), 2, dtype=torch.float64)  # of values, and their number
    size = run.training.validation_batch
    own = range(len(examples))[world.rank :: world.size]
    batches = whole_examples(examples, size, own)
    precision, separator.precision = separator.precision, "float32"  # as whoever loads it later
    separator.eval()
    try:
        for _ in range(0, -(-len(examples) // world.size), size):  # as often in all processes
            check()
            if (batch := next(batches, None)) is None:
                continue
            with torch.inference_mode():
                estimates = separator(batch.mixture.to(world.device)).estimates.cpu()
                signals = {"references": batch.references, "estimates": estimates}
                fuss = si_snr.score(**signals, mixture=batch.mixture)
                paper = si_snr.standard(**signals, mixture=batch.mixture)
            several = fuss.active.sum(-1) > 1  # [batch]
            measured = (
                fuss.si_snri[fuss.active & several[:, None]],
                paper.improvement[several],
                paper.single[fuss.active.sum(-1) == 1],
            )
            sums += torch.tensor([[v.sum().item(), len(v)] for v in measured], dtype=sums.dtype)
    finally:
        separator.precision = precision
        separator.train()
    totals, counts = world.sum(sums.to(world.device)).cpu().unbind(1)
    values = {
        f"validation/{name}": (total / count).item() if count else float("nan")
        for name, total, count in zip(kinds, totals, counts, strict=True)
    }
    if isnan(values["validation/si_snri_all"]):
        raise UserError(
            "the validation split gives no MSi(all) to choose weights by: either it has no mixture "
            "of two sources or more, or the separator's output is not finite"
        )
    return values
