"""Looks: colour, line and marker of every experiment, from what its entry says, for all figures.

The colours are Okabe and Ito's, which colour-blind readers tell apart; lines and markers alone tell
the experiments of a panel apart in grey.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from apit.config import ORACLES, Experiment

BLACK, BLUE, SKY, VERMILION, PURPLE = "#000000", "#0072b2", "#56b4e9", "#d55e00", "#cc79a7"
GREY = "#8c8c8c"
ALONE, SEVERAL = "no discriminator", "several domains"
MARKERS = "osDPhp"  # by the number I
LINES = ("-", "-", "--", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (9, 2)))  # by the number I
CONTROL = "-."
LEGEND = (
    "Black: no discriminator; vermilion triangles: instance-based; sky-blue circles: "
    "context-based, I = 0; blue: context-based, I = 1 (squares), 2 (diamonds) or 3 (crosses); "
    "purple: both kinds; grey: not trained. Half filled: two domains; hollow: the mixture is seen, "
    "too. Dash-dotted: controls."
)


@dataclass(frozen=True)
class Look:
    """How matplotlib draws an experiment, and with which others in one panel."""

    panel: str  # a domain, SEVERAL, or ALONE, which is shown in all panels
    colour: str
    line: str | tuple[int, tuple[int, ...]]
    marker: str
    filled: Literal["whole", "half", "hollow"] = "whole"

    @property
    def of_line(self) -> dict[str, Any]:
        """What draws its line."""
        return {"color": self.colour, "linestyle": self.line}

    @property
    def of_marker(self) -> dict[str, Any]:
        """What draws its markers."""
        face = "white" if self.filled == "hollow" else self.colour
        style = {"marker": self.marker, "mfc": face, "mec": self.colour}
        return style | ({"fillstyle": "left", "mfcalt": "white"} if self.filled == "half" else {})


def look(experiment: Experiment) -> Look:
    """Give an experiment its look.

    Controls are those with another loss, a matched training time, or a frozen discriminator.
    """
    judges = experiment.discriminators
    other = experiment.reconstruction != "log_mse" or experiment.train_as_long_as is not None
    control = other or any(judge.frozen for judge in judges)
    if not judges:
        return Look(ALONE, BLACK, CONTROL if control else "-", "v")
    domains = list({judge.domain for judge in judges})
    kinds = {judge.kind for judge in judges}
    replace = max(judge.replace for judge in judges)
    if len(kinds) == 2:
        colour, marker = PURPLE, "X"
    elif "instance" in kinds:
        colour, marker = VERMILION, "^"
    else:
        colour, marker = BLUE if replace else SKY, MARKERS[replace % len(MARKERS)]
    return Look(
        domains[0] if len(domains) == 1 else SEVERAL,
        colour,
        CONTROL if control else LINES[replace % len(LINES)],
        marker,
        "hollow" if any(judge.condition_on_mixture for judge in judges)
        else "half" if len(domains) == 2
        else "whole",
    )  # fmt: skip


def looks(runs: Iterable[Mapping[str, Any]]) -> dict[str, Look]:
    """Looks of all experiments that resolved runs are of, in their order, and of the oracles."""
    keys = ("discriminators", "reconstruction", "train_as_long_as")
    found = {
        run["experiment"]: look(Experiment.model_validate({key: run[key] for key in keys}))
        for run in runs
    }
    marks = zip(ORACLES, "***<>", strict=True)
    return found | {name: Look(ALONE, GREY, "-", marker) for name, marker in marks}
