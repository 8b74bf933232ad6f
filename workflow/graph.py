"""The rule graph of the README, between its marks: `make graph` writes it anew."""

import re
import subprocess
import sys
from pathlib import Path

README = Path("README.md")
MARKED = re.compile(r"(?<=```mermaid\n).*?(?=```)", re.DOTALL)


def graph() -> str:
    """The edges between rules, by name and sorted, as Mermaid."""
    of_all = ("--config", "scale=smoke", "train_absent=true")
    command = ("snakemake", "--rulegraph", "mermaid-js", *of_all)
    drawn = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    names = dict(re.findall(r"(id\d+)\[(\w+)\]", drawn))
    edges = re.findall(r"(id\d+) --> (id\d+)", drawn)
    lines = sorted(f"    {names[one]} --> {names[other]}" for one, other in edges)
    return "\n".join(["flowchart LR", *lines, ""])


if __name__ == "__main__":
    text = README.read_text()
    made = MARKED.sub(graph(), text, count=1)
    if "--check" in sys.argv and made != text:
        sys.exit("README.md: its rule graph is not the workflow's; `make graph` writes it")
    README.write_text(made)
