"""Figures: aggregates and histories in, PDF and PNG out; nothing is computed here."""

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any, get_args

import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from apit.config import HEADLINE_DB, TRIVIAL, Domain, Reported
from apit.measure.spread import Spread
from apit.present.gallery import COLUMN, PAGE, PALE, Gallery, empty, height_of_key, key, signed
from apit.present.looks import BLACK, LEGEND

SMOOTHED = 25  # training curves are means over this share of the training
LABELS = ("PIT loss (dB)", "MSi(all) (dB)\nvalidation", "accuracy of the\ndiscriminators")
INTERVALS = "95 % bootstrap intervals over mixtures"


def training(gallery: Gallery, histories: Sequence[pd.DataFrame]) -> None:
    """PIT loss, validation MSi(all), and discriminators' accuracy on what they train on.

    A history for each record of the gallery; the weights that were chosen are ringed.
    """
    names = [record["run"]["experiment"] for record in gallery.records]
    panels = gallery.panels(names)
    figure, grid = plt.subplots(
        3, len(panels), figsize=(_width(panels), 3.4 + height_of_key(panels)), sharex=True,
        sharey="row", squeeze=False,
    )  # fmt: skip
    for (loss, validation, accuracy), (title, shown) in zip(grid.T, panels.items(), strict=True):
        for number, name in enumerate(shown):
            look = gallery.looks[name]
            own = [pair for pair in zip(gallery.records, histories, strict=True)
                   if pair[0]["run"]["experiment"] == name]  # fmt: skip
            for seed, (record, history) in enumerate(own):
                # One seed has markers, which those of other curves do not hide.
                style = look.of_line | {"lw": 0.9 if len(own) == 1 else 0.5}
                marked = style | (look.of_marker | {"ms": 2.5} if seed == 0 else {})
                marked["markevery"] = (0.04 + 0.03 * number, 0.3)
                loss.plot(*_smoothed(history, ["loss/pit"]), **marked)
                accuracy.plot(*_smoothed(history, _trained_on(history)), **marked)
                checked = history.dropna(subset="validation/si_snri_all").set_index("step")
                values = checked["validation/si_snri_all"]
                validation.plot(values.index / 1000, values, **style)
                best = record["best_step"]
                validation.plot(best / 1000, values[best], ms=4, **look.of_marker)
            loss.plot([], [], label=name, **look.of_line, **look.of_marker)
        key(loss, title)
        accuracy.axhline(0.5, color=PALE, lw=0.8, zorder=0)
        accuracy.set(xlabel="step (thousands)", ylim=(0, 1.03))
    for axes, label in zip(grid[:, 0], LABELS, strict=True):
        axes.set_ylabel(label)
    figure.align_ylabels(grid[:, 0])
    gallery.write(
        figure,
        "training",
        f"Training, by the domain that discriminators judge: PIT loss (mean over a {SMOOTHED}th of "
        "the training), MSi(all) of the validation split, with a marker where the weights that "
        "were chosen are from, and the mean accuracy of the discriminators, where 0.5 is a guess. "
        f"A line for each seed. {LEGEND}",
    )


def improvement(gallery: Gallery, summary: pd.DataFrame) -> None:
    """MSi(all) of every experiment, with its interval over mixtures.

    Of the trivial systems only the first: another lies so low that all else would look alike.
    """
    left_out = summary["experiment"].isin(TRIVIAL[1:])
    rows = summary[(summary["aggregate"] == "si_snri_all/2-4") & ~left_out]
    figure, axes = _rows(rows["experiment"])
    for y, row in enumerate(rows.to_dict("records")):
        _interval(gallery, axes, y, row)
        _beside(axes, y, signed(row["mean"]))
    axes.axvline(0, color=PALE, lw=0.8, zorder=0)
    axes.set(xlabel="MSi(all) (dB)")
    gallery.write(
        figure,
        "improvement",
        "MSi(all), the SI-SNR improvement over all active targets of mixtures of two to four, with "
        f"{INTERVALS}. {LEGEND}",
    )


