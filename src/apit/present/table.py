"""A table, and how it is printed: CSV, Markdown and LaTeX."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from apit.config import ORACLES
from apit.files import whole_file

LATEX = {
    **{sign: f"\\{sign}" for sign in "%_&#$"},
    **{sign: f"\\{sign}" for sign in "{}"},
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "−": "$-$",
    "–": "--",
    "±": r"$\pm$",
    "<": "$<$",
    ">": "$>$",
}
KEPT = ".6g"  # digits of numbers in a CSV
LONG_LABEL, LONG_CELL = 40, 26  # signs; what is longer, LaTeX breaks into lines


class Best(str):
    """A cell that is the best of its column."""


@dataclass(frozen=True)
class Column:
    """How a quantity is headed and printed, wherever it is."""

    title: str
    unit: str
    digits: int
    factor: float = 1.0
    better: Literal["higher", "lower"] | None = None  # None: neither of itself

    @property
    def heading(self) -> str:
        """Title and unit."""
        return f"{self.title} ({self.unit})"

    def number(self, value: float | None, sign: str = "") -> str:
        """A value, or a dash where there is none; with `+` as sign, positive ones have theirs."""
        if value is None or isnan(value):
            return "–"
        kept = float(format(value, KEPT))  # so that a value and its CSV's are printed alike
        return f"{self.factor * kept:{sign}.{self.digits}f}".replace("-", "−")

    def bounds(self, row: Mapping[Any, Any]) -> str:
        """An aggregate's interval."""
        return f"[{self.number(row['lower'])}, {self.number(row['upper'])}]"

    def cell(self, row: Mapping[Any, Any] | None) -> str:
        """An aggregate's mean ± half of its interval; a dash where nothing has a value."""
        if row is None or row["n"] == 0:
            return "–"
        lower, upper = (float(format(row[end], KEPT)) for end in ("lower", "upper"))
        half = (upper - lower) / 2
        return self.number(row["mean"]) + (f" ± {self.number(half)}" if half else "")


def plain_cells(row: Mapping[Any, Any], columns: Mapping[str, Column]) -> list[str]:
    """A cell for each column of a row that has nothing but numbers."""
    return [column.number(row[key]) for key, column in columns.items()]


@dataclass(frozen=True)
class Table:
    """What is printed (columns' titles, labelled rows of cells, a caption), and the data of it."""

    name: str
    titles: list[str]
    rows: list[tuple[str, list[str]]]
    caption: str
    data: pd.DataFrame

    def write(self, folder: Path) -> None:
        """Write `NAME.csv` (with six digits), `NAME.md` and `NAME.tex`."""
        for suffix, text in (
            (".csv", self.data.to_csv(index=False, float_format=f"%{KEPT}")),
            (".md", self.markdown()),
            (".tex", self.latex()),
        ):
            with whole_file(folder / f"{self.name}{suffix}") as partial:
                partial.write_text(text, encoding="utf-8")

    def markdown(self) -> str:
        """The table in GitHub's Markdown, its caption under it."""
        lines = [
            "| " + " | ".join(self.titles) + " |",
            "|---|" + "---:|" * (len(self.titles) - 1),
        ]
        for label, cells in self.rows:
            shown = (f"**{cell}**" if isinstance(cell, Best) else cell for cell in cells)
            lines.append(f"| {label} | " + " | ".join(shown) + " |")
        return "\n".join([*lines, "", self.caption, ""])

    def latex(self) -> str:
        r"""The table for LaTeX (`\usepackage{booktabs,graphicx}`), at most as wide as the text."""
        columns = zip(*(cells for _, cells in self.rows), strict=True)
        is_text = [any(cell[:1].isalpha() for cell in column) for column in columns]
        body = [
            rf"{_wrapped(label, LONG_LABEL)} & {' & '.join(map(_latex, cells))} \\"
            for label, cells in self.rows
        ]
        return "\n".join(
            [
                r"\begin{table*}",
                rf"\caption{{{_escaped(self.caption)}}}\medskip",
                r"\centering\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}{!}{%",
                rf"\begin{{tabular}}{{l{''.join('l' if text else 'r' for text in is_text)}}}",
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


def best(summary: pd.DataFrame, columns: Mapping[str, Column]) -> set[tuple[str, str]]:
    """Experiment and aggregate of the best mean of each column, and of what is printed like it.

    Of trained experiments, where there are several; `summary` as `statistics.summarise` gives it.
    """
    trained = summary[~summary["experiment"].isin(ORACLES) & (summary["n"] > 0)]
    pairs = set()
    for aggregate, rows in trained.groupby("aggregate"):
        column = columns.get(str(aggregate))
        if column is None or column.better is None or len(rows) < 2:
            continue
        extreme = rows["mean"].max() if column.better == "higher" else rows["mean"].min()
        alike = rows["mean"].map(column.number) == column.number(extreme)
        pairs |= {(str(name), str(aggregate)) for name in rows.loc[alike, "experiment"]}
    return pairs


def span(values: Sequence[float], form: str = "d") -> str:
    """The least and the largest of some values: `900 to 1200`, or one where they are the same."""
    return " to ".join(dict.fromkeys(format(end, form) for end in (min(values), max(values))))


def _latex(cell: str) -> str:
    return (r"\bfseries " if isinstance(cell, Best) else "") + _wrapped(cell, LONG_CELL)


def _wrapped(text: str, longest: int) -> str:
    shown = _escaped(text)
    return rf"\parbox[t]{{33mm}}{{\raggedright {shown}\strut}}" if len(text) > longest else shown


def _escaped(text: str) -> str:
    return "".join(LATEX.get(sign, sign) for sign in text)
