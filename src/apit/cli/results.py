"""Commands on results that are here: plan, look, status, accept, compare."""

import getpass
import io
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from math import isfinite, isnan
from pathlib import Path
from subprocess import CalledProcessError
from typing import Annotated, Literal

import pandas as pd
from cyclopts import Parameter

from apit import artefacts
from apit.artefacts import LOOK, today
from apit.cli.options import Folder, ScaleOptions, Scores
from apit.config import IDEAL, ORACLES, TRIVIAL, Scale
from apit.errors import UserError
from apit.files import whole_file, whole_folder
from apit.layers import load_claims, scale_names
from apit.measure.comparison import DIFFERENT
from apit.measure.comparison import compare as compared
from apit.measure.contrasts import ALPHA, kind_of
from apit.measure.plan import FUSS_EVAL, hours_of
from apit.measure.plan import plan as planned
from apit.measure.statistics import by_pair
from apit.measure.table import OF_SPLIT, read_scores
from apit.measure.verdicts import decide, undecided
from apit.present import origin
from apit.provenance import git
from apit.training.record import read_record

NOISE = ("margin", "detectable", "more_for_all", "more_for_one")  # in the measure's unit

Kind = Literal["bank", "mixtures", "packed", "run", "scores"]


def plan(*, output: Path | None = None, options: ScaleOptions = ScaleOptions()) -> None:
    """Tell how many seeds each claim needs for a worthwhile difference with 80 % power, and hours.

    By the noise between seeds and mixtures of the scores that are here, and the times of the runs;
    where there are none, by what it says that it assumes.

    Parameters
    ----------
    output
        File to write the table to, .csv.
    """
    made, claims = options.artefacts(), load_claims(options.configs)
    runs = {run.experiment: run for run in made.every_run.values()}
    folders = [made.at(f"{made.results}/scores/{name}") for name in (*ORACLES, *made.every_run)]
    scored = [path for folder in folders if (path := folder / OF_SPLIT).exists()]
    records = [
        read_record(folder)
        for name in made.every_run
        if (folder := made.at(f"{made.results}/runs/{name}")).exists()
    ]
    timed = Path(made.results, "cost.csv")
    cost = pd.read_csv(timed) if timed.exists() else pd.DataFrame(columns=["experiment", "hours"])
    hours = hours_of(runs, records, dict(zip(cost["experiment"], cost["hours"], strict=True)))
    recipe = made.scale.data.recipe
    table = planned(
        claims,
        by_pair(read_scores(scored)) if scored else None,
        {name: kind_of(run) for name, run in runs.items()},
        hours,
        made.scale.planning,
        recipe.examples["eval"] if recipe else FUSS_EVAL,
        ALPHA / len(made.scale.looks),
        Counter(run.experiment for run in made.at_first.values()),
    )
    if table.empty:
        raise UserError(f"{options.name}: no claim of claims.yaml has both of its experiments here")
    print(_plan_in_words(table, hours, made.scale, options.name))
    if absent := [claim.claim for claim in claims if claim.claim not in {*table["claim"]}]:
        print(f"not of experiments of {options.name}, and so not planned: {'; '.join(absent)}")
    if output:
        with whole_file(output) as partial:
            table.to_csv(partial, index=False, float_format="%.6g")


