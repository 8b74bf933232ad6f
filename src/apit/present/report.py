"""The report: tables, figures and run records in, a PDF by typst out.

Its text is `paper/report.typ`, which finds all that it shows in `report.json` (`content`) and
`figures/`. Numbers are printed here, as in every other table, so that all say the same.
"""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import isfinite, isnan
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import pandas as pd
import typst

from apit.config import HEADLINE_DB, ORACLES, Claim, Scale
from apit.data import fuss
from apit.errors import UserError
from apit.files import whole_file
from apit.measure import verdicts
from apit.measure.variance import FEWEST_SEEDS
from apit.present import runs, studies, tables
from apit.present.table import best, plain_cells

PARTS = ("*.typ", "*.bib")  # of the report's text, in one folder
AGGREGATES = {  # tables with a row for each experiment and aggregate
    "ablations": tables.COLUMNS,
    "contexts": studies.STUDIED,
    "combinations": studies.STUDIED,
    "holes": tables.HOLE_COLUMNS,
    "bss_eval": tables.BSS_EVAL_COLUMNS,
    "out_of_domain": tables.COLUMNS,
}
PLAIN = {"models": runs.MODEL_COLUMNS, "cost": runs.COST_COLUMNS}  # with a row for each of theirs
TABLES = (*AGGREGATES, *PLAIN, "verdicts", "published", "tuning")
OPTIONAL = ("bss_eval", "out_of_domain", "tuning", "cost")
TEXTS = (*verdicts.TEXTS, "domain")  # columns that may be empty

Row = dict[str, Any]


def text_of(source: Path) -> list[Path]:
    """Files of the report's text: `source`, and what lies beside it for it to include."""
    return sorted(path for part in PARTS for path in source.parent.glob(part))


def content(
    scale: Scale, claims: Sequence[Claim], folder: Path, records: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """What the report says in numbers: the configuration's, run records, and a folder's tables.

    A table is a list of the rows of its CSV, each with `shown`, its cell (its cells, for
    verdicts and models), and `best`, whether it is the best of its column. Raises
    UserError where a table is missing or is none.
    """
    rows_of = {name: read_table(folder, name) for name in TABLES}
    return {
        "caption": scale.caption,
        "evaluation": scale.evaluation.model_dump(mode="json"),
        "oracles": ORACLES,
        "headline_db": HEADLINE_DB,
        "looks": len(scale.looks),
        "fewest_seeds": FEWEST_SEEDS,
        "claims": [claim.model_dump(mode="json") for claim in claims],
        "published": list(tables.PUBLISHED_COLUMNS["A"]),
        "columns": {
            name: {key: [column.title, column.unit] for key, column in columns.items()}
            for name, columns in AGGREGATES.items()
        },
        "records": [
            {**record, "sounds": fuss.without_hashes(str(record["sounds"]))} for record in records
        ],
        "tables": {name: rows for name, rows in rows_of.items() if rows is not None},
    }


def write(source: Path, content: Mapping[str, Any], figures: Sequence[Path], output: Path) -> None:
    """Compile `source` with its content; the same input gives the same bytes.

    Raises UserError where the source has a fault.
    """
    with prepared(source, content, figures) as text, whole_file(output) as partial:
        try:
            typst.compile(
                text, partial, root=text.parent, ignore_system_fonts=True, timestamp=0,
                pdf_tags=False,  # with some figures that float, typst 0.15 fails to make them
            )  # fmt: skip
        except typst.TypstError as error:
            raise UserError(f"{source}: {error.message}\n{error.diagnostic}") from None


@contextmanager
def prepared(source: Path, content: Mapping[str, Any], figures: Sequence[Path]) -> Iterator[Path]:
    """Give the source as typst needs it: in one folder with all that it reads."""
    if not source.is_file():
        raise UserError(f"{source}: is no file; the report's text is paper/report.typ")
    with TemporaryDirectory() as name:
        root = Path(name)
        (root / "figures").mkdir()
        for path in text_of(source):
            shutil.copy(path, root)
        for path in figures:
            shutil.copy(path, root / "figures")
        shown = {**content, "figures": [path.stem for path in figures]}
        (root / "report.json").write_text(json.dumps(shown, allow_nan=False), encoding="utf-8")
        yield root / source.name


def read_table(folder: Path, name: str) -> list[Row] | None:
    """A table's rows with what is printed of them; None where it need not be there, and is not."""
    path = folder / f"{name}.csv"
    if name in OPTIONAL and not path.exists():
        return None
    try:
        table = pd.read_csv(path, dtype=dict.fromkeys((*TEXTS, "value"), str))
        table = table.fillna(dict.fromkeys(TEXTS, ""))
        rows = cast(list[Row], table.to_dict("records"))
        return [
            {key: _defined(value) for key, value in (row | shown).items()}
            for row, shown in zip(rows, _printed(name, table, rows), strict=True)
        ]
    except FileNotFoundError:
        raise UserError(f"{path}: is missing; `apit tables` makes it") from None
    except (ValueError, KeyError) as error:  # also pandas's
        raise UserError(f"{path}: is no such table ({error}); `apit tables` makes it") from None


def _printed(name: str, table: pd.DataFrame, rows: Sequence[Row]) -> list[Row]:
    """What is printed of each row of a table, and whether it is the best."""
    if name == "verdicts":
        printed = tables.verdicts(table, "").rows
        of_rows = iter({"label": label, "shown": cells} for label, cells in printed)
        return [next(of_rows) if row["seeds"] or not row["of"] else {} for row in rows]
    if name in PLAIN:
        return [{"shown": plain_cells(row, PLAIN[name])} for row in rows]
    if name == "tuning":
        values, column = table["si_snri_all"], tables.COLUMNS["si_snri_all/2-4"]
        best_ones = values == values.groupby(table["experiment"]).transform("max")
        shown = map(column.number, values)
        return [{"shown": s, "best": b} for s, b in zip(shown, best_ones.tolist(), strict=True)]
    if name == "published":
        return [{"shown": _published(row)} for row in rows]
    columns = AGGREGATES[name]
    bold = best(table, columns)
    return [
        {
            "shown": columns[row["aggregate"]].cell(row),
            "bounds": columns[row["aggregate"]].bounds(row),
            "best": (row["experiment"], row["aggregate"]) in bold,
        }
        for row in rows
    ]


def _published(row: Row) -> str:
    """A published number has no interval, one of ours has."""
    if isnan(row["n"]):
        return tables.AS_PRINTED.number(row["mean"])
    return tables.COLUMNS[tables.PUBLISHED_COLUMNS[row["metric"]][row["value"]]].cell(row)


def _defined(value: Any) -> Any:
    return None if isinstance(value, float) and not isfinite(value) else value