def per_mixture(gallery: Gallery, spreads: Mapping[str, Spread]) -> None:
    """Distribution over mixtures of each mixture's mean SI-SNRi, with median and quartiles."""
    shown = {name: spread for name, spread in spreads.items() if name not in TRIVIAL}
    figure, axes = _rows(shown)
    values = [(name, value) for name, spread in shown.items() for value in spread.values]
    table = pd.DataFrame(values, columns=["experiment", "value"])
    colours = {name: gallery.looks[name].colour for name in shown}
    if shown:
        sns.violinplot(
            table, x="value", y="experiment", hue="experiment", palette=colours, orient="h",
            ax=axes, inner=None, cut=0, density_norm="width", width=0.85, linewidth=0.4,
            saturation=1, alpha=0.45, legend=False,
        )  # fmt: skip
    for y, spread in enumerate(shown.values()):
        axes.plot([spread.lower, spread.upper], [y, y], color=BLACK, lw=1.6, solid_capstyle="butt")
        axes.plot(spread.median, y, "o", ms=3.2, mfc="white", mec=BLACK, mew=0.7)
        _beside(axes, y, signed(spread.median))
    axes.axvline(0, color=PALE, lw=0.8, zorder=0)
    axes.set(xlabel="SI-SNRi of a mixture (dB)", ylabel="")
    gallery.write(
        figure,
        "per_mixture",
        "Each mixture's mean SI-SNR improvement over its active targets, mixtures of two to four, "
        "all seeds together: distribution, quartiles (bars) and median (dots and numbers).",
    )


def holes(gallery: Gallery, curves: pd.DataFrame) -> None:
    """Hole rate against depth, with bands over mixtures."""
    panels = gallery.panels(n for n in curves["experiment"] if n not in TRIVIAL)
    figure, grid = plt.subplots(
        1, len(panels), figsize=(_width(panels), 2.0 + height_of_key(panels)), sharex=True,
        sharey=True, squeeze=False,
    )  # fmt: skip
    for axes, (title, shown) in zip(grid[0], panels.items(), strict=True):
        for name in shown:
            own, look = curves[curves["experiment"] == name], gallery.looks[name]
            style = look.of_line | look.of_marker
            axes.plot(own["depth_db"], 100 * own["mean"], label=name, **style)
            low, high = 100 * own["lower"], 100 * own["upper"]
            axes.fill_between(own["depth_db"], low, high, color=look.colour, alpha=0.15, lw=0)
        axes.axvline(HEADLINE_DB, color=PALE, lw=0.8, zorder=0)
        axes.set(xlabel="depth D (dB)", ylim=(0, None))
        if shown:
            key(axes, title)
        else:
            empty(axes, "nothing was measured")
    grid[0, 0].set_ylabel("hole rate (% of the support)")
    gallery.write(
        figure,
        "holes",
        "Hole rate: bins of a target's support (within 60 dB of its maximum) where the estimate "
        "lies more than D too low, of the pairs that the FUSS evaluator counts, with "
        f"{INTERVALS}; the vertical line is the depth of the tables. {LEGEND}",
    )


def replacement(gallery: Gallery, cells: pd.DataFrame) -> None:
    """Heat map of MSi(all): a row for each domain, a column for each I; blank was not run."""
    places = range(gallery.records[0]["run"]["audio"]["sources"])
    grid = cells.pivot(index="domain", columns="replace", values="mean").reindex(
        index=get_args(Domain), columns=places
    )
    low, high = (cells["mean"].min(), cells["mean"].max()) if len(cells) else (0, 1)
    figure, axes = plt.subplots(figsize=(COLUMN, 1.9))
    sns.heatmap(
        grid.astype(float), ax=axes, cmap="cividis", linewidths=1.5, vmin=low, vmax=high,
        cbar_kws={"label": "MSi(all) (dB)", "aspect": 12},
    )  # fmt: skip
    for row in cells.to_dict("records"):
        bounds = f"[{row['lower']:.2f}, {row['upper']:.2f}]".replace("-", "−")
        axes.text(
            row["replace"] + 0.5, get_args(Domain).index(row["domain"]) + 0.5,
            f"{signed(row['mean'])}\n{bounds}", fontsize=6, linespacing=1.3, ha="center",
            va="center", color="white" if row["mean"] <= (low + high) / 2 else BLACK,
        )  # fmt: skip
    axes.set(xlabel="replaced estimates I (0: the standard context)", ylabel="domain")
    axes.set_facecolor("0.93")
    axes.tick_params(length=0)
    axes.set_yticklabels(axes.get_yticklabels(), rotation=0)
    gallery.write(
        figure,
        "replacement",
        f"MSi(all) with one context-based discriminator, with {INTERVALS}; blank: not run.",
    )


