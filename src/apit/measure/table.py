"""The long table of scores: example, source, metric, value, note; of runs with three more."""

import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from apit.errors import UserError
from apit.files import whole_file

SCORE_COLUMNS = ["example", "source", "metric", "value", "note"]
RUN_COLUMNS = ["scale", "experiment", "seed"]
BSS_EVAL = ("sdr", "isr", "sir", "sar")  # metrics, over windows; `_whole` is of the whole signal
WHOLE_MIXTURE = -1  # the source of metrics that belong to the mixture


def write_scores(scores: pd.DataFrame, output: Path) -> None:
    """Write a table as CSV, gzipped where the name ends so; the same scores give the same bytes."""
    text = scores.to_csv(index=False, float_format="%.6g").encode()
    with whole_file(output) as partial, partial.open("wb") as file:
        if output.suffix == ".gz":
            # Its header has neither a time nor the name of a file that is only there for now.
            with gzip.GzipFile("", "wb", fileobj=file, mtime=0) as archive:
                archive.write(text)
        else:
            file.write(text)


def read_scores(files: Sequence[Path]) -> pd.DataFrame:
    """Read tables, as `apit evaluate` writes them, into one."""
    tables = []
    for file in files:
        try:
            table = pd.read_csv(
                file, keep_default_na=False, na_values={"value": [""]}, dtype={"example": str}
            )
        except (ValueError, EOFError, zlib.error) as error:
            raise UserError(f"{file}: cannot be read as a table: {error}; make it again") from None
        missing = [c for c in (*RUN_COLUMNS, *SCORE_COLUMNS) if c not in table.columns]
        if missing:
            raise UserError(f"{file}: has no column {', '.join(missing)}; is it of apit evaluate?")
        tables.append(table)
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
