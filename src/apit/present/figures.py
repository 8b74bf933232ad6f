"""Figures: aggregates, histories and spectrograms in, PNG and PDF out; nothing is computed here."""

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import matplotlib as mpl

mpl.use("Agg")

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from apit.config import HEADLINE_DB, ORACLES, TRIVIAL, Domain, Reported
from apit.files import whole_file
from apit.measure.showcase import Showcase

SHOWN_DB = 60  # range of the spectrograms' colour scale

STYLE = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "pdf.fonttype": 42,
    "savefig.dpi": 160,
    "figure.constrained_layout.use": True,
}


class Gallery:
    """Figures of one scale, each written as `NAME.png` and `NAME.pdf`, the caption under it."""

    def __init__(self, output: Path, caption: str):
        self.output, self.caption = output, caption
        self.names: list[str] = []
        sns.set_theme(context="paper", style="ticks", palette="colorblind", rc=STYLE)

    def _write(self, figure: Figure, name: str, note: str = "") -> None:
        figure.supxlabel(f"{note} {self.caption}".strip(), fontsize=6, color="0.4", wrap=True)
        for suffix, metadata in ((".png", {"Software": None}), (".pdf", {"CreationDate": None})):
            with whole_file(self.output / f"{name}{suffix}") as partial:
                figure.savefig(partial, metadata=metadata)
        plt.close(figure)
        self.names.append(name)

    def training_curves(self, histories: Sequence[tuple[str, pd.DataFrame]]) -> None:
        """PIT loss, validation MSi(all), and discriminators' accuracy on what they train on.

        One line for each history, one colour for each experiment.
        """
        figure, (loss, validation, accuracy) = plt.subplots(1, 3, figsize=(10, 3.2))
        names = list(dict.fromkeys(name for name, _ in histories))
        colours = dict(zip(names, sns.color_palette("husl", len(names)), strict=True))
        for name, history in histories:
            colour = colours[name]
            logged = history.dropna(subset="loss/pit")
            smooth = logged["loss/pit"].rolling(5, min_periods=1).mean()
            loss.plot(logged["step"], smooth, color=colour, lw=1, label=name)
            checked = history.dropna(subset="validation/si_snri_all")
            validation.plot(
                checked["step"], checked["validation/si_snri_all"], "o-", ms=3, lw=1, color=colour
            )
            columns = _trained_on(history)
            if columns:
                mean = history[columns].mean(axis=1)
                seen = mean.notna()
                shown = mean[seen].rolling(10, min_periods=1).mean()
                accuracy.plot(history["step"][seen], shown, color=colour, lw=1)
        loss.set(xlabel="step", ylabel="PIT loss (dB)", title="training")
        validation.set(xlabel="step", ylabel="MSi(all) (dB)", title="validation")
        accuracy.set(xlabel="step", ylabel="accuracy", ylim=(0, 1.02), title="discriminators' mean")
        accuracy.axhline(0.5, color="0.7", lw=0.8, zorder=0)
        lines, labels = loss.get_legend_handles_labels()
        legend = dict(zip(labels, lines, strict=True))  # one entry for all seeds
        figure.legend(legend.values(), legend.keys(), loc="outside upper center", ncols=5)
        self._write(figure, "training")

    def improvements(self, summary: pd.DataFrame) -> None:
        """MSi(all) of every experiment, with its interval over mixtures.

        Of the trivial systems only the first: another lies so low that all else would look alike.
        """
        left_out = summary["experiment"].isin(TRIVIAL[1:])
        rows = summary[(summary["aggregate"] == "si_snri_all/2-4") & ~left_out].iloc[::-1]
        figure, axes = plt.subplots(figsize=(6, 0.32 * len(rows) + 1.2))
        colours = ["0.5" if e in ORACLES else sns.color_palette()[0] for e in rows["experiment"]]
        for y, (colour, row) in enumerate(zip(colours, rows.to_dict("records"), strict=True)):
            axes.plot([row["lower"], row["upper"]], [y, y], color=colour, lw=1.5)
            axes.plot(row["mean"], y, "o", color=colour, ms=5)
            axes.annotate(
                f"{row['mean']:+.2f}".replace("-", "−"),
                (row["upper"], y),
                (5, 0),
                textcoords="offset points",
                va="center",
            )
        axes.set_yticks(range(len(rows)), rows["experiment"])
        axes.margins(x=0.12)
        axes.axvline(0, color="0.7", lw=0.8, zorder=0)
        axes.set(xlabel="MSi(all): SI-SNR improvement over all active targets (dB)")
        self._write(figure, "improvement", "Bars: 95 % bootstrap intervals over mixtures.")

    def hole_curves(self, curves: pd.DataFrame) -> None:
        """Hole rate against depth, with bands over mixtures."""
        figure, axes = plt.subplots(figsize=(6, 3.6))
        names = [n for n in curves["experiment"].unique() if n not in TRIVIAL]
        for name, colour in zip(names, sns.color_palette("husl", len(names)), strict=True):
            own = curves[curves["experiment"] == name]
            axes.plot(
                own["depth_db"], 100 * own["mean"], "o-", ms=3, lw=1, color=colour, label=name
            )
            axes.fill_between(
                own["depth_db"],
                100 * own["lower"],
                100 * own["upper"],
                color=colour,
                alpha=0.12,
                lw=0,
            )
        axes.axvline(HEADLINE_DB, color="0.7", lw=0.8, zorder=0)
        axes.set(xlabel="depth D (dB)", ylabel="hole rate (% of the support)", ylim=(0, None))
        if names:
            axes.legend(fontsize=7)
        self._write(
            figure, "holes", "Bands: 95 % bootstrap intervals over mixtures; counted pairs."
        )

    def replacement(self, cells: pd.DataFrame) -> None:
        """Heat map of MSi(all): a row for each domain, a column for each I; blank was not run."""
        places = range(int(cells["replace"].max()) + 1) if len(cells) else range(1)
        grid = cells.pivot(index="domain", columns="replace", values="mean").reindex(
            index=get_args(Domain), columns=places
        )
        low, high = (cells["mean"].min(), cells["mean"].max()) if len(cells) else (0, 1)
        figure, axes = plt.subplots(figsize=(1.1 * len(places) + 2.2, 2.8))
        sns.heatmap(
            grid.astype(float), ax=axes, cmap="viridis", annot=True, fmt=".2f", linewidths=1,
            vmin=low, vmax=high, cbar_kws={"label": "MSi(all) (dB)"},
        )  # fmt: skip
        axes.set(xlabel="replaced estimates I (0: the standard context)", ylabel="domain")
        axes.set_yticklabels(axes.get_yticklabels(), rotation=0)
        self._write(figure, "replacement", "One context-based discriminator; blank: not run.")

    def differences(self, rows: pd.DataFrame, baseline: str, reported: Sequence[Reported]) -> None:
        """Forest plot: each ablation's MSi(all) less the baseline's; dots are single seeds."""
        pooled = rows[rows["seed"] == "all"].iloc[::-1].reset_index(drop=True)
        figure, axes = plt.subplots(figsize=(6, 0.32 * len(pooled) + 1.6))
        for y, row in enumerate(pooled.to_dict("records")):
            own = rows[(rows["experiment"] == row["experiment"]) & (rows["seed"] != "all")]
            axes.plot([row["lower"], row["upper"]], [y, y], color=sns.color_palette()[0], lw=1.5)
            axes.plot(row["mean"], y, "D", color=sns.color_palette()[0], ms=5)
            axes.plot(own["mean"], [y] * len(own), ".", color="0.35", ms=4)
        axes.set_yticks(range(len(pooled)), pooled["experiment"])
        axes.axvline(0, color="0.6", lw=0.8, zorder=0)
        gains = [(line, line.values["gain"]) for line in reported if "gain" in line.values]
        for _, gain in gains:
            axes.axvline(gain, color="0.3", lw=1, ls="--", zorder=0)
        axes.set_ylim(-0.7, len(pooled) - 0.3)
        axes.set(xlabel=f"MSi(all) less that of {baseline} (dB)")
        self._write(
            figure,
            "differences",
            "Bars: 95 % bootstrap intervals over mixtures; dots: seeds. Same mixtures on both "
            "sides."
            + "".join(
                f" Dashed: {gain:+.1f} dB, published as {line.system} ({line.read_in}; "
                f"data: {line.data}; metric: {line.metric})."
                for line, gain in gains
            ),
        )

    def spectrograms(self, shown: Showcase) -> None:
        """Mixture, target and estimates side by side, holes outlined."""
        rows, columns = len(shown.rows), len(shown.rows[0])
        figure, grid = plt.subplots(
            rows, columns, figsize=(2.5 * columns, 1.7 * rows + 0.9), sharex=True, sharey=True,
            squeeze=False,
        )  # fmt: skip
        loudest = max(float(view.decibels.max()) for row in shown.rows for view in row[:2])
        extent = (0.0, shown.seconds, 0.0, shown.kilohertz)
        for axes_row, row in zip(grid, shown.rows, strict=True):
            for axes, view in zip(axes_row, row, strict=True):
                image = axes.imshow(
                    view.decibels.numpy(), origin="lower", aspect="auto", extent=extent,
                    cmap="magma", vmin=loudest - SHOWN_DB, vmax=loudest, interpolation="nearest",
                )  # fmt: skip
                axes.set_title(view.title)
                if view.holes is not None and view.holes.any():
                    axes.contour(
                        np.pad(view.holes.numpy().astype(float), 0), [0.5], extent=extent,
                        colors="#7fdbff", linewidths=0.5,
                    )  # fmt: skip
        for axes in grid[-1]:
            axes.set_xlabel("time (s)")
        for axes in grid[:, 0]:
            axes.set_ylabel("frequency (kHz)")
        figure.colorbar(image, ax=grid, label="magnitude (dB)", aspect=40, pad=0.01)
        outline = Line2D([], [], color="#3aa6d0", lw=1, label=f"hole of {HEADLINE_DB} dB or more")
        figure.legend(handles=[outline], loc="outside upper right")
        self._write(figure, "spectrograms", f"Evaluation mixture {shown.example}.")


def _trained_on(history: pd.DataFrame) -> list[str]:
    """Accuracy columns of real inputs and of the fakes that a discriminator trains on."""
    columns = [c for c in history.columns if c.startswith("accuracy/")]
    replaced = {c.split("/")[1] for c in columns if c.split("/")[2] == "replaced"}
    return [c for c in columns if not (c.split("/")[2] == "fake" and c.split("/")[1] in replaced)]
