"""Figures: aggregates and histories in, PDF and PNG out; nothing is computed here."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, get_args

import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from apit.config import HEADLINE_DB, IDEAL, ORACLES, TRIVIAL, Domain
from apit.measure.spread import Spread
from apit.present.gallery import COLUMN, DECIBELS, PAGE, PALE, Gallery, empty, height_of_key, key
from apit.present.looks import BLACK, LEGEND

SMOOTHED = 25  # training curves are means over this share of the training
COMPARED = {"si_snr_i": "SI-SNR_I (dB)", "si_snri_all/2-4": "MSi(all) (dB)"}
OF_CONTEXTS = ("validation/si_snr_i", "validation/si_snr_s")
VALIDATED = ("validation/si_snr_i", "validation/si_snri_all")
LABELS = (
    *("SI-SNR_I (dB)\nvalidation", "MSi(all) (dB)\nvalidation"),
    *("accuracy of the\ndiscriminators", "shortcut\n(AUC)"),
)
THOUSANDS = 5000  # steps of a training from which an axis counts in thousands
FAR_BELOW = -25  # dB: what lies lower is not drawn
INTERVALS = "95 % bootstrap intervals over mixtures"


def training(gallery: Gallery, histories: Sequence[pd.DataFrame]) -> None:
    """Validation SI-SNR_I and MSi(all), accuracy of discriminators, and how far a shortcut goes.

    A history for each record of the gallery; the weights that were chosen are marked.
    """
    names = [record["run"]["experiment"] for record in gallery.records]
    panels = gallery.panels(names)
    rows, (unit, steps_of_axis) = len(LABELS), _steps(histories)
    figure, grid = plt.subplots(
        rows, len(panels), figsize=(_width(panels), 1.05 * rows + 0.5 + height_of_key(panels)),
        sharex=True, sharey="row", squeeze=False,
    )  # fmt: skip
    for axes, (title, shown) in zip(grid.T, panels.items(), strict=True):
        for number, name in enumerate(shown):
            look = gallery.looks[name]
            own = [pair for pair in zip(gallery.records, histories, strict=True)
                   if pair[0]["run"]["experiment"] == name]  # fmt: skip
            for seed, (record, history) in enumerate(own):
                # One seed has markers, which those of other curves do not hide.
                style = look.of_line | {"lw": 0.9 if len(own) == 1 else 0.5}
                marked = style | (look.of_marker | {"ms": 2.5} if seed == 0 else {})
                marked["markevery"] = (0.04 + 0.03 * number, 0.3)
                for place, column in zip(axes[:2], VALIDATED, strict=True):
                    values = history.set_index("step")[column].dropna()
                    place.plot(values.index / unit, values, **style)
                    best = record["best_step"]
                    place.plot(best / unit, values[best], ms=4, **look.of_marker)
                for place, start in zip(axes[2:], ("accuracy/", "shortcut/"), strict=True):
                    columns = [c for c in history.columns if c.startswith(start)]
                    steps, mean = _smoothed(history, columns)
                    place.plot(steps / unit, mean, **marked)
            axes[0].plot([], [], label=name, **look.of_line, **look.of_marker)
        key(axes[0], title)
        for place in axes[2:]:
            place.axhline(0.5, color=PALE, lw=0.8, zorder=0)
            place.set(ylim=(-0.03, 1.03))
        axes[-1].set_xlabel(steps_of_axis)
    for place, label in zip(grid[:, 0], LABELS, strict=True):
        place.set_ylabel(label)
    figure.align_ylabels(grid[:, 0])
    gallery.write(
        figure,
        "training",
        "Training, by the domain that discriminators judge: SI-SNR_I and MSi(all) of the "
        "validation split, with a marker where the weights that were chosen are from; the mean "
        "accuracy of the discriminators on what they train on, where 0.5 is a guess; and how well "
        "the share of values near zero alone tells real from fake, as the area under its ROC curve "
        "(0.5: not at all), a mean over domains. The last two are means over a "
        f"{SMOOTHED}th of the training. A line for each seed. {LEGEND}",
    )


def contexts(gallery: Gallery, histories: Sequence[pd.DataFrame]) -> None:
    """How one context-based discriminator alone teaches, with I-replacement and without.

    Validation SI-SNR_I and SI-SNR_S over steps, a column for each domain: thin lines are seeds,
    thick ones their means; the separator of L_PIT alone stands in each, where it was run.
    """
    curves: dict[str, dict[str, list[pd.DataFrame]]] = {}  # domain → experiment → histories
    plain: list[pd.DataFrame] = []
    for record, history in zip(gallery.records, histories, strict=True):
        run = record["run"]
        measured = history.dropna(subset=[*OF_CONTEXTS]).set_index("step")[[*OF_CONTEXTS]]
        judges = [judge for judge in run["discriminators"] if judge["kind"] == "context"]
        if run["experiment"] == "pit":
            plain.append(measured)
        elif run["reconstruction"] == "none" and len(judges) == len(run["discriminators"]) == 1:
            of_domain = curves.setdefault(judges[0]["domain"], {})
            of_domain.setdefault(run["experiment"], []).append(measured)
    columns = {domain: curves[domain] for domain in get_args(Domain) if domain in curves}
    columns = columns or {"wave": {}}
    longest = max(len(own) for own in columns.values()) + bool(plain)
    unit, steps_of_axis = _steps(histories)
    figure, grid = plt.subplots(
        2, len(columns), figsize=(_width(columns), 2.8 + 0.14 * longest),
        sharex=True, sharey="row", squeeze=False,
    )  # fmt: skip
    for axes, (domain, shown) in zip(grid.T, columns.items(), strict=True):
        drawn = {**({"pit": plain} if plain else {}), **shown}
        for name, own in drawn.items():
            style = gallery.looks[name].of_line
            if name != "pit":
                seen = gallery.looks[name].filled == "hollow"
                style |= {"linestyle": "-" if seen else "--"}
            end = style | gallery.looks[name].of_marker | {"markersize": 4.5, "markevery": [-1]}
            for place, column in zip(axes, OF_CONTEXTS, strict=True):
                for one in own:
                    place.plot(one.index / unit, one[column], lw=0.4, alpha=0.7, **style)
                mean = pd.concat([one[column] for one in own], axis=1).mean(axis=1)
                place.plot(mean.index / unit, mean, lw=1.4, **end)
            axes[0].plot([], [], lw=1.4, label=name, **end)
        key(axes[0], domain if shown else "none was run")
        axes[-1].set_xlabel(steps_of_axis)
        axes[0].axhline(0, color=PALE, lw=0.8, zorder=0)
    for place, label in zip(grid[:, 0], ("SI-SNR_I (dB)", "SI-SNR_S (dB)"), strict=True):
        place.set_ylabel(label)
    figure.align_ylabels(grid[:, 0])
    gallery.write(
        figure,
        "contexts",
        "I-replacement: SI-SNR_I of mixtures of two to four and SI-SNR_S of single sources, on the "
        "validation split, while one context-based discriminator alone teaches the separator, by "
        "its domain. Sky blue: the standard context (I = 0); green, orange, blue: I = 1, 2, 3 are "
        "replaced; solid: the mixture is seen (-m), dashed: it is not; black: L_PIT alone. Thin: "
        "single seeds; thick: their mean.",
    )


def improvement(gallery: Gallery, summary: pd.DataFrame) -> None:
    """SI-SNR_I and, beside it, MSi(all) of every system, with intervals over mixtures.

    What gives the mixture in one slot lies so low in MSi(all) that all else would look alike: there
    its number alone is shown.
    """
    left_out = TRIVIAL[1:-1]
    rows = summary[~summary["experiment"].isin(left_out)]
    names = list(dict.fromkeys(rows["experiment"]))
    figure, panels = _panels(names, 0.05)
    _compared(gallery, panels, rows, names)
    gallery.write(
        figure,
        "improvement",
        "SI-SNR_I (the paper's, under which silence has 0 dB) and MSi(all) (the FUSS evaluator's, "
        "over all active targets, where it has −80 dB) of mixtures of two to four, with "
        f"{INTERVALS}; of what lies under −{-FAR_BELOW} dB only the number. "
        f"{' and '.join(left_out)}, near 0 in both, is left out. {LEGEND}",
    )


def per_mixture(gallery: Gallery, spreads: Mapping[str, Spread]) -> None:
    """Distribution over mixtures of SI-SNR_I, with median and quartiles."""
    order = [TRIVIAL[-1], *(name for name in gallery.looks if name not in ORACLES), *IDEAL]
    shown = {name: spreads[name] for name in order if name in spreads}
    figure, (axes,) = _panels(shown, 0, columns=1)
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
        _beside(axes, y, spread.median)
    axes.axvline(0, color=PALE, lw=0.8, zorder=0)
    axes.set(xlabel="SI-SNR_I of a mixture (dB)", ylabel="")
    gallery.write(
        figure,
        "per_mixture",
        "SI-SNR_I of each mixture of two to four, all seeds together: distribution, quartiles "
        "(bars) and median (dots and numbers).",
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
        axes.set_xlabel("depth D (dB)")
        if shown:
            key(axes, title)
        else:
            empty(axes, "nothing was measured")
    grid[0, 0].set(ylabel="hole rate (%)", ylim=(0, None))  # of all panels
    gallery.write(
        figure,
        "holes",
        "Hole rate: of where a target and others sound about as loud, and the target is present in "
        "its estimate, the share where it lies more than D too low; over active targets, with "
        f"{INTERVALS}; the vertical line is the depth of the tables. {LEGEND}",
    )


def replacement(gallery: Gallery, cells: pd.DataFrame) -> None:
    """Heat map of SI-SNR_I with one context-based discriminator; blank was not run.

    A row for each domain, without and with the mixture, and a column for each I. `cells` is the
    data of the table `contexts`.
    """
    shown = cells[(cells["aggregate"] == "si_snr_i") & (cells["domain"] != "")]
    shown = shown.assign(row=shown["domain"] + shown["mixture"].map({True: ", m", False: ""}))
    shown = shown.astype({"replace": int})
    places = range(gallery.records[0]["run"]["audio"]["sources"])
    rows = [f"{domain}{seen}" for domain in get_args(Domain) for seen in ("", ", m")]
    grid = shown.pivot(index="row", columns="replace", values="mean").reindex(
        index=rows, columns=places
    )
    low, high = (shown["mean"].min(), shown["mean"].max()) if len(shown) else (0, 1)
    figure, axes = plt.subplots(figsize=(COLUMN, 2.6))
    sns.heatmap(
        grid.astype(float), ax=axes, cmap="cividis", linewidths=1.5, vmin=low, vmax=high,
        cbar_kws={"label": "SI-SNR_I (dB)", "aspect": 16},
    )  # fmt: skip
    for row in shown.to_dict("records"):
        axes.text(
            row["replace"] + 0.5, rows.index(row["row"]) + 0.5,
            f"{DECIBELS.number(row['mean'], '+')}\n{DECIBELS.bounds(row)}", fontsize=5.2,
            linespacing=1.3, ha="center", va="center",
            color="white" if row["mean"] <= (low + high) / 2 else BLACK,
        )  # fmt: skip
    axes.set(xlabel="replaced estimates I (0: the standard context)", ylabel="")
    axes.set_facecolor("0.93")
    axes.tick_params(length=0)
    axes.set_yticklabels(axes.get_yticklabels(), rotation=0)
    gallery.write(
        figure,
        "replacement",
        "SI-SNR_I of purely adversarial training with one context-based discriminator, by its "
        f"domain; m: it sees the mixture, too. With {INTERVALS}; blank: not run.",
    )


def differences(
    gallery: Gallery,
    rows: pd.DataFrame,
    baseline: str,
    published: Mapping[str, float],
) -> None:
    """Forest plot: what each ablation has more than the baseline; dots are single seeds.

    `published` are differences in SI-SNR_I of the same data, by experiment.
    """
    names = list(dict.fromkeys(rows["experiment"]))
    known = {name: gain for name, gain in published.items() if name in names}
    figure, panels = _panels(names, 0.25 if known else 0.05)
    _compared(gallery, panels, rows[rows["seed"] == "all"], names)
    for axes, (aggregate, title) in zip(panels, COMPARED.items(), strict=True):
        single = rows[(rows["seed"] != "all") & (rows["aggregate"] == aggregate)]
        for name, mean in zip(single["experiment"], single["mean"], strict=True):
            axes.plot(mean, names.index(name) + 0.32, ".", color="0.35", ms=2.5)
        axes.set(xlabel=f"{title.removesuffix(' (dB)')} less\nthat of {baseline} (dB)")
    for name, gain in known.items():
        y = names.index(name)
        panels[0].plot([gain, gain], [y - 0.4, y + 0.4], color="0.3", lw=0.9, ls=(0, (2, 1)))
    if known:
        line = Line2D([], [], color="0.3", lw=0.9, ls=(0, (2, 1)), label="published SI-SNR_I")
        figure.legend(handles=[line], loc="outside upper left")
    said = ", ".join(f"{name} {DECIBELS.number(gain, '+')} dB" for name, gain in known.items())
    dashed = f"Dashed: published, of the same data: {said}. " if known else ""
    gallery.write(
        figure,
        "differences",
        f"SI-SNR_I and MSi(all) less those of {baseline}, on the mixtures and seeds that both "
        f"have, with {INTERVALS}; dots below: single seeds. {dashed}{LEGEND}",
    )


def _width(panels: Mapping[str, Any]) -> float:
    return COLUMN if len(panels) == 1 else PAGE


def _panels(names: Collection[str], more: float, columns: int = 2) -> tuple[Figure, Any]:
    """A figure of one line for each name, from the top down, in panels side by side."""
    height = 0.16 * max(len(names), 2) + 0.75 + more
    figure, grid = plt.subplots(1, columns, figsize=(COLUMN, height), sharey=True, squeeze=False)
    for axes in grid[0]:
        if names:
            axes.set(yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.4, -0.6))
        else:
            empty(axes, "nothing was run")
    return figure, grid[0]


def _compared(
    gallery: Gallery, panels: Sequence[Axes], rows: pd.DataFrame, names: Sequence[str]
) -> None:
    """Means and intervals of both measures by which systems are compared, a panel for each."""
    for axes, (aggregate, title) in zip(panels, COMPARED.items(), strict=True):
        for row in rows[rows["aggregate"] == aggregate].to_dict("records"):
            y = names.index(row["experiment"])
            if row["mean"] > FAR_BELOW:
                look = gallery.looks[row["experiment"]]
                axes.plot([row["lower"], row["upper"]], [y, y], color=look.colour, lw=1.4)
                axes.plot(row["mean"], y, ms=4.5, **look.of_marker)
            _beside(axes, y, row["mean"])
        axes.axvline(0, color=PALE, lw=0.8, zorder=0)
        axes.set(xlabel=title)
        axes.xaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))


def _beside(axes: Axes, y: int, value: float) -> None:
    """Write a value in dB at the right of a line."""
    text = DECIBELS.number(value, "+")
    axes.text(1.02, y, text, transform=axes.get_yaxis_transform(), va="center", ha="left")


def _steps(histories: Sequence[pd.DataFrame]) -> tuple[int, str]:
    """How many steps are one of the axis, by the longest training, and what the axis is called."""
    longest = max((history["step"].max() for history in histories if len(history)), default=0)
    return (1000, "step (thousands)") if longest >= THOUSANDS else (1, "step")


def _smoothed(history: pd.DataFrame, columns: list[str]) -> tuple[pd.Series, pd.Series]:
    """Steps, and the columns' mean, smoothed."""
    mean = history[columns].astype(float).mean(axis=1).dropna()
    window = max(1, len(mean) // SMOOTHED)
    return history["step"][mean.index], mean.rolling(window, min_periods=1).mean()
