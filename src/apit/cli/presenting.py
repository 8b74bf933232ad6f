"""Commands that present: tables, figures, spectrograms, listen, report, trace."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from cyclopts import Parameter
from pandas import read_csv

from apit.artefacts import today
from apit.cli.measuring import system_of
from apit.cli.options import Folder, Mixtures, Paths, Runs, ScaleOptions, Scores
from apit.config import IDEAL, TRIVIAL
from apit.data.credits import credits_of
from apit.data.credits import origin as origin_of_data
from apit.data.examples import open_examples
from apit.errors import UserError
from apit.files import whole_file, whole_folder
from apit.identity import Identity, beside, stamp_of
from apit.layers import load_claims, load_reported, reported_for, shipped
from apit.measure.audition import audition
from apit.measure.comparison import seed_means
from apit.measure.contrasts import kind_of
from apit.measure.score import System
from apit.measure.selection import contrast, select
from apit.measure.showcase import showcase
from apit.measure.spread import spreads
from apit.measure.statistics import (
    differences,
    hole_correlation,
    hole_curve,
    published_differences,
    summarise,
)
from apit.measure.systems import oracle
from apit.measure.table import ELSEWHERE, OF_BSS_EVAL, OF_SPLIT, read_scores
from apit.measure.verdicts import decide
from apit.models.stft import make_stft
from apit.present import figures as plots
from apit.present import listening, origin, studies
from apit.present import report as document
from apit.present import runs as run_tables
from apit.present import spectrograms as spectra
from apit.present import tables as score_tables
from apit.present.gallery import Gallery
from apit.training.devices import leased
from apit.training.record import HISTORY, RECORD, name_of, read_history, read_record, run_of

BASELINE = "pit"  # what ablations are compared with
CEILING = "ideal-ratio-mask"  # what is heard beside runs: masking reaches no more


class Evidence(NamedTuple):
    """Folders of scores, and records of runs by their folders."""

    scores: list[Path]
    records: dict[Path, dict[str, Any]]

    @classmethod
    def of(
        cls, options: ScaleOptions, scores: Paths = (), runs: Paths = (), *, heard: bool = False
    ) -> "Evidence":
        """Those that were given, or else today's of the scale; `heard`: of its first seed alone."""
        if not scores or not runs:
            made = options.artefacts()
            names = [
                name
                for name, run in made.runs.items()
                if not heard or run.seed == made.scale.looks[0][0]
            ]
            systems = (*TRIVIAL, *names, *IDEAL)
            scores = scores or tuple(made.at(f"{made.results}/scores/{name}") for name in systems)
            runs = runs or tuple(made.at(f"{made.results}/runs/{name}") for name in names)
        return cls([today(p) for p in scores], {f: read_record(f) for f in map(today, runs)})

    @property
    def runs(self) -> list[dict[str, Any]]:
        """Records alone."""
        return list(self.records.values())

    def files(self, name: str = OF_SPLIT) -> list[Path]:
        """Files of a name in the folders of scores, those that have one."""
        if absent := [folder for folder in self.scores if not folder.is_dir()]:
            raise UserError(f"{absent[0]}: is not here; `snakemake scores` makes it")
        return [path for folder in self.scores if (path := folder / name).exists()]


def _mixtures(data: Path | None, options: ScaleOptions) -> Path:
    """The mixtures that were given, or else those of the scale, with all that `--set` says."""
    return today(data) if data else options.artefacts().at(f"data/{options.name}/packed")


