"""REPRODUCIBILITY.md: what a reviewer asks, answered from records, tables and configuration."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from apit.config import Claim, Run
from apit.data import fuss
from apit.errors import UserError
from apit.measure.verdicts import FEWEST_SEEDS
from apit.present.report import read_table

Record = Mapping[str, Any]

HEAD = """\
# Reproducibility

Made by `make checklist` from the run records, scores and tables that git has, and from `configs/`;
`make check` tells when it is not of them any more. Times are of training alone, as the records have
them, on the hardware that they name; disk is what sounds and weights take at most, without the
environment in `.venv`.
"""
STANDS = {  # what is asked for: where it stands
    "setting, algorithm, model": "`results/<scale>/report.pdf` (text: `paper/report.typ`), "
    "sections Method and Training; `src/apit/models`, `src/apit/losses`, "
    "`src/apit/training/step.py`",
    "assumptions": "`configs/method.yaml` gives every value its source: [paper], [inferred] from "
    "its text, [fuss], or [ours]",
    "data: origin, size, licences": "`configs/<scale>.yaml`, `apit fetch`; once they are made, "
    "`data/<scale>/bank/clips.html`",
    "splits": "`src/apit/data/splits.py`; which clips make which mixture: "
    "`data/<scale>/mixtures/manifest.csv`",
    "exclusions": "of clips: `clips.html`; of mixtures: those in which nothing sounds, counted "
    "below; of pairs: those that the FUSS evaluator leaves out, so that n stands beside each mean, "
    "and the paper's SI-SNR and MSi(all), which leave out none",
    "dependencies": "`requirements.lock`",
    "code of training and evaluation": "`apit train`, `apit evaluate`; all commands: "
    "`workflow/rules`",
    "weights": "`make restore`, from DVC's remote; `make reproduce` trains them anew",
    "hyper-parameters, and their choice": "below, and wholly in every run's `record.json`; "
    "`docs/trials.md` has what was tried; trials of rate and batch, where a scale has some, stand "
    "in `tables/tuning`",
    "metrics": "the report's section Evaluation; `src/apit/measure`",
    "central tendency, variation": "means with 95 % bootstrap intervals over mixtures in every "
    "table; t-intervals over seeds, and the noise between seeds, in `tables/verdicts`",
    "runs, run time, infrastructure": "below",
}


@dataclass(frozen=True)
class Evidence:
    """What git has of a scale: its folder, run records, verdicts and counts of mixtures."""

    folder: Path
    records: list[Record]
    verdicts: list[dict[str, Any]]
    scored: int
    skipped: int

    @property
    def run(self) -> Run:
        """The configuration that all runs share, but for experiment and seed."""
        return Run.model_validate_json(json.dumps(self.records[0]["run"]))

    def of(self, *experiments: str) -> list[Record]:
        """Records of some experiments, all seeds."""
        return [r for r in self.records if r["run"]["experiment"] in experiments]


def read_evidence(folder: Path) -> Evidence:
    """Records, verdicts and counts of a folder such as `results/smoke`.

    Raises UserError where records, summaries of scores or tables are missing.
    """
    paths = sorted((folder / "records").glob("*/record.json"))
    if not paths:
        raise UserError(f"{folder}: has no records/*/record.json; give a folder like results/smoke")
    summaries = [json.loads(p.read_text()) for p in (folder / "scores").glob("*.summary.json")]
    if not summaries:
        raise UserError(f"{folder}: has no scores/*.summary.json; `apit evaluate` makes them")
    verdicts = read_table(folder / "tables", "verdicts")
    assert verdicts is not None, "verdicts are no optional table"
    return Evidence(
        folder,
        [json.loads(path.read_text()) for path in paths],
        verdicts,
        max(summary["examples_scored"] for summary in summaries),
        max(summary["examples_skipped"] for summary in summaries),
    )


def checklist(found: Sequence[Evidence], claims: Sequence[Claim]) -> str:
    """The whole document, in Markdown; the same evidence gives the same text."""
    asked = [
        "## The machine-learning reproducibility checklist\n",
        "| asked for | where it stands |",
    ]
    asked += ["|---|---|", *(f"| {question} | {answer} |" for question, answer in STANDS.items())]
    parts = [HEAD, _kick_the_tires(found[0]), *asked, "", _facts(found)]
    return "\n".join(parts + [_claims(evidence, claims) for evidence in found])


def _kick_the_tires(evidence: Evidence) -> str:
    scale = evidence.run.scale
    return f"""\
## Kick the tires

Python 3.11 or newer, make and git; no GPU.

1. `make test`: the tests, in under five minutes.
2. `make reproduce SCALE={scale}`: the environment, then the whole of scale `{scale}`.
   - expected time: {_time(evidence.records)}
   - disk: {_disk(evidence, evidence.records)}
   - tolerance: {_tolerance(evidence.records)}
