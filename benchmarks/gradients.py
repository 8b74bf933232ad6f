"""How hard each term of a run's loss pulls at the separator at its end, from its last checkpoint.

python benchmarks/gradients.py --data data/mini/packed results/mini/runs/ctx-stft-i1-s0 …

finds checkpoints under work/, where training left them. Medians over training batches of the norms
of λ_d · ∂L_d, of their sum, and of ∂L_PIT, before any clipping; cosine of the sum and ∂L_PIT.
"""

import argparse
import itertools
import json
from collections import defaultdict
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from apit.config import Run
from apit.data.examples import open_examples
from apit.data.remixing import training_batches
from apit.losses.adversarial import rank_slots
from apit.losses.reconstruction import permutation_invariant
from apit.provenance import tensor_generator
from apit.training.checkpoint import read_checkpoint
from apit.training.record import read_record
from apit.training.step import Training
from apit.training.team import Team


def main() -> None:
    """Measure, and print a line for each run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+", help="folders of runs with discriminators")
    parser.add_argument("--data", type=Path, required=True, help="folder of mixtures")
    parser.add_argument("--work", type=Path, default=Path("work"), help="folder of checkpoints")
    parser.add_argument("--batches", type=int, default=40)
    parsed = parser.parse_args()
    torch.set_num_threads(1)
    for folder in parsed.runs:
        run = Run.model_validate_json(json.dumps(read_record(folder)["run"]))
        training = Training(run, Team(torch.device("cpu")))
        pattern = f"{run.scale}/{run.name}-{run.resume_digest}/step-*.pt"
        last = max(parsed.work.glob(pattern), default=None)
        if last is None:
            parser.error(f"{folder}: {parsed.work}/{pattern}: there is no such checkpoint")
        training.load_state_dict(read_checkpoint(last)["state"]["training"])
        print(
            f"{folder.name}, {last.stem}:", pulls(training, parsed.data, parsed.batches), flush=True
        )


def pulls(training: Training, data: Path, batches: int) -> str:
    """Norms of the gradient of each term, and how the sum of them lies to that of L_PIT."""
    run = training.run
    examples = open_examples(data, "train", run.audio)
    generator = tensor_generator(run.seed, "gradients")
    weights = list(training.separator.parameters())
    for discriminator in training.discriminators.values():
        discriminator.requires_grad_(False)
    found: dict[str, list[float]] = defaultdict(list)

    def gradient(term: Tensor) -> Tensor:
        parts = torch.autograd.grad(term, weights, retain_graph=True)
        return torch.cat([part.flatten() for part in parts])

    taken = training_batches(run, examples, None, torch.device("cpu"))
    for batch in itertools.islice(taken, batches):
        separation = training.separator(batch.mixture)
        pit = permutation_invariant(
            training.reconstruction, separation.estimates, batch.references, batch.mixture
        )
        ranks = rank_slots(len(batch.references), run.audio.sources, generator)
        judged = training.judged_sets(batch, pit, separation, ranks)
        plain = gradient(pit.loss)
        found["PIT"].append(plain.norm().item())
        total = torch.zeros_like(plain)
        for name, discriminator in training.discriminators.items():
            term = training.objective.separator_loss(judged.fake(discriminator))
            own = run.weight(discriminator.config) * gradient(term)
            found[name].append(own.norm().item())
            total += own
        found["all discriminators"].append(total.norm().item())
        found["cosine"].append(torch.cosine_similarity(plain, total, dim=0).item())
    return ", ".join(f"{name} {median(values):.2g}" for name, values in found.items())


if __name__ == "__main__":
    main()
