"""What of README and docs is made: the rule graph, and tables of results, each between its marks.

python workflow/readme.py            (`make readme`: write them)
python workflow/readme.py --check    (`make check`: say whether they are what they should be)
"""

import re
import subprocess
import sys
from functools import cache
from math import isnan
from pathlib import Path

import pandas as pd

from apit.layers import load_claims
from apit.measure.verdicts import TEXTS
from apit.present.tables import COLUMNS, by_experiment, verdicts

PAGES = [Path("README.md"), *sorted(Path("docs").glob("*.md"))]
GRAPH = re.compile(r"(?<=```mermaid\n).*?(?=```)", re.DOTALL)
TABLE = re.compile(r"(<!-- (table|claims) of (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
AGGREGATES = ("si_snr_s", "si_snr_i", "si_snri_all/2-4", "buried")


@cache
def graph() -> str:
    """The edges between rules, by name and sorted, as Mermaid."""
    of_all = ("--config", "scale=smoke", "set=data.recipe.seed=-1")  # data that nobody has made
    command = ("snakemake", "--rulegraph", "mermaid-js", *of_all)
    drawn = subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout
    names = dict(re.findall(r"(id\d+)\[(\w+)\]", drawn))
    edges = re.findall(r"(id\d+) --> (id\d+)", drawn)
    lines = sorted(f"    {names[one]} --> {names[other]}" for one, other in edges)
    return "\n".join(["flowchart LR", *lines, ""])


def table(scale: str) -> str:
    """The main columns of a scale's `tables/ablations`, in Markdown."""
    rows = pd.read_csv(Path("results", scale, "tables", "ablations.csv"))
    columns = {aggregate: COLUMNS[aggregate] for aggregate in AGGREGATES}
    lines = [["experiment", *(c.heading for c in columns.values())], ["---", *["---:"] * 4]]
    for experiment, aggregates in by_experiment(rows).items():
        cells = (column.cell(aggregates[name]) for name, column in columns.items())
        lines.append([experiment, *cells])
    return _printed(lines)


def claims(scale: str) -> str:
    """The paper's claims that a scale has run, what its text gives for each, and what seeds say."""
    texts = dict.fromkeys(TEXTS, str)
    table = pd.read_csv(Path("results", scale, "tables", "verdicts.csv"), dtype=texts)
    table = table.fillna(dict.fromkeys(TEXTS, ""))
    shown = verdicts(table, "").rows
    rows = [row for row in table.to_dict("records") if row["seeds"] or not row["of"]]
    lines = [
        ["the paper says", "its numbers", f"ours, at `{scale}` (seeds)", "verdict"],
        ["---"] * 4,
    ]
    others = []
    for claim in load_claims():
        if claim.paper is None:
            continue
        own = [
            (row, cells)
            for row, (_, cells) in zip(rows, shown, strict=True)
            if row["claim"] == claim.claim
        ]
        run = [
            f"{row['of'] and row['of'] + ': '}{cells[3]} ({row['seeds']})"
            for row, cells in own
            if not isnan(row["mean"])
        ]
        if run:
            lines.append([claim.claim, claim.paper, "<br>".join(run), own[0][1][-1]])
        else:
            others.append(claim.claim)
    return _printed(lines) + (f"\nNot run at `{scale}`: {'; '.join(others)}.\n" if others else "")


def _printed(lines: list[list[str]]) -> str:
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def made(text: str) -> str:
    """A page with what of it is made as it is to be."""
    makers = {"table": table, "claims": claims}
    text = GRAPH.sub(lambda _: graph(), text)
    return TABLE.sub(lambda mark: mark[1] + makers[mark[2]](mark[3]) + mark[4], text)


if __name__ == "__main__":
    texts = {page: page.read_text(encoding="utf-8") for page in PAGES}
    changed = {page: new for page, text in texts.items() if (new := made(text)) != text}
    if "--check" in sys.argv and changed:
        sys.exit(f"{', '.join(map(str, changed))}: graph or tables are not today's; `make readme`")
    for page, text in changed.items():
        page.write_text(text, encoding="utf-8")
