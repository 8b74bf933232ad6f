"""Spectrograms: one mixture, its targets and estimates side by side, holes outlined, and a zoom."""

from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from matplotlib.image import AxesImage
from matplotlib.patches import Patch, Rectangle
from numpy.typing import NDArray

from apit.config import HEADLINE_DB
from apit.measure.showcase import Showcase, View
from apit.present.gallery import PAGE, Gallery

BEST = ", of the adversarial runs with that seed the best on the validation split"
SHOWN_DB = 80  # range of the colour scale, below the loudest bin
HOLE, TINT = "#7fe5ff", 0.25


def spectrograms(gallery: Gallery, shown: Showcase) -> None:
    """A row for each target: mixture, target and estimates. The last row enlarges a passage."""
    zoom, rows = shown.zoom, [*shown.rows, shown.rows[shown.zoom.row]]
    heights = [1.0] * len(shown.rows) + [1.6]
    figure, grid = plt.subplots(
        len(rows), len(rows[0]), figsize=(PAGE, sum(heights) + 0.9), height_ratios=heights,
        squeeze=False,
    )  # fmt: skip
    bins, frames = rows[0][0].decibels.shape
    unit = np.array((shown.seconds / frames, shown.kilohertz / bins))  # a frame, a bin
    start = unit * (zoom.frames.start, zoom.bins.start)
    stop = unit * (zoom.frames.stop, zoom.bins.stop)
    for number, (axes_row, row) in enumerate(zip(grid, rows, strict=True)):
        close = number == len(shown.rows)
        for axes, view in zip(axes_row, row, strict=True):
            image = _spectrogram(axes, view, unit, outline=0.6 if close else 0.2)
            if close:
                axes.set(xlim=(start[0], stop[0]), ylim=(start[1], stop[1]), xlabel="time (s)")
                axes.locator_params(nbins=4)
            else:
                _ticks_at_ends(axes, shown)
                axes.tick_params(labelbottom=number == len(shown.rows) - 1)
            if number == zoom.row:
                axes.add_patch(Rectangle(start, *(stop - start), fill=False, ec="white", lw=0.8))
            axes.tick_params(labelleft=axes is axes_row[0])
        axes_row[0].set_ylabel(f"{'enlarged' if close else row[1].title}\nfrequency (kHz)")
    titles = ["mixture", "target", *(view.title for view in rows[0][2:])]
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title)
    figure.colorbar(image, ax=grid, label="magnitude (dB re the loudest bin)", aspect=50, pad=0.01)
    face = (*np.multiply(TINT, to_rgba(HOLE)[:3]),)  # as it looks on black
    hole = Patch(facecolor=face, edgecolor=HOLE, label=f"hole: {HEADLINE_DB} dB too low, or more")
    figure.legend(handles=[hole], loc="outside upper right")
    gallery.write(
        figure,
        "spectrograms",
        f"Evaluation mixture {shown.example}, that with most active targets among those whose "
        f"estimates are kept, under {' and '.join(titles[2:])}"
        f"{BEST if len(titles) > 3 else ''}. Outlined: bins of the target's support that lie more "
        f"than {HEADLINE_DB} dB too low. Enlarged, from the white box: the passage where "
        f"{titles[2]} has most holes.",
    )


def _spectrogram(axes: Axes, view: View, unit: NDArray[np.float64], *, outline: float) -> AxesImage:
    bins, frames = view.decibels.shape
    placed: dict[str, Any] = {
        "origin": "lower",
        "aspect": "auto",
        "extent": (0, frames * unit[0], 0, bins * unit[1]),
    }
    image = axes.imshow(view.decibels.numpy(), cmap="magma", vmin=-SHOWN_DB, vmax=0, **placed)
    if view.holes is not None:
        holes = view.holes.numpy()
        axes.imshow(holes[..., None] * np.array(to_rgba(HOLE, TINT)), **placed)
        edges = LineCollection([*(_edges(holes) * unit)], colors=HOLE, linewidths=outline)
        edges.set(rasterized=True, capstyle="projecting")
        axes.add_collection(edges, autolim=False)
    axes.spines[:].set_visible(True)
    return image


def _edges(holes: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Lines between holes [bin, frame] and what is none [edge, end, (frame, bin)]."""
    padded = np.pad(holes, 1)
    bins, frames = np.nonzero(np.diff(padded[:, 1:-1], axis=0))
    below = np.array(((frames, bins), (frames + 1, bins)))
    bins, frames = np.nonzero(np.diff(padded[1:-1], axis=1))
    beside = np.array(((frames, bins), (frames, bins + 1)))
    return np.concatenate((below, beside), axis=2).transpose(2, 0, 1)


def _ticks_at_ends(axes: Axes, shown: Showcase) -> None:
    """Ticks at both ends and in the middle, whose labels do not stand out over the ends."""
    for axis, end in ((axes.xaxis, shown.seconds), (axes.yaxis, shown.kilohertz)):
        axis.set_ticks([0, end / 2, end], [f"{place:g}" for place in (0, end / 2, end)])
    for label, side in zip(axes.get_xticklabels(), ("left", "center", "right"), strict=True):
        label.set(ha=side)
    for label, side in zip(axes.get_yticklabels(), ("bottom", "center", "top"), strict=True):
        label.set(va=side)
