"""What of the README is made: the rule graph and the table of results, each between its marks.

python workflow/readme.py            (`make readme`: write them)
python workflow/readme.py --check    (`make check`: say whether they are what they should be)
"""

import re
import subprocess
import sys
from pathlib import Path

import pandas as pd

from apit.present.tables import COLUMNS, by_experiment

README = Path("README.md")
GRAPH = re.compile(r"(?<=```mermaid\n).*?(?=```)", re.DOTALL)
TABLE = re.compile(r"(<!-- table of (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
AGGREGATES = ("si_snr_s", "si_snr_i", "si_snri_all/2-4", "buried")


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
    """The main columns of a scale's `tables/ablations`, means and intervals in one line."""
    rows = pd.read_csv(Path("results", scale, "tables", "ablations.csv"))
    columns = {aggregate: COLUMNS[aggregate] for aggregate in AGGREGATES}
    lines = [["experiment", *(c.heading for c in columns.values())], ["---", *["---:"] * 4]]
    for experiment, aggregates in by_experiment(rows).items():
        cells = (column.cell(aggregates[name]) for name, column in columns.items())
        lines.append([experiment, *(f"{mean} {bounds}" for mean, bounds, _ in cells)])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    text = README.read_text(encoding="utf-8")
    made = GRAPH.sub(lambda _: graph(), text, count=1)
    made, tables = TABLE.subn(lambda mark: mark[1] + table(mark[2]) + mark[3], made)
    if not tables:
        sys.exit(
            "README.md: has no table of results between <!-- table of SCALE --> and <!-- end -->"
        )
    if "--check" in sys.argv:
        if made != text:
            sys.exit("README.md: graph or table are not the workflow's and results'; `make readme`")
    else:
        README.write_text(made, encoding="utf-8")
