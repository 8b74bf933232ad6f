"""Tables: aggregates in, CSV, Markdown and LaTeX out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from apit.files import whole_file


@dataclass(frozen=True)
class Column:
    """How an aggregate is headed and printed."""

    title: str
    unit: str
    digits: int
    factor: float = 1.0


COLUMNS = {
    "si_snr/1": Column("1S", "dB", 1),
    "si_snri/2": Column("2", "dB", 2),
    "si_snri/3": Column("3", "dB", 2),
    "si_snri/4": Column("4", "dB", 2),
    "si_snri/2-4": Column("MSi", "dB", 2),
    "si_snri_all/2-4": Column("MSi(all)", "dB", 2),
    "si_snri_all/2-4/median": Column("median", "dB", 2),
    "under_separation": Column("under", "%", 0, 100),
    "equal_separation": Column("equal", "%", 0, 100),
    "over_separation": Column("over", "%", 0, 100),
    "hole_rate": Column("holes", "%", 1, 100),
    "excess_rate": Column("excess", "%", 1, 100),
}

LEGEND = (
    "1S: SI-SNR of mixtures of one source; 2, 3, 4 and MSi (2 to 4): SI-SNR improvement over the "
    "pairs that the FUSS evaluator counts; MSi(all) and its median: over all active targets; "
    "under, equal, over: mixtures with fewer, as many, or more active estimates than targets; "
    "holes: bins of a source's support that lie more than 20 dB too low; excess: bins outside it "
    "that leak."
)
INTERVALS = (
    "In brackets 95 % bootstrap intervals over mixtures, which say nothing about other seeds; "
    "n is the number of values."
)


def caption(records: Sequence[Mapping[str, Any]], note: str) -> str:
    """What a scale's runs were, from their records, and the configuration's note on them."""
    run = records[0]["run"]
    sizes = sorted({record["parameters"]["separator"] for record in records})
    size = " to ".join(dict.fromkeys(f"{n / 1e6:.1f}" for n in (sizes[0], sizes[-1])))
    seeds = len({record["run"]["seed"] for record in records})
    sounds = sorted({record["sounds"].partition(" (sha256")[0] for record in records})
    commits = ", ".join(sorted({str(record["commit"])[:7] for record in records}))
    return (
        f"Scale {run['scale']}: {' and '.join(sounds)}, "
        f"{run['audio']['seconds']:g} s at {run['audio']['sample_rate'] / 1000:g} kHz; "
        f"a separator of {size} M parameters, {run['training']['steps']} steps, {seeds} "
        f"seed{'s' if seeds > 1 else ''}; trained at commit {commits}. {note}"
    )


def write_ablations(summary: pd.DataFrame, caption: str, output: Path) -> None:
    """Write `ablations.csv`, `.md` and `.tex`; a row per experiment, in the order they come in.

    The CSV is long-form, as `measure.statistics.summarise` makes it: nothing is rounded there.
    """
    for suffix, text in (
        (".csv", summary.to_csv(index=False, float_format="%.6g")),
        (".md", markdown(summary, caption)),
        (".tex", latex(summary, caption)),
    ):
        with whole_file(output / f"ablations{suffix}") as partial:
            partial.write_text(text)


def _cells(summary: pd.DataFrame) -> dict[str, list[tuple[str, str, str]]]:
    """For every experiment, and column by column, the printed mean, interval and n."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    indexed = summary.set_index(["experiment", "aggregate"])
    for experiment in summary["experiment"].unique():
        cells = []
        for name, column in COLUMNS.items():
            row = indexed.loc[(experiment, name)]
            if row["n"] == 0:
                cells.append(("–", "", "n = 0"))
                continue
            mean, lower, upper = (
                f"{column.factor * row[key]:.{column.digits}f}".replace("-", "−")
                for key in ("mean", "lower", "upper")
            )
            cells.append((mean, f"[{lower}, {upper}]", f"n = {row['n']:.0f}"))
        found[experiment] = cells
    return found


def markdown(summary: pd.DataFrame, caption: str) -> str:
    """The table in GitHub's Markdown, caption and legend under it."""
    titles = [f"{c.title} ({c.unit})" for c in COLUMNS.values()]
    lines = ["| experiment | " + " | ".join(titles) + " |", "|---|" + "---:|" * len(titles)]
    for experiment, cells in _cells(summary).items():
        shown = (f"**{mean}** {interval}<br>{n}" for mean, interval, n in cells)
        lines.append(f"| {experiment} | " + " | ".join(shown) + " |")
    return "\n".join([*lines, "", caption, "", LEGEND, "", INTERVALS, ""])


def latex(summary: pd.DataFrame, caption: str) -> str:
    r"""The table for LaTeX: needs `\usepackage{booktabs,graphicx}`; fits the text's width."""
    titles = [rf"{c.title} ({_escaped(c.unit)})" for c in COLUMNS.values()]
    body = []
    for experiment, cells in _cells(summary).items():
        rows = zip(*cells, strict=True)
        for label, row, font in zip(
            (_escaped(experiment), "", ""),
            rows,
            ("", r"\scriptsize ", r"\scriptsize "),
            strict=True,
        ):
            shown = " & ".join(f"{font}{_escaped(cell)}" for cell in row)
            body.append(rf"{label} & {shown} \\")
        body[-1] += r"[3pt]"
    return "\n".join(
        [
            r"\begin{table*}",
            rf"\caption{{{_escaped(' '.join((caption, LEGEND, INTERVALS)))}}}",
            r"\centering\resizebox{\textwidth}{!}{%",
            rf"\begin{{tabular}}{{l{'r' * len(titles)}}}",
            r"\toprule",
            "experiment & " + " & ".join(titles) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}}",
            r"\end{table*}",
            "",
        ]
    )


def _escaped(text: str) -> str:
    for plain, safe in (("%", r"\%"), ("_", r"\_"), ("&", r"\&"), ("−", "$-$"), ("–", "--")):
        text = text.replace(plain, safe)
    return text
