"""Configuration: what a scale, an experiment and a run consist of.

There are no defaults in code: every value that a run depends on stands in a file under `configs/`
(`apit.layers` reads them), or in a `--set key=value`.
"""

from apit.config.base import Audio, Domain, Frozen, Range, Split, Transform
from apit.config.data import Data, Fuss, Package, Procedural, Recipe, Rooms
from apit.config.measuring import (
    HEADLINE_DB,
    IDEAL,
    ORACLES,
    TRIVIAL,
    BSSEval,
    Claim,
    Evaluation,
    Guard,
    Published,
    Reported,
    Scoring,
    Slots,
)
from apit.config.scale import Run, Scale, mixing_digest
from apit.config.training import (
    Adversary,
    Convolutions,
    Discriminator,
    Experiment,
    LogMSE,
    Separator,
    TDCNppSizes,
    Training,
    UNetSizes,
)

__all__ = [
    "HEADLINE_DB",
    "IDEAL",
    "ORACLES",
    "TRIVIAL",
    "Adversary",
    "Audio",
    "BSSEval",
    "Claim",
    "Convolutions",
    "Data",
    "Discriminator",
    "Domain",
    "Evaluation",
    "Experiment",
    "Frozen",
    "Fuss",
    "Guard",
    "LogMSE",
    "Package",
    "Procedural",
    "Published",
    "Range",
    "Recipe",
    "Reported",
    "Rooms",
    "Run",
    "Scale",
    "Scoring",
    "Separator",
    "Slots",
    "Split",
    "TDCNppSizes",
    "Training",
    "Transform",
    "UNetSizes",
    "mixing_digest",
]
