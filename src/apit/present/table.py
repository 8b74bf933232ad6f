"""A table, and how it is printed: CSV, Markdown and LaTeX."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Any

import pandas as pd

from apit.files import whole_file

LATEX = (
    ("~", r"\textasciitilde{}"),
    ("%", r"\%"),
    ("_", r"\_"),
    ("&", r"\&"),
    ("−", "$-$"),
    ("–", "--"),
)


@dataclass(frozen=True)
class Column:
    """How an aggregate is headed and printed."""

    title: str
    unit: str
    digits: int
    factor: float = 1.0


Cell = tuple[str, ...]  # lines, the first of which is the number itself


@dataclass(frozen=True)
class Table:
    """What is printed (columns' titles, labelled rows of cells, a caption), and the data of it."""

    name: str
    titles: list[str]
    rows: list[tuple[str, list[Cell]]]
    caption: str
    data: pd.DataFrame

    def write(self, folder: Path) -> None:
        """Write `NAME.csv` (nothing rounded), `NAME.md` and `NAME.tex`."""
        for suffix, text in (
            (".csv", self.data.to_csv(index=False, float_format="%.6g")),
            (".md", self.markdown()),
            (".tex", self.latex()),
        ):
            with whole_file(folder / f"{self.name}{suffix}") as partial:
                partial.write_text(text)

    def markdown(self) -> str:
        """The table in GitHub's Markdown, its caption under it."""
        lines = [
            "| " + " | ".join(self.titles) + " |",
            "|---|" + "---:|" * (len(self.titles) - 1),
        ]
        for label, cells in self.rows:
            shown = (
                f"**{cell[0]}** {'<br>'.join(cell[1:])}" if len(cell) > 1 else cell[0]
                for cell in cells
            )
            lines.append(f"| {label} | " + " | ".join(shown) + " |")
        return "\n".join([*lines, "", self.caption, ""])

    def latex(self) -> str:
        r"""The table for LaTeX (`\usepackage{booktabs,graphicx}`), at most as wide as the text."""
        body = []
        for label, cells in self.rows:
            lines = max(map(len, cells))
            for line in range(lines):
                font = r"\scriptsize " if line else ""
                shown = (f"{font}{_escaped(c[line])}" if line < len(c) else "" for c in cells)
                body.append(rf"{'' if line else _escaped(label)} & {' & '.join(shown)} \\")
            if lines > 1:
                body[-1] += r"[3pt]"
        return "\n".join(
            [
                r"\begin{table*}",
                rf"\caption{{{_escaped(self.caption)}}}",
                r"\centering\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}{!}{%",
                rf"\begin{{tabular}}{{l{'r' * (len(self.titles) - 1)}}}",
                r"\toprule",
                " & ".join(map(_escaped, self.titles)) + r" \\",
                r"\midrule",
                *body,
                r"\bottomrule",
                r"\end{tabular}}",
                r"\end{table*}",
                "",
            ]
        )


def cell(row: Mapping[str, Any] | None, column: Column) -> Cell:
    """An aggregate's mean, interval and n; a dash where nothing has a value."""
    if row is None or row["n"] == 0:
        return ("–", "", "n = 0")
    mean, lower, upper = (number(row[key], column) for key in ("mean", "lower", "upper"))
    return (mean, f"[{lower}, {upper}]", f"n = {row['n']:.0f}")


def number(value: float, column: Column) -> str:
    """A value as its column prints it; a dash for NaN."""
    if isnan(value):
        return "–"
    return f"{column.factor * value:.{column.digits}f}".replace("-", "−")


def _escaped(text: str) -> str:
    for plain, safe in LATEX:
        text = text.replace(plain, safe)
    return text