def _plan_in_words(table: pd.DataFrame, hours: Mapping[str, float], scale: Scale, name: str) -> str:
    """What is printed of a plan: a line for each contrast under its claim, and how to read it."""

    def shown(value: float, digits: int) -> str:
        return "–" if isnan(value) else f"{value:.{digits}f}"

    lines = []
    for row in table.to_dict("records"):
        digits = 2 if row["measure"].startswith("si_snr") else 4
        margin, detectable, *more = (shown(row[key], digits) for key in NOISE)
        lines.append(
            {"contrast": f"{row['experiment']} − {row['baseline']}", "measure": row["measure"],
             "margin": margin, "seeds": row["seeds"], "detectable": detectable,
             "+1 of all": more[0], "+1 of it": more[1], "needed": shown(row["needed"], 0),
             "by Holm": shown(row["needed_holm"], 0), "hours": shown(row["hours"], 1),
             "assumed": row["assumed"] or "–"}
        )  # fmt: skip
    head, *body = pd.DataFrame(lines).to_string(index=False).splitlines()
    claims = ["", *table["claim"].to_list()]
    said = [head]
    for line, before, claim in zip(body, claims, claims[1:], strict=False):
        said += [line] if claim == before else [f"{claim}:", line]
    alpha = 100 * ALPHA / len(scale.looks)
    said += [
        "",
        "seeds: those that are here or, of what was not run, the first that are due. detectable: "
        "the smallest true difference that they show with a power of 80 %, at "
        f"an error of {alpha:g} % for each claim by itself; with another seed of all experiments; "
        "and with another of the first one alone. Margins and differences are in the measure's "
        "unit.",
        "needed: seeds of both to detect the margin; by Holm: as the first of "
        f"{len(table)} contrasts; inf: with so few mixtures no number of seeds will do. hours: of "
        "training, for the seeds that are missing of those that are needed.",
        f"assumed where nothing was run: runs deviate by {scale.planning.between_runs:g} dB, and "
        f"differences by {scale.planning.between_mixtures:g} dB over mixtures; of rates, nothing.",
        "hours of one run: " + ", ".join(f"{n} {hours[n]:.2g}" for n in scale.names)
        if not any(map(isnan, hours.values()))
        else f"hours are not known, for nothing was run: `snakemake cost --config scale={name}` "
        "times a step of each",
    ]
    needed: dict[str, float] = {}
    for side in ("experiment", "baseline"):
        for one, count in zip(table[side], table["needed"], strict=True):
            needed[one] = max(needed.get(one, 0.0), count)
    counted = {n: count for n, count in needed.items() if n in hours and isfinite(count)}
    if counted and not any(map(isnan, hours.values())):
        said.append(
            f"another seed of all: {sum(hours[one] for one in scale.names):.2g} hours; all seeds "
            f"that are needed of {len(counted)} experiments, those made included: "
            f"{sum(hours[one] * count for one, count in counted.items()):.2g} hours"
        )
    return "\n".join(said)


def look(*, output: Folder, scores: Scores = (), options: ScaleOptions = ScaleOptions()) -> None:
    """Look at the claims after the first seeds, and say which experiments need more of them.

    For a scale with `seeds: until decided`.
    """
    made, claims = options.artefacts(), load_claims(options.configs)
    if made.look is None:
        raise UserError(f"{options.name}: its number of seeds is fixed; there is one look")
    folders = scores or tuple(
        made.at(f"{made.results}/scores/{name}") for name in (*TRIVIAL, *made.at_first, *IDEAL)
    )
    rows = read_scores([today(folder) / OF_SPLIT for folder in folders])
    kinds = {run.experiment: kind_of(run) for run in made.every_run.values()}
    looks, resamples = made.scale.looks, made.scale.evaluation.resamples
    decided = decide(claims, rows, kinds, resamples, looks, first_alone=True)
    with whole_folder(output, made.identities[made.look]) as folder:
        text = json.dumps({"undecided": undecided(decided)}, indent=1)
        (folder / LOOK).write_text(text + "\n", encoding="utf-8")
    print(f"{output}: {len(undecided(decided))} experiments need more seeds")


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
    try:
        by = git("config", "user.name").strip()
    except (OSError, CalledProcessError):
        by = getpass.getuser()
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

    try:
        git("rev-parse", "--verify", since)
    except CalledProcessError as error:
        raise UserError(
            f"--since: {since} is no commit of a repository here; git says: {error.stderr.strip()}"
        ) from None
    try:
        shown = git("show", f"{since}:./{committed}")
    except CalledProcessError:
        print(f"git has no {committed} to compare with ({since})")
        return
    lines = compared(pd.read_csv(io.StringIO(shown)), pd.read_csv(here))
    print(lines.to_string(index=False, float_format="{:.2f}".format, na_rep="–"))
    counts = lines["verdict"].value_counts()
    print("; ".join(f"{count} {verdict}" for verdict, count in counts.items()))
    if DIFFERENT in counts:
        raise UserError(f"{counts[DIFFERENT]} of {len(lines)} lines differ from those of {since}")
