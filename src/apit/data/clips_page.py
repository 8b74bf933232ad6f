"""A page on the clips that mixtures are made of: what they are, and what was left out and why."""

from html import escape
from pathlib import Path

import pandas as pd

from apit.data.fuss import without_hashes

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto;
  padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { padding: .2rem .8rem; text-align: left; border-bottom: 1px solid #ddd;
  vertical-align: top; overflow-wrap: anywhere; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
@media (prefers-color-scheme: dark) {
  body { background: #111; color: #ddd; } th, td { border-color: #444; }
}
"""


def write(clips: pd.DataFrame, origin: str, path: Path) -> None:
    """Write the page of a bank's `clips.csv`."""
    used = clips[clips["left_out"] == ""]
    out = clips[clips["left_out"] != ""]
    minutes = used["seconds"].sum() / 60
    origin = without_hashes(origin)
    page = [
        "<!doctype html><html lang='en'><meta charset='utf-8'><title>Clips</title>",
        "<meta name='viewport' content='width=device-width'>",
        f"<style>{STYLE}</style><h1>Clips</h1>",
        f"<p>{escape(origin[0].upper() + origin[1:])}: {len(used)} usable clips of "
        f"{used['family'].nunique()} families, {minutes:.1f} minutes; {len(out)} files left out",
        "<h2>By split</h2>",
        _table(_counts(used, "split")),
    ]
    if used["folder"].nunique() > 1:
        page += ["<h2>By folder</h2>", _table(_counts(used, "folder"))]
    page += ["<h2>By licence</h2>", _table(_counts(used, "licence", "not stated"))]
    page += ["<h2>Left out</h2>"]
    if len(out):
        reasons = out["left_out"].str.replace(r"[\d.]+ %|as .*|: .*", "…", regex=True)
        counted = reasons.value_counts().rename_axis("reason").reset_index(name="files")
        page.append(_table(counted))
        listed = out[["name", "left_out"]].rename(columns={"name": "file", "left_out": "reason"})
        page.append(_table(listed))
    else:
        page.append("<p>None.</p>")
    path.write_text("\n".join(page) + "\n")


def _counts(clips: pd.DataFrame, column: str, unknown: str = "–") -> pd.DataFrame:
    groups = clips.assign(**{column: clips[column].replace("", unknown)}).groupby(column)
    return pd.DataFrame(
        {
            "clips": groups.size(),
            "families": groups["family"].nunique(),
            "minutes": (groups["seconds"].sum() / 60).round(1),
            "median (s)": groups["seconds"].median().round(2),
            "longest (s)": groups["seconds"].max().round(1),
            "median RMS (dB)": groups["rms_db"].median().round(1),
            "median peak (dB)": groups["peak_db"].median().round(1),
        }
    ).reset_index()


def _table(frame: pd.DataFrame) -> str:
    numeric = [pd.api.types.is_numeric_dtype(frame[column]) for column in frame]

    def row(tag: str, cells: list[object]) -> str:
        return "<tr>" + "".join(
            f"<{tag}{' class=number' if is_number else ''}>{escape(str(cell))}</{tag}>"
            for cell, is_number in zip(cells, numeric, strict=True)
        )

    rows = [row("td", list(values)) for values in frame.itertuples(index=False)]
    return "\n".join(["<table>", row("th", list(frame.columns)), *rows, "</table>"])
