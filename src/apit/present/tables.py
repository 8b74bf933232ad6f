"""Tables: aggregates and run records in, CSV, Markdown and LaTeX out."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

import pandas as pd

from apit.config import Discriminator, Domain, Run
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
# From none to six: each has the context-based discriminators of the one before, and one or more.
LADDER = ("pit", "ctx-stft-i1", "pair-ctx-i1", "multi-ctx-i1", "multi-all-i1")
REPLACEMENT_MEASURE = "si_snri_all/2-4"

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


def caption(records: Sequence[Mapping[str, Any]], note: str) -> str:
    """What a scale's runs were, from their records, and the configuration's note on them."""
    run = records[0]["run"]
    sizes = sorted({record["networks"]["separator"]["parameters"] for record in records})
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


def ablations(summary: pd.DataFrame, caption: str) -> Table:
    """Every experiment and oracle, in the order they come in, with all aggregates."""
    rows = [
        (name, [_cell(own[aggregate], column) for aggregate, column in COLUMNS.items()])
        for name, own in _by_experiment(summary).items()
    ]
    return Table(
        "ablations", ["experiment", *_titles(COLUMNS)], rows, _with_legend(caption), summary
    )


def discriminators(
    summary: pd.DataFrame, records: Sequence[Mapping[str, Any]], caption: str
) -> Table:
    """From none to six discriminators, as far as those of `LADDER` were run."""
    counts = {r["run"]["experiment"]: len(r["run"]["discriminators"]) for r in records}
    rungs = [name for name in LADDER if name in counts]
    found = _by_experiment(summary)
    rows = [
        (
            str(counts[name]),
            [(name,), *(_cell(found[name][key], column) for key, column in COLUMNS.items())],
        )
        for name in rungs
    ]
    data = pd.concat(
        [summary[:0], *(summary[summary["experiment"] == name] for name in rungs)]
    ).assign(discriminators=lambda table: table["experiment"].map(counts))
    titles = ["discriminators", "experiment", *_titles(COLUMNS)]
    columns = ["discriminators", *summary.columns]
    return Table("discriminators", titles, rows, _with_legend(caption), data[columns])


def replacement(summary: pd.DataFrame, records: Sequence[Mapping[str, Any]], caption: str) -> Table:
    """MSi(all) by domain and I, for experiments of one context-based discriminator.

    Columns of the data: domain, replace, experiment, mean, lower, upper, n.
    """
    runs = [Run.model_validate_json(json.dumps(record["run"])) for record in records]
    separators = [run.separator for run in runs]
    usual = max(separators, key=separators.count)
    by_name = {
        run.discriminators[0].name: run.experiment
        for run in reversed(runs)  # of two alike, the first that is listed
        if len(run.discriminators) == 1
        and run.discriminators[0].weight is None
        and (run.reconstruction, run.train_as_long_as) == ("log_mse", None)
        and run.separator == usual
    }
    column = COLUMNS[REPLACEMENT_MEASURE]
    found = _by_experiment(summary)
    places = range(runs[0].audio.sources)
    rows, data = [], []
    for domain in get_args(Domain):
        cells: list[Cell] = []
        for replace in places:
            wanted = Discriminator(kind="context", domain=domain, replace=replace).name
            if (name := by_name.get(wanted)) is None:
                cells.append(("–",))
                continue
            own = found[name][REPLACEMENT_MEASURE]
            cells.append(_cell(own, column))
            data.append(
                {"domain": domain, "replace": replace, "experiment": name}
                | {key: own[key] for key in ("mean", "lower", "upper", "n")}
            )
        rows.append((domain, cells))
    return Table(
        "replacement",
        ["domain", *(f"I = {replace}" for replace in places)],
        rows,
        f"{caption} {column.title} in {column.unit} with one context-based discriminator, by its "
        f"domain and the number I of replaced estimates; – was not run. {INTERVALS}",
        pd.DataFrame(
            data, columns=["domain", "replace", "experiment", "mean", "lower", "upper", "n"]
        ),
    )


def models(records: Sequence[Mapping[str, Any]], caption: str) -> Table:
    """Size and cost of every network, once for all experiments that have it.

    Columns of the data: network, parameters, multiply_accumulates (per second of sound), share (of
    the separator's), experiments.
    """
    found: dict[tuple[str, int, int, float], list[str]] = {}
    for record in {r["run"]["experiment"]: r for r in records}.values():
        networks = record["networks"]
        for name, counts in networks.items():
            weights, macs = counts["parameters"], counts["multiply_accumulates"]
            share = macs / networks["separator"]["multiply_accumulates"]
            found.setdefault((name, weights, macs, share), []).append(record["run"]["experiment"])
    names = [name for name, *_ in found]
    rows: list[tuple[str, list[Cell]]] = [
        (
            name if names.count(name) == 1 else f"{name} of {', '.join(experiments)}",
            [(f"{weights / 1e6:.3f}",), (f"{macs / 1e6:.2f}",), (f"{100 * share:.1f}",)],
        )
        for (name, weights, macs, share), experiments in found.items()
    ]
    return Table(
        "models",
        ["network", "parameters (M)", "MMAC/s", "of the separator's (%)"],
        rows,
        f"{caption} MMAC/s: millions of multiply-accumulates of one forward pass per second of "
        "sound, without Fourier transforms.",
        pd.DataFrame(
            [(*counted, " ".join(experiments)) for counted, experiments in found.items()],
            columns=["network", "parameters", "multiply_accumulates", "share", "experiments"],
        ),
    )


def _titles(columns: Mapping[str, Column]) -> list[str]:
    return [f"{c.title} ({c.unit})" for c in columns.values()]


def _with_legend(caption: str) -> str:
    return " ".join((caption, LEGEND, INTERVALS))


def _by_experiment(summary: pd.DataFrame) -> dict[str, dict[str, dict[str, Any]]]:
    """Rows of a summary by experiment and aggregate."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for row in cast(list[dict[str, Any]], summary.to_dict("records")):
        found.setdefault(row["experiment"], {})[row["aggregate"]] = row
    return found


def _cell(row: Mapping[str, Any], column: Column) -> Cell:
    if row["n"] == 0:
        return ("–", "", "n = 0")
    mean, lower, upper = (
        f"{column.factor * row[key]:.{column.digits}f}".replace("-", "−")
        for key in ("mean", "lower", "upper")
    )
    return (mean, f"[{lower}, {upper}]", f"n = {row['n']:.0f}")


def _escaped(text: str) -> str:
    for plain, safe in (("%", r"\%"), ("_", r"\_"), ("&", r"\&"), ("−", "$-$"), ("–", "--")):
        text = text.replace(plain, safe)
    return text
