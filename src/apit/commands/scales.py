"""What commands know of a scale: its configuration, and what is asked of its runs."""

import argparse

from apit import layers
from apit.config import Run, Scale, Scoring, Slots
from apit.errors import UserError


def known_scale(parsed: argparse.Namespace) -> str:
    """Name of the scale that was asked for; UserError, naming those there are, for none."""
    if parsed.scale is None:
        known = ", ".join(layers.scale_names(parsed.configs))
        raise UserError(f"--scale is missing; there are {known}")
    return str(parsed.scale)


def scale_of(parsed: argparse.Namespace) -> Scale:
    """Configuration of the scale that was asked for."""
    return layers.load_scale(known_scale(parsed), parsed.settings, parsed.configs)


def runs_of(parsed: argparse.Namespace) -> list[Run]:
    """A run of each of a scale's experiments."""
    return [
        layers.load_run(known_scale(parsed), name, 0, parsed.settings, parsed.configs)
        for name in scale_of(parsed).experiments
    ]


def scoring_of(scale: Scale) -> Scoring:
    """What of a scale's configuration scoring needs."""
    return Scoring(
        audio=Slots(sources=scale.audio.sources), stft=scale.stft, evaluation=scale.evaluation
    )
