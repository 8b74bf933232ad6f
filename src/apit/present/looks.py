"""Looks: colour, line and marker of every experiment, from what its entry says, for all figures.

The colours are Okabe and Ito's, which colour-blind readers tell apart; lines and markers alone tell
the experiments of a panel apart in grey.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from apit.config import ORACLES, Discriminator

BLACK, VERMILION, PURPLE, GREY = "#000000", "#d55e00", "#cc79a7", "#8c8c8c"
BY_REPLACED = ("#56b4e9", "#009e73", "#e69f00", "#0072b2")  # by the number I
MARKERS = "osDPhp"  # by the number I
ALONE, SEVERAL, FORKS = "no discriminator", "several domains", "forks"
WITH_PIT, ADVERSARIAL, CONTROL, BASELINE = "-", "--", "-.", ":"
LEGEND = (
    "Solid: with L_PIT; dashed: purely adversarial; dash-dotted: controls; dotted: TDCN++. Black: "
    "no discriminator (hollow: a fork); vermilion triangles: instance-based; context-based by I: "
    "sky-blue circles (0), green squares (1), orange diamonds (2), blue crosses (3); purple: both "
    "kinds; hollow: the mixture is seen, too; grey: not trained."
)


@dataclass(frozen=True)
class Look:
    """How matplotlib draws an experiment, and with which others in one panel."""

    panel: str  # a domain, SEVERAL, FORKS, or ALONE, which is shown in all panels
    colour: str
    line: str
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


def look(run: Mapping[str, Any]) -> Look:
    """Give the experiment of a resolved run its look.

    Controls are those with another loss, with as many multiply-accumulates as another experiment,
    with other batches, or with a discriminator that is never trained.
    """
    judges = [Discriminator.model_validate(judge) for judge in run["discriminators"]]
    is_fork = bool(run.get("start_from"))
    other = run["reconstruction"] not in ("log_mse", "none") or run["as_costly_as"]
    if other or run.get("batches") or any(judge.frozen for judge in judges):
        line = CONTROL
    else:
        line = ADVERSARIAL if run["reconstruction"] == "none" else WITH_PIT
    if not judges:
        if is_fork:
            return Look(FORKS, BLACK, line, "v", "hollow")
        if run["separator"]["architecture"] == "tdcnpp":
            return Look(ALONE, BLACK, BASELINE, "s", "half")
        return Look(ALONE, BLACK, line, "v")
    domains = list({judge.domain for judge in judges})
    panel = domains[0] if len(domains) == 1 else SEVERAL
    kinds = {judge.kind for judge in judges}
    replace = max(judge.replace for judge in judges)
    if len(kinds) == 2:
        colour, marker = PURPLE, "X"
    elif "instance" in kinds:
        colour, marker = VERMILION, "^"
    else:
        colour = BY_REPLACED[replace % len(BY_REPLACED)]
        marker = MARKERS[replace % len(MARKERS)]
    return Look(
        FORKS if is_fork else panel,
        colour,
        line,
        marker,
        "hollow" if any(judge.condition_on_mixture for judge in judges) else "whole",
    )


def looks(runs: Iterable[Mapping[str, Any]]) -> dict[str, Look]:
    """Looks of all experiments that resolved runs are of, in their order, and of the oracles."""
    of_runs = {run["experiment"]: look(run) for run in runs}
    marks = zip(ORACLES, "***<>", strict=True)
    return of_runs | {name: Look(ALONE, GREY, "-", marker) for name, marker in marks}
