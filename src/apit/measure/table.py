"""The table of scores: long in memory, and with a line for each source in a file.

In memory it has the columns example, source, metric, value and note; of runs scale, experiment and
seed before them. In a file a metric is a column; an empty cell is a metric that does not apply, or
is undefined, and then `note` says why (`metric metric: reason | metric: reason`).
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from apit.errors import UserError
from apit.files import whole_file
from apit.names import BYTES

OF_SPLIT, OF_BSS_EVAL, ELSEWHERE = "scores.csv", "bss_eval.csv", "out_of_domain.csv"  # files
SCORE_COLUMNS = ["example", "source", "metric", "value", "note"]
RUN_COLUMNS = ["scale", "experiment", "seed"]
BSS_EVAL = ("sdr", "isr", "sir", "sar")  # metrics, over windows; `_whole` is of the whole signal
WHOLE_MIXTURE = -1  # the source of metrics that belong to the mixture


def write_scores(scores: pd.DataFrame, output: Path) -> None:
    """Write a table as CSV, so that its differences can be read; equal scores give equal bytes."""
    keys = [column for column in scores if column not in ("metric", "value", "note")]
    values = scores.set_index([*keys, "metric"])["value"].unstack("metric")
    lines = pd.MultiIndex.from_frame(scores[keys].drop_duplicates())
    wide = values.reindex(index=lines, columns=scores["metric"].unique())
    noted = scores[scores["note"] != ""].groupby(keys, sort=False)
    wide["note"] = pd.Series({key: _note(rows) for key, rows in noted}, dtype=str)
    with whole_file(output) as partial:
        wide.to_csv(partial, float_format="%.6g", errors=BYTES)


def _note(rows: pd.DataFrame) -> str:
    reasons = rows.groupby("note", sort=False)["metric"]
    return " | ".join(f"{' '.join(metrics)}: {reason}" for reason, metrics in reasons)


def _long(wide: pd.DataFrame) -> pd.DataFrame:
    """The table in memory of one in a file."""
    keys = [key for key in (*RUN_COLUMNS, "example", "source") if key in wide]
    notes = pd.DataFrame(
        (
            (*row[:-1], metric, reason)
            for row in wide.loc[wide["note"] != "", [*keys, "note"]].itertuples(index=False)
            for metric, reason in _reasons(row[-1])
        ),
        columns=[*keys, "metric", "note"],
    )
    values = wide.drop(columns="note").melt(keys, var_name="metric").dropna(subset="value")
    long = values.merge(notes, "outer", [*keys, "metric"])
    return long.fillna({"note": ""})


def _reasons(note: str) -> Iterator[tuple[str, str]]:
    for part in note.split(" | "):
        metrics, _, reason = part.partition(": ")
        yield from ((metric, reason) for metric in metrics.split())


def read_scores(files: Sequence[Path]) -> pd.DataFrame:
    """Read tables, as `apit evaluate` writes them, into one."""
    tables = []
    for file in files:
        try:
            wide = pd.read_csv(
                file, dtype={"example": str, "note": str}, encoding_errors=BYTES,
                keep_default_na=False, na_values=[""],
            )  # fmt: skip
        except (ValueError, EOFError) as error:
            raise UserError(f"{file}: cannot be read as a table: {error}; make it again") from None
        missing = [c for c in (*RUN_COLUMNS, "example", "source", "note") if c not in wide.columns]
        if missing:
            raise UserError(f"{file}: has no column {', '.join(missing)}; is it of apit evaluate?")
        tables.append(_long(wide.fillna({"note": ""})))
    scores = pd.concat(tables, ignore_index=True)
    if len(scales := scores["scale"].unique()) > 1:
        raise UserError(
            f"{', '.join(map(str, files))}: are of the scales {' and '.join(scales)}, whose "
            "numbers do not compare"
        )
    keys = ["experiment", "seed", "example", "source", "metric"]
    if (twice := scores.duplicated(keys)).any():
        experiment, seed = scores.loc[twice, ["experiment", "seed"]].iloc[0]
        raise UserError(
            f"{', '.join(map(str, files))}: {experiment}, seed {seed}, is in them twice"
        )
    return scores
