"""What scores depend on, and a look at them."""

from collections.abc import Mapping, Sequence
from typing import Any

from apit.config import Claim, Scale
from apit.data.identities import READING
from apit.identity import Identity, Stamp, identify

SCORES = (
    *READING, "models/stft", "models/precision", "models/separators", "models/unet",
    "models/tdcnpp", "losses/permutation", "measure/bss_eval", "measure/score", "measure/si_snr",
    "measure/spectral_holes", "measure/systems", "measure/table",
)  # fmt: skip
LOOK = (
    "measure/statistics",
    "measure/table",
    "measure/variance",
    "measure/contrasts",
    "measure/verdicts",
)


def of_look(scale: Scale, claims: Sequence[Claim], scores: Mapping[str, Stamp]) -> Identity:
    """Of a first look at the claims, by the scores of systems."""
    configuration = {
        "claims": [claim.model_dump(mode="json") for claim in claims],
        "looks": [list(seeds) for seeds in scale.looks],
    }
    return identify("look", configuration, scores, LOOK)


def of_scores(
    scale: Scale, system: str, data: Stamp, run: Stamp | None = None, **part: Any
) -> Identity:
    """Of the scores of a run, or of an oracle's; `part` says of what, if not of all that is due."""
    evaluation = scale.evaluation.model_dump(mode="json", exclude={"resamples", "batch_size"})
    stft = scale.stft.model_dump(mode="json")
    configuration = {"system": system, "stft": stft, "evaluation": evaluation, **part}
    return identify("scores", configuration, {"data": data, "run": run}, SCORES)
