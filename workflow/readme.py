"""What of the README is made: the rule graph and the table of results, each between its marks.

python workflow/readme.py            (`make readme`: write them)
python workflow/readme.py --check    (`make check`: say whether they are what they should be)
"""

import re
import subprocess
import sys
from pathlib import Path

import pandas as pd

README = Path("README.md")
GRAPH = re.compile(r"(?<=```mermaid\n).*?(?=```)", re.DOTALL)
TABLE = re.compile(r"(<!-- table of (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
COLUMNS = {  # aggregate: title, digits, factor
    "si_snr_s": ("SI-SNR_S (dB)", 1, 1),
    "si_snr_i": ("SI-SNR_I (dB)", 2, 1),
    "si_snri_all/2-4": ("MSi(all) (dB)", 2, 1),
    "buried": ("buried (%)", 1, 100),
}


def graph() -> str:
    """The edges between rules, by name and sorted, as Mermaid."""
    of_all = ("--config", "scale=smoke", "train_absent=true")
    command = ("snakemake", "--rulegraph", "mermaid-js", *of_all)
    drawn = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    names = dict(re.findall(r"(id\d+)\[(\w+)\]", drawn))
    edges = re.findall(r"(id\d+) --> (id\d+)", drawn)
    lines = sorted(f"    {names[one]} --> {names[other]}" for one, other in edges)
    return "\n".join(["flowchart LR", *lines, ""])


def table(scale: str) -> str:
    """The main columns of a scale's `tables/ablations`, means and intervals in one line."""
    rows = pd.read_csv(Path("results", scale, "tables", "ablations.csv"))
    titles = ["experiment", *(title for title, _, _ in COLUMNS.values())]
    lines = [titles, ["---", *["---:"] * len(COLUMNS)]]
    for experiment, own in rows.groupby("experiment", sort=False):
        of = own.set_index("aggregate")
        cells = []
        for aggregate, (_, digits, factor) in COLUMNS.items():
            mean, *ends = (factor * of.loc[aggregate, key] for key in ("mean", "lower", "upper"))
            lower, upper = (f"{end:.{digits}f}" for end in ends)
            cells.append(f"{mean:.{digits}f} [{lower}, {upper}]".replace("-", "−"))
        lines.append([str(experiment), *cells])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    text = README.read_text()
    made = GRAPH.sub(lambda _: graph(), text, count=1)
    made, tables = TABLE.subn(lambda found: found[1] + table(found[2]) + found[3], made)
    if not tables:
        sys.exit(
            "README.md: has no table of results between <!-- table of SCALE --> and <!-- end -->"
        )
    if "--check" in sys.argv:
        if made != text:
            sys.exit("README.md: graph or table are not the workflow's and results'; `make readme`")
    else:
        README.write_text(made)
