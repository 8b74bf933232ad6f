"""Commands on results that are here: status, accept, compare."""

import getpass
import io
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
from cyclopts import Parameter

from apit import artefacts
from apit.cli.options import ScaleOptions
from apit.errors import UserError
from apit.layers import scale_names
from apit.measure.comparison import DIFFERENT
from apit.measure.comparison import compare as compared
from apit.present import origin

Kind = Literal["bank", "mixtures", "packed", "run", "scores"]


def status(*, remove: bool = False, options: ScaleOptions = ScaleOptions()) -> None:
    """Tell what is here and not of today's configuration, inputs or code; exit with 2 if any is.

    Of one scale, or else of all that have results.

    Parameters
    ----------
    remove
        Remove runs, scores and data that are not today's.
    """
    if remove and not options.scale:
        raise UserError("--remove: say of which --scale")
    names = [options.name] if options.scale else [
        name for name in scale_names(options.configs) if Path("results", name).is_dir()
    ]  # fmt: skip
    if not names:
        raise UserError("no results/SCALE is here of a scale in --configs")
    faults = []
    for name in names:
        today = replace(options, scale=name).artefacts()
        for folder, why in artefacts.others(today):
            if remove:
                artefacts.remove(folder)
                print(f"{folder}: removed ({why})")
            else:
                faults.append(f"{folder}: is not today's: {why}")
        wanted = {path: identity.id for path, identity in today.identities.items()}
        faults += [f"{file}: {why}" for file, why in origin.faults(Path(today.results), wanted)]
    if faults:
        raise UserError(
            "\n".join(["not all is of today's configuration and code:", *faults])
            + "\nmake it anew (snakemake), remove what is older (--scale SCALE --remove), or, "
            "where the code gives the same numbers, say so (apit accept --help)"
        )
    print(f"{', '.join(names)}: all that is here is of today's configuration, inputs and code")


def accept(
    *kinds: Annotated[Kind, Parameter(required=True)],
    why: str,
    options: ScaleOptions = ScaleOptions(),
) -> None:
    """Take results of other code as today's: they get today's names, and say of what code they are.

    Nothing but the code, theirs and that of their inputs, may differ. `apit status` lists them.

    Parameters
    ----------
    kinds
        What today's code is known to make as before.
    why
        How it is known that today's code gives the same numbers.
    """
    name = subprocess.run(
        ("git", "config", "user.name"), capture_output=True, text=True, check=False
    )
    by = name.stdout.strip() or getpass.getuser()
    date = datetime.now(UTC).date().isoformat()
    today = options.artefacts()
    accepted = artefacts.accept(today, kinds, by=by, date=date, why=why)
    for folder in accepted:
        print(folder)
    print(f"{len(accepted)} results were of other code alone, and are today's now")


def compare(
    *, tables: Path | None = None, since: str = "HEAD", options: ScaleOptions = ScaleOptions()
) -> None:
    """Compare a scale's tables that are here with those that git has, line by line.

    Exits with 2 if any differs by more than the noise between seeds.

    Parameters
    ----------
    tables
        Folder of the tables (results/SCALE/tables).
    since
        The commit whose tables they are compared with.
    """
    committed = f"results/{options.name}/tables/seeds.csv"
    here = (tables or Path(committed).parent) / "seeds.csv"
    if not here.exists():
        raise UserError(f"{here}: is not here; `snakemake tables` makes it")

    def git(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(("git", *arguments), capture_output=True, text=True, check=False)

    if git("rev-parse", "--verify", since).returncode:
        raise UserError(f"--since: {since} is no commit of a repository here")
    shown = git("show", f"{since}:./{committed}")
    if shown.returncode:
        print(f"git has no {committed} to compare with ({since})")
        return
    lines = compared(pd.read_csv(io.StringIO(shown.stdout)), pd.read_csv(here))
    print(lines.to_string(index=False, float_format="{:.2f}".format, na_rep="–"))
    counts = lines["verdict"].value_counts()
    print("; ".join(f"{count} {verdict}" for verdict, count in counts.items()))
    if DIFFERENT in counts:
        raise UserError(f"{counts[DIFFERENT]} of {len(lines)} lines differ from those of {since}")