3. `apit trace results/{scale}/tables/ablations.csv`: from what a table was made, down to its data.
4. `results/{scale}/report.pdf`: to be read.
"""


def _facts(found: Sequence[Evidence]) -> str:
    """A row for each question, a column for each scale."""
    rows: dict[str, Callable[[Evidence], str]] = {
        "sounds": lambda e: _each(fuss.without_hashes(str(r["sounds"])) for r in e.records),
        "mixtures": _mixtures,
        "data, SHA-256": lambda e: _each(f"`{r['data_sha256']}`" for r in e.records),
        "left out: mixtures without a sounding source": lambda e: str(e.skipped),
        "separator": lambda e: _each(
            f"{r['run']['separator']['architecture']}, "
            f"{r['networks']['separator']['parameters']:,} parameters"
            for r in e.records
        ),
        "discriminators": _discriminators,
        "experiments": lambda e: _each(f"`{r['run']['experiment']}`" for r in e.records),
        "seeds": lambda e: _each(str(r["run"]["seed"]) for r in e.records),
        "steps × batch × crop": lambda e: _each(
            f"{r['steps']:,} × {r['run']['training']['batch_size']} × "
            f"{r['run']['training']['crop_seconds']:g} s"
            for r in e.records
        ),
        "learning rate, separator": lambda e: _each(map(_learning_rate, e.records)),
        "λ; learning rates of discriminators": _adversary,
        "weights that are kept": lambda e: (
            f"best MSi(all) on validation, every {e.run.training.validate_every:,} steps"
            + (f"; averaged, decay {decay:g}" if (decay := e.run.training.ema_decay) else "")
        ),
        "training time of a run": lambda e: (
            f"{_minutes(min(r['training_seconds'] for r in e.records))} to "
            f"{_minutes(max(r['training_seconds'] for r in e.records))}"
        ),
        "training time of all runs": lambda e: _time(e.records),
        "disk": lambda e: _disk(e, e.records),
        "hardware": lambda e: _each(map(_hardware, e.records)),
        "threads of a run": lambda e: _each(str(r["threads"]) for r in e.records),
        "Python, torch": lambda e: _each(
            f"{r['python']}, {r['versions']['torch']}" for r in e.records
        ),
        "trained at commit": lambda e: _each(f"`{r['commit'][:10]}`" for r in e.records),
        "variance": lambda e: (
            "noise between seeds: not known, one seed"
            if len(_seeds(e.records)) == 1
            else "; ".join(
                f"{row['claim'].removeprefix('noise: ')}: {row['shown'][3][0]}"
                for row in e.verdicts
                if not row["better"]
            )
        ),
    }
    lines = [
        "| | " + " | ".join(f"`{evidence.run.scale}`" for evidence in found) + " |",
        "|---|" + "---|" * len(found),
    ]
    lines += [
        f"| {question} | " + " | ".join(answer(evidence) for evidence in found) + " |"
        for question, answer in rows.items()
    ]
    return "\n".join([*lines, ""])


def _learning_rate(record: Record) -> str:
    training = record["run"]["training"]
    falls = training["lr_step"] < record["steps"]
    halved = f", halved every {training['lr_step']:,} steps" if falls else ""
    return f"{training['learning_rate']:g}{halved}"


def _claims(evidence: Evidence, claims: Sequence[Claim]) -> str:
    """Each claim of the paper at one scale: its command, and what to expect of it."""
    scale = evidence.run.scale
    parts = [
        f"## Claims at scale `{scale}`\n\nEach command, in bash, trains and scores the runs of its "
        f"claim anew, whatever is there of them, and no others. {_worth(evidence)}\n"
    ]
    by_name = {row["claim"]: row for row in evidence.verdicts}
    for number, claim in enumerate(claims, 1):
        parts.append(f"### {number}. {claim.claim[0].upper()}{claim.claim[1:]}\n")
        runs = evidence.of(claim.experiment, claim.baseline)
        row = by_name.get(claim.claim)
        if not runs or row is None or not row["seeds"]:
            parts.append("Not run at this scale.\n")
            continue
        contrast, measure, _, difference, *_ = (" ".join(cell) for cell in row["shown"])
        parts.append(f"{_command(evidence.folder, claim, sorted(_seeds(runs)))}\n")
        parts.append(
            f"- contrast: {contrast}, in {measure}\n"
            f"- committed: {difference}, **{row['verdict']}**"
            f"{' (' + row['note'] + ')' if row['note'] else ''}\n"
            f"- expected time: {_time(runs)}\n"
            f"- disk: {_disk(evidence, runs)}\n"
            f"- tolerance: {_tolerance(runs)}\n"
        )
    return "\n".join(parts)


def _command(folder: Path, claim: Claim, seeds: Sequence[int]) -> str:
    of_seeds = str(seeds[0]) if len(seeds) == 1 else f"{{{','.join(map(str, seeds))}}}"
    names = f"{{{claim.experiment},{claim.baseline}}}-s{of_seeds}"
    records, scores = f"{folder}/records/{names}", f"{folder}/scores/{names}.csv.gz"
    scale = folder.name
    return (
        f"    rm -rf {folder}/{{runs,records}}/{names} {scores} work/{scale}/{names}-*\n"
        f"    snakemake --cores all {records} {scores} --config scale={scale}\n"
        f"    apit tables --scale {scale} --scores {scores} --runs {records} --output work/claim\n"
        f"    cat work/claim/verdicts.md\n"
        f"    git checkout {folder}    # to have what is committed again"
    )


def _worth(evidence: Evidence) -> str:
    seeds = len(_seeds(evidence.records))
    if seeds >= FEWEST_SEEDS:
        return f"There are {seeds} seeds."
    some = "is one seed" if seeds == 1 else f"are {seeds} seeds"
    return f"There {some}: too few for any verdict but `undecided`."


def _tolerance(records: Sequence[Record]) -> str:
    """What counts as the same result."""
    gpus = any(record["hardware"]["gpu"] for record in records)
    threads = _each(str(record["threads"]) for record in records)
    else_ = (
        "a mean difference within the committed interval over seeds"
        if len(_seeds(records)) > 1
        else "no more can be said, since one seed has no interval over seeds"
    )
    bits = f"the same scores bit for bit on one machine's CPU with threads: {threads}; on others, "
    return else_ if gpus else bits + else_


def _mixtures(evidence: Evidence) -> str:
    run, examples = evidence.run, _examples(evidence)
    counts = ", ".join(f"{count:,} {split}" for split, count in examples.items())
    return f"{counts}; {run.audio.seconds:g} s at {run.audio.sample_rate:,} Hz"


def _examples(evidence: Evidence) -> dict[str, int]:
    recipe = evidence.run.data.recipe
    if recipe is not None:
        return {str(split): count for split, count in recipe.examples.items()}
    return {**evidence.records[0]["examples"], "eval": evidence.scored + evidence.skipped}


def _discriminators(evidence: Evidence) -> str:
    sizes = {
        name: counts["parameters"]
        for record in evidence.records
        for name, counts in record["networks"].items()
        if name != "separator"
    }
    if not sizes:
        return "none"
    return f"{len(sizes)}, of {min(sizes.values()):,} to {max(sizes.values()):,} parameters each"


def _adversary(evidence: Evidence) -> str:
    """How heavy L_PIT is, where there is one beside discriminators, and at what they learn."""
    adversarial = [r["run"] for r in evidence.records if r["run"]["discriminators"]]
    with_pit = [run["adversary"] for run in adversarial if run["reconstruction"] != "none"]
    weights = _each(str(adversary["pit_weight"]) for adversary in with_pit)
    rates = _each(
        f"{run['adversary']['wave']['learning_rate']:g} (wave), "
        f"{run['adversary']['spectral']['learning_rate']:g} (stft, mask)"
        for run in adversarial
    )
    return f"{weights}; {rates}"


def _disk(evidence: Evidence, records: Sequence[Record]) -> str:
    """What sounds take as wavs and packed (16 bits), and weights and checkpoints of runs."""
    run, sounds = evidence.run, evidence.run.data.sounds
    samples = round(run.audio.seconds * run.audio.sample_rate)
    mixed = 2 * samples * (run.audio.sources + 1) * sum(_examples(evidence).values())
    data = sounds.bytes + mixed if sounds.kind == "fuss" else 2 * mixed
    weights = sum(
        4 * 4 * counts["parameters"]  # weights, best weights, and Adam's two moments
        for record in records
        for counts in record["networks"].values()
    )
    return f"at most {ceil((data + weights) / 1e8) / 10:.1f} GB"


def _time(records: Sequence[Record]) -> str:
    seconds = sum(record["training_seconds"] for record in records)
    return f"{_minutes(seconds)} of training ({_each(map(_hardware, records))})"


def _minutes(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds >= 5400 else f"{seconds / 60:.1f} minutes"


def _hardware(record: Record) -> str:
    hardware = record["hardware"]
    return str(hardware["gpu"] or f"{hardware['processor']}, {hardware['cores']} cores, no GPU")


def _seeds(records: Sequence[Record]) -> set[int]:
    return {record["run"]["seed"] for record in records}


def _each(values: Any) -> str:
    """Values that differ, in the order in which they come."""
    return ", ".join(dict.fromkeys(values)) or "–"
