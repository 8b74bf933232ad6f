"""Gallery: the one style of all figures, and how each is written, with its caption as data."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import matplotlib as mpl

mpl.use("Agg")

import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from apit.config import ORACLES, Domain
from apit.files import whole_file
from apit.present.looks import ALONE, FORKS, SEVERAL, looks
from apit.present.table import Column, span

COLUMN, PAGE = 3.4, 7.0  # widths in inches, of one and of both columns of a conference's page
PALE = "0.7"  # lines that help the eye
DECIBELS = Column("", "dB", 2)
STYLE = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same everywhere
    "font.size": 7,
    "axes.labelsize": 7,
    "axes.titlesize": 7,
    "axes.titleweight": "bold",
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    **{f"{axis}tick.major.{key}": value for axis in "xy"
       for key, value in (("width", 0.6), ("size", 2.5), ("pad", 2))},
    "legend.fontsize": 7,
    "legend.title_fontsize": 7,
    "legend.frameon": False,
    "lines.linewidth": 1,
    "lines.markersize": 3,
    "lines.markeredgewidth": 0.8,
    "pdf.fonttype": 42,
    "savefig.dpi": 300,
    "figure.constrained_layout.use": True,
    **{f"figure.constrained_layout.{key}": 0.02 for key in ("w_pad", "h_pad", "wspace", "hspace")},
}  # fmt: skip


class Gallery:
    """Figures of one scale's runs, each written as `NAME.png` and `NAME.pdf`.

    Captions are kept by name, to be written as data. In the picture itself stands in one line only
    what one must know of it when it is seen alone: the scale, its size, and the commit.
    """

    def __init__(self, output: Path, records: Sequence[Mapping[str, Any]], caption: str):
        self.output, self.records, self.caption = output, records, caption
        self.looks = looks(record["run"] for record in records)
        self.mark = _mark(records)
        self.captions: dict[str, str] = {}
        mpl.rcdefaults()  # whatever a matplotlibrc of the machine says
        sns.set_theme(context="paper", style="ticks", rc=STYLE)

    def panels(self, experiments: Iterable[str]) -> dict[str, list[str]]:
        """Experiments by panel; in every one those without discriminators, and the oracles."""
        names = list(dict.fromkeys(experiments))
        in_all = [name for name in names if self.looks[name].panel == ALONE]
        oracles = [name for name in in_all if name in ORACLES]
        plain = [name for name in in_all if name not in ORACLES]
        of = {
            panel: [name for name in names if self.looks[name].panel == panel]
            for panel in (*get_args(Domain), SEVERAL, FORKS)
        }
        filled = {panel: [*plain, *own, *oracles] for panel, own in of.items() if own}
        return filled or {ALONE: [*plain, *oracles]}

    def write(self, figure: Figure, name: str, says: str) -> None:
        """Write a figure; `says` is what its caption says before that of the scale."""
        figure.supxlabel(self.mark, x=0.99, ha="right", fontsize=5, color="0.45")
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # laid out once for both
        for suffix, metadata in ((".png", {"Software": None}), (".pdf", {"CreationDate": None})):
            with whole_file(self.output / f"{name}{suffix}") as partial:
                figure.savefig(partial, metadata=metadata)
        plt.close(figure)
        self.captions[name] = f"{says} {self.caption}"


def height_of_key(panels: Mapping[str, Sequence[str]]) -> float:
    """Inches that the longest `key` of some panels takes."""
    return 0.135 * (1 + max(map(len, panels.values())))


def key(axes: Axes, title: str) -> None:
    """Name a panel, and what is drawn in it, above it."""
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1), title=title, alignment="left", borderpad=0,
        borderaxespad=0.3, labelspacing=0.25, handlelength=2.6,
        title_fontproperties={"weight": "bold"},
    )  # fmt: skip


def empty(axes: Axes, what: str) -> None:
    """Say that there is nothing to draw."""
    axes.text(0.5, 0.5, what, transform=axes.transAxes, ha="center", va="center", color="0.45")
    axes.set(xticks=[], yticks=[])


def _mark(records: Sequence[Mapping[str, Any]]) -> str:
    run = records[0]["run"]
    counts = Counter(record["run"]["experiment"] for record in records)
    fewest, most = min(counts.values()), max(counts.values())
    seeds = f"{most}" if fewest == most else f"{fewest} to {most}"
    first, *more = sorted({str(record["commit"])[:7] for record in records})
    return (
        f"scale {run['scale']}: {run['audio']['seconds']:g} s at "
        f"{run['audio']['sample_rate'] / 1000:g} kHz, "
        f"{span([record['steps'] for record in records])} steps, "
        f"{seeds} seed{'s' if most > 1 else ''}; commit {first}"
        f"{f' and {len(more)} more' if more else ''}"
    )