def tables(
    *, output: Folder, scores: Scores = (), runs: Runs = (), options: ScaleOptions = ScaleOptions()
) -> None:
    """Make the tables of a scale from scores."""
    evidence, scale = Evidence.of(options, scores, runs), options.load()
    rows, resamples = read_scores(evidence.files()), scale.evaluation.resamples
    summary, records = summarise(rows, resamples), evidence.runs
    caption = score_tables.caption(records, scale.caption)
    here, claims = reported_for(scale, options.configs), load_claims(options.configs)
    kinds = {record["run"]["experiment"]: kind_of(run_of(record)) for record in records}
    decided = decide(claims, rows, kinds, resamples, scale.looks)
    made = [
        score_tables.ablations(summary, caption),
        studies.contexts(summary, records, caption),
        studies.combinations(summary, records, here, caption),
        score_tables.holes(summary, hole_correlation(rows), caption),
        score_tables.verdicts(decided, caption),
        score_tables.published(summary, records, load_reported(options.configs), caption),
        run_tables.models(records, caption),
    ]
    if bss_eval := evidence.files(OF_BSS_EVAL):
        some = read_scores(bss_eval)
        examples = some["example"].nunique()
        made.append(score_tables.bss_eval(summarise(some, resamples), examples, caption))
    if elsewhere := evidence.files(ELSEWHERE):
        held_out = scale.data.recipe.held_out if scale.data.recipe else ()
        outside = summarise(read_scores(elsewhere), resamples)
        made.append(score_tables.out_of_domain(outside, held_out, caption))
    if trials := [] if scores else options.artefacts().tried:
        assert scale.tuning is not None
        tried = [read_record(trial) for trial in trials]
        made.append(run_tables.tuning(tried, records, scale.tuning.grid, caption))
    cost = [path for path in (output.parent / "cost.csv",) if path.exists()]
    if cost:
        made.append(run_tables.cost(read_csv(cost[0]), caption))
    for table in made:
        table.write(output)
    folders = [*evidence.records, *trials]
    read = (options.configs / f"{name}.yaml" for name in ("claims", "reported"))
    sources = [*evidence.files(), *bss_eval, *elsewhere, *cost, *read]
    sources += [folder / RECORD for folder in folders]
    origin.write(output, "tables", {table.name: table.caption for table in made}, sources)
    histories = {name_of(record): read_history(f) for f, record in evidence.records.items()}
    for name, frame in (
        ("training", score_tables.training(histories)),
        ("seeds", seed_means(rows)),
    ):
        with whole_file(output / f"{name}.csv") as partial:
            frame.to_csv(partial, index=False, float_format="%.6g")
    with whole_file(output / "metrics.json") as partial:
        partial.write_text(
            json.dumps(score_tables.metrics(summary), indent=1) + "\n", encoding="utf-8"
        )
    print(f"{output}: {', '.join(t.name for t in made)}, as CSV, Markdown and LaTeX")


def figures(
    *, output: Folder, scores: Scores = (), runs: Runs = (), options: ScaleOptions = ScaleOptions()
) -> None:
    """Draw the figures of a scale."""
    evidence, scale = Evidence.of(options, scores, runs), options.load()
    rows, resamples = read_scores(evidence.files()), scale.evaluation.resamples
    summary, records = summarise(rows, resamples), evidence.runs
    caption = score_tables.caption(records, scale.caption)
    drawn = Gallery(output, records, caption)
    plots.training(drawn, [read_history(folder) for folder in evidence.records])
    plots.contexts(drawn, [read_history(folder) for folder in evidence.records])
    plots.improvement(drawn, summary)
    plots.per_mixture(drawn, spreads(rows))
    gains = published_differences(reported_for(scale, options.configs), BASELINE)
    plots.differences(drawn, differences(rows, BASELINE, resamples), BASELINE, gains)
    plots.replacement(drawn, studies.contexts(summary, records, caption).data)
    plots.holes(drawn, hole_curve(rows, resamples))
    of_runs = (folder / name for folder in evidence.records for name in (RECORD, HISTORY))
    origin.write(output, "figures", drawn.captions, [*evidence.files(), *of_runs])
    print(f"{output}: {', '.join(drawn.captions)}, as PNG and PDF")


def spectrograms(
    *,
    output: Folder,
    runs: Runs = (),
    estimates: Paths = (),
    data: Mixtures = None,
    options: ScaleOptions = ScaleOptions(),
) -> None:
    """Draw a target under pit, pit-tdcnpp and the best adversarial run, with its spectral holes.

    Parameters
    ----------
    estimates
        Folders of kept estimates, one for each of the runs.
    """
    scale = options.load()
    evidence = Evidence.of(options, (), runs, heard=True)
    records = evidence.records
    by_name = {folder.parent.name: folder for folder in evidence.scores}
    kept = dict(zip(records, estimates, strict=False)) or {
        folder: beside(by_name[name_of(record)]) for folder, record in records.items()
    }
    stft = make_stft(scale.stft, scale.audio.sample_rate)
    mixtures = _mixtures(data, options)
    chosen = showcase(records, mixtures, kept, scale.audio, stft)
    drawn = Gallery(output, evidence.runs, score_tables.caption(evidence.runs, scale.caption))
    spectra.spectrograms(drawn, chosen)
    sounds = [path for folder in kept.values() for path in folder.rglob("*.wav")]
    origin.write(
        output, "spectrograms", drawn.captions, [*sounds, *(folder / RECORD for folder in records)]
    )
    print(f"{output}: {', '.join(drawn.captions)}, as PNG and PDF")


