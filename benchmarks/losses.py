"""How fast the PIT loss is, forward and backward, beside torchmetrics: prints ratios.

    python benchmarks/losses.py [--brief]

Four mixtures of 10 s at 16 kHz with four sources; the best of several rounds in turns.
"""

import argparse

import torch
from scoring import BRIEF, compare
from torchmetrics.functional.audio import (
    permutation_invariant_training,
    scale_invariant_signal_distortion_ratio,
)

from apit.layers import load_scale
from apit.losses.reconstruction import LogMSE, best_permutation, pit_loss

BATCH, SLOTS, SAMPLES = 4, 4, 160_000


def main() -> None:
    """Compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--brief", action="store_true", help=BRIEF)
    rounds = 1 if parser.parse_args().brief else 15
    generator = torch.Generator().manual_seed(0)
    references = torch.randn(BATCH, SLOTS, SAMPLES, generator=generator)
    noise = torch.randn(references.shape, generator=generator)
    estimates = (references + 0.3 * noise)[:, [2, 0, 3, 1]].requires_grad_()
    mixture = references.sum(1)
    loss = LogMSE(**load_scale("mini").log_mse.model_dump())

    def ours() -> None:
        estimates.grad = None
        signals = (loss, estimates, references, mixture)
        pit_loss(*signals, best_permutation(*signals)).backward()

    def torchmetrics() -> None:
        estimates.grad = None
        value, _ = permutation_invariant_training(
            estimates, references, scale_invariant_signal_distortion_ratio, eval_func="max"
        )
        (-value.mean()).backward()

    source = torch.empty_like(references)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads\n")
    compare(
        "PIT loss, forward and backward",
        {
            "apit, thresholded log-MSE": ours,
            "torchmetrics, SI-SDR": torchmetrics,
            "a copy of the estimates": lambda: source.copy_(references),
        },
        rounds=rounds,
    )


if __name__ == "__main__":
    main()
