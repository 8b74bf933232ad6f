"""Spectrograms: a mixture, a target and its estimates side by side, holes outlined, and a zoom."""

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

SYSTEMS = (
    "pit, pit-tdcnpp (the DCASE baseline), and of the adversarial runs with that seed the best on "
    "the validation split, where they were run"
)
SHOWN_DB = 80  # range of the colour scale, downwards
HOLE, TINT = "#7fe5ff", 0.25


def spectrograms(gallery: Gallery, shown: Showcase) -> None:
    """Mixture, target and estimates side by side; below them the passage, enlarged."""
    views, zoom = shown.views, shown.zoom
    figure, grid = plt.subplots(
        2, len(views), figsize=(PAGE, 3.9), height_ratios=(1, 1.6), squeeze=False
    )
    bins, frames = views[0].decibels.shape
    unit = np.array((shown.seconds / frames, shown.kilohertz / bins))  # a frame, a bin
    start = unit * (zoom.frames.start, zoom.bins.start)
    stop = unit * (zoom.frames.stop, zoom.bins.stop)
    for whole, close, view in zip(*grid, views, strict=True):
        for axes, outline in ((whole, 0.2), (close, 0.6)):
            image = _spectrogram(axes, view, unit, outline=outline)
        whole.set_title(view.title)
        whole.add_patch(Rectangle(start, *(stop - start), fill=False, ec="white", lw=0.8))
        _ticks_at_ends(whole, shown)
        close.set(xlim=(start[0], stop[0]), ylim=(start[1], stop[1]), xlabel="time (s)")
        close.locator_params("x", nbins=3)
        close.locator_params("y", nbins=4)
        for axes in (whole, close):
            axes.tick_params(labelleft=view is views[0])
    grid[0, 0].set_ylabel("frequency (kHz)")
    grid[1, 0].set_ylabel("enlarged\nfrequency (kHz)")
    figure.colorbar(image, ax=grid, label="dB re the target's loudest bin", aspect=50, pad=0.01)
    face = (*np.multiply(TINT, to_rgba(HOLE)[:3]),)  # as it looks on black
    hole = Patch(facecolor=face, edgecolor=HOLE, label=f"hole: more than {HEADLINE_DB} dB too low")
    figure.legend(handles=[hole], loc="outside upper right")
    gallery.write(
        figure,
        "spectrograms",
        f"Evaluation mixture {shown.example}, its {views[1].title}, and estimates, at the target's "
        f"level, of {SYSTEMS}. Outlined: holes, where the target and others sound about as loud, "
        f"and the target lies more than {HEADLINE_DB} dB too low. Enlarged, from the white box: "
        "the passage with most holes, of the first evaluation mixtures (evaluation.keep_examples), "
        "among the estimates that are present, those whose SI-SNR improvement lies above the "
        "median in all systems shown.",
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