def differences(
    gallery: Gallery, rows: pd.DataFrame, baseline: str, reported: Sequence[Reported]
) -> None:
    """Forest plot: each ablation's MSi(all) less the baseline's; dots are single seeds."""
    pooled = rows[rows["seed"] == "all"]
    figure, axes = _rows(pooled["experiment"], more=0.3)
    for y, row in enumerate(pooled.to_dict("records")):
        own = rows[(rows["experiment"] == row["experiment"]) & (rows["seed"] != "all")]
        _interval(gallery, axes, y, row)
        axes.plot(own["mean"], [y + 0.32] * len(own), ".", color="0.35", ms=2.5)
        _beside(axes, y, signed(row["mean"]))
    axes.axvline(0, color=PALE, lw=0.8, zorder=0)
    gains = [(line, line.values["gain"]) for line in reported if "gain" in line.values]
    for _, gain in gains:
        axes.axvline(gain, color="0.3", lw=0.8, ls="--", zorder=0)
    axes.set(xlabel=f"MSi(all) less that of {baseline} (dB)")
    axes.locator_params("x", nbins=6)
    published = [
        f"{signed(gain)} dB, published: {line.system} ({line.read_in}; data: {line.data}; metric: "
        f"{line.metric})"
        for line, gain in gains
    ]
    lines = [Line2D([], [], color="0.3", lw=0.8, ls="--", label=fill(t, 50)) for t in published]
    figure.legend(handles=lines, loc="outside upper left")
    gallery.write(
        figure,
        "differences",
        f"MSi(all) less that of {baseline}, pair by pair on the same mixtures, with {INTERVALS}; "
        f"dots below: single seeds. {''.join(f'Dashed: {text}. ' for text in published)}{LEGEND}",
    )


def _width(panels: Mapping[str, Any]) -> float:
    return COLUMN if len(panels) == 1 else PAGE


def _rows(names: Any, more: float = 0.0) -> tuple[Figure, Axes]:
    """A figure of one line for each name, from the top down."""
    figure, axes = plt.subplots(figsize=(COLUMN, 0.16 * max(len(names), 2) + 0.75 + more))
    if len(names):
        axes.set(yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.4, -0.6))
    else:
        empty(axes, "nothing was run")
    return figure, axes


def _interval(gallery: Gallery, axes: Axes, y: int, row: Mapping[Any, Any]) -> None:
    look = gallery.looks[row["experiment"]]
    axes.plot([row["lower"], row["upper"]], [y, y], color=look.colour, lw=1.4)
    axes.plot(row["mean"], y, ms=4.5, **look.of_marker)


def _beside(axes: Axes, y: int, text: str) -> None:
    """Write at the right of a line."""
    axes.text(1.02, y, text, transform=axes.get_yaxis_transform(), va="center", ha="left")


def _smoothed(history: pd.DataFrame, columns: list[str]) -> tuple[pd.Series, pd.Series]:
    """Thousands of steps, and the columns' mean, smoothed."""
    mean = history[columns].mean(axis=1).dropna()
    window = max(1, len(mean) // SMOOTHED)
    return history["step"][mean.index] / 1000, mean.rolling(window, min_periods=1).mean()


def _trained_on(history: pd.DataFrame) -> list[str]:
    """Accuracy columns of real inputs and of the fakes that a discriminator trains on."""
    columns = [c for c in history.columns if c.startswith("accuracy/")]
    replaced = {c.split("/")[1] for c in columns if c.split("/")[2] == "replaced"}
    return [c for c in columns if not (c.split("/")[2] == "fake" and c.split("/")[1] in replaced)]
