"""Configuration: what a scale, an experiment and a run consist of.

There are no defaults in code: every value that a run depends on stands in a file under `configs/`
(`apit.layers` reads them), or in a `--set key=value`.
"""

from apit.config.base import Audio, Config, Domain, Range, Split, Transform
from apit.config.data import Boxes, Data, Fuss, Package, Packages, Procedural, Recipe, Recorded
from apit.config.measuring import (
    HEADLINE_DB,
    IDEAL,
    ORACLES,
    TRIVIAL,
    BSSEval,
    Claim,
    Contrast,
    Evaluation,
    Guard,
    Planning,
    Published,
    Reported,
    Scoring,
    Slots,
)
from apit.config.scale import OF_MIXING_ALONE, Row, Run, Scale, Tuning
from apit.config.training import (
    Adversary,
    Critic,
    Discriminator,
    Experiment,
    LogMSE,
    Separator,
    SpectralCritic,
    TDCNpp,
    Training,
    UNet,
)