def listen(
    *,
    output: Folder,
    runs: Runs = (),
    scores: Scores = (),
    data: Mixtures = None,
    options: ScaleOptions = ScaleOptions(),
) -> None:
    """Make a page on which chosen mixtures are heard under every run of a seed, and an oracle.

    OUTPUT/index.html needs neither server nor network. OUTPUT/webmushra.yaml is the same selection
    as a listening test, and says how to run it.
    """
    evidence, scale = Evidence.of(options, scores, runs, heard=True), options.load()
    with leased():
        records, files = evidence.records, evidence.files()
        heard = {*(record["run"]["experiment"] for record in evidence.runs), CEILING}
        rows = read_scores(files)
        rows = rows[rows["experiment"].isin(heard)]
        mixtures = _mixtures(data, options)
        examples = open_examples(mixtures, "eval", scale.audio)
        selection = select(rows, contrast(records, BASELINE))
        stft = make_stft(scale.stft, scale.audio.sample_rate)

        def systems() -> Iterator[System]:
            """One after the other, so that only one network is in memory."""
            yield from (system_of(folder)[1] for folder in records)
            yield System(options.name, CEILING, 0, oracle(CEILING, stft))

        about = listening.About(
            options.name,
            score_tables.caption(evidence.runs, scale.caption),
            selection.rule,
            origin_of_data(mixtures, is_fuss=scale.data.sounds.kind == "fuss"),
        )
        page = Identity("page", {}, {str(f.parent): stamp_of(f.parent) for f in files})
        with whole_folder(output, page) as folder:
            scenes = audition(examples, selection.chosen, systems(), rows, stft)
            listening.write(folder, scenes, about, scale.audio, credits_of(mixtures, "eval"))
            sources = [*files, *(run / RECORD for run in records)]
            origin.write(folder, "listen", {"index": about.caption}, sources)
    print(f"{output / 'index.html'}: {len(selection.chosen)} mixtures, to be listened to")


def report(
    *,
    output: Path,
    tables: Path | None = None,
    figures: Path | None = None,
    runs: Runs = (),
    source: Path | None = None,
    options: ScaleOptions = ScaleOptions(),
) -> None:
    """Set the report of a scale, as PDF.

    Parameters
    ----------
    output
        File to write, .pdf.
    tables
        Folder of the tables (results/SCALE/tables).
    figures
        Folder of the figures (results/SCALE/figures); the report has those that are there.
    source
        The report's text; by default ./paper/report.typ, or that which apit comes with.
    """
    source = source or shipped(Path("paper", "report.typ"))
    scale, results = options.load(), Path("results", options.name)
    tables, figures = tables or results / "tables", figures or results / "figures"
    evidence = Evidence.of(options, (), runs)
    records = evidence.runs
    content = document.content(scale, load_claims(options.configs), tables, records)
    drawn = sorted(figures.rglob("*.pdf"))
    document.write(source, content, drawn, output)
    shown = [tables / f"{name}.csv" for name in content["tables"]]
    sources = [*document.text_of(source), *shown, *drawn, *(f / RECORD for f in evidence.records)]
    captions = {output.stem: score_tables.caption(records, scale.caption)}
    origin.write(output.parent, "report", captions, sources)
    print(f"{output}: {len(shown)} tables and {len(drawn)} figures of {len(records)} runs")


def trace(file: Annotated[Path, Parameter(metavar="FILE")], /) -> None:
    """Tell from what a table or figure was made, down to its data.

    Parameters
    ----------
    file
        Such as results/smoke/tables/ablations.csv.
    """
    print("\n".join(origin.trace(file)))
