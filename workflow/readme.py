"""What of README and docs is made, between marks: rule graph, results, keys of configuration.

python workflow/readme.py            (`make readme`: write them)
python workflow/readme.py --check    (`make check`: say whether they are what they should be)
"""

import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from math import isnan
from pathlib import Path
from typing import Any, get_args

import pandas as pd
from pydantic import BaseModel

from apit import config
from apit.layers import load_claims
from apit.measure.verdicts import TEXTS
from apit.present.tables import COLUMNS, by_experiment, verdicts

CONFIGURATION = Path("docs", "reference", "configuration.md")
PAGES = [Path("README.md"), *sorted(Path("docs").glob("*.md")), CONFIGURATION]
GRAPH = re.compile(r"(?<=```mermaid\n).*?(?=```)", re.DOTALL)
TABLE = re.compile(r"(<!-- (table|claims|keys) of (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
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
    others, ours = [], 0
    for claim in load_claims():
        if claim.paper is None:
            ours += 1
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
            others.append(claim.claim + (f" ({claim.paper})" if "dB" in claim.paper else ""))
    absent = f"Not run at `{scale}`: {'; '.join(others)}. " if others else ""
    more = f"`configs/claims.yaml` has {ours} more claims, which are ours." if ours else ""
    return _printed(lines) + (f"\n{absent}{more}".rstrip() + "\n" if absent or more else "")


def keys(model: str) -> str:
    """Every key of a part of the configuration: what it may be, and the comment beside it."""
    lines = [["key", "values", ""], ["---"] * 3]
    lines += [[f"`{key}`", *told] for key, *told in _keys(getattr(config, model), "")]
    return _printed([[cell.replace("|", "\\|") for cell in line] for line in lines])


def _keys(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, str, str]]:
    sources = (
        inspect.getsource(one) for one in reversed(model.__mro__) if issubclass(one, config.Config)
    )
    comments = dict(re.findall(r"^    (\w+): .*?  # (.*)$", "\n".join(sources), re.MULTILINE))
    schema = model.model_json_schema()["properties"]
    for name, field in model.model_fields.items():
        parts = list(_parts(field.annotation))
        many = "[]" if "items" in schema[name] else ""
        for part in parts:
            yield from _keys(part, f"{prefix}{name}{many}.")
        if not parts:
            yield f"{prefix}{name}", _values(schema[name]), comments.get(name, "")


def _parts(annotation: Any) -> Iterator[type[BaseModel]]:
    """The parts of the configuration that an annotation names."""
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _parts(inner)


def _values(schema: dict[str, Any]) -> str:
    """What a JSON schema allows, in words."""
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(map(_values, schema["anyOf"])))
    if names := schema.get("enum", [schema["const"]] if "const" in schema else []):
        return " or ".join(f"`{name}`" for name in names)
    bounds = {"exclusiveMinimum": ">", "minimum": "≥", "maximum": "≤", "exclusiveMaximum": "<"}
    words = {"boolean": "`true` or `false`", "string": "text", "null": "`null`", "object": "keys"}
    kind = schema.get("type", "any")
    if "prefixItems" in schema:
        return f"two: {_values(schema['prefixItems'][0])}"
    if kind == "array":
        return f"list: {_values(schema['items'])}"
    if isinstance(inner := schema.get("additionalProperties"), dict):
        return f"for each name: {_values(inner)}"
    said = [f"{sign} {schema[bound]:g}" for bound, sign in bounds.items() if bound in schema]
    default = schema.get("default")
    left_out = "" if default is None else f"; left out: `{str(default).lower()}`"
    return f"{words.get(kind, kind)} {', '.join(said)}".strip() + left_out


def _printed(lines: list[list[str]]) -> str:
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def made(text: str) -> str:
    """A page with what of it is made as it is to be."""
    makers = {"table": table, "claims": claims, "keys": keys}
    text = GRAPH.sub(lambda _: graph(), text)
    return TABLE.sub(lambda mark: mark[1] + makers[mark[2]](mark[3]) + mark[4], text)


if __name__ == "__main__":
    texts = {page: page.read_text(encoding="utf-8") for page in PAGES}
    changed = {page: new for page, text in texts.items() if (new := made(text)) != text}
    if "--check" in sys.argv and changed:
        sys.exit(f"{', '.join(map(str, changed))}: graph or tables are not today's; `make readme`")
    for page, text in changed.items():
        page.write_text(text, encoding="utf-8")
