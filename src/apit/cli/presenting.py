"""Commands that present: tables, figures, spectrograms, listen, report, trace."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from pandas import read_csv

from apit.cli.measuring import system_of
from apit.cli.options import Data, Folder, Paths, Runs, ScaleOptions, Scores
from apit.data.credits import credits_of
from apit.data.credits import origin as origin_of_data
from apit.data.examples import open_examples
from apit.files import whole_file, whole_folder
from apit.layers import load_claims, load_reported, reported_for
from apit.measure.audition import audition
from apit.measure.score import System
from apit.measure.selection import contrast, select
from apit.measure.showcase import showcase
from apit.measure.spread import spreads
from apit.measure.statistics import differences, hole_curve, published_differences, summarise
from apit.measure.systems import oracle
from apit.measure.table import read_scores
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
from apit.training.record import HISTORY, RECORD, read_history, read_record

BASELINE = "pit"  # what ablations are compared with
CEILING = "ideal-ratio-mask"  # what is heard beside runs: masking reaches no more


def tables(
    *,
    scores: Scores,
    runs: Runs,
    output: Folder,
    bss_eval: Paths = (),
    out_of_domain: Paths = (),
    trials: Paths = (),
    cost: Path | None = None,
    options: ScaleOptions = ScaleOptions(),
) -> None:
    """Make the tables of a scale from scores.

    Parameters
    ----------
    bss_eval
        Files of scores with BSS Eval, for the table of it.
    out_of_domain
        Files of scores of the split out_of_domain, for the table of it.
    trials
        Trials of rate × batch, for the table of them.
    cost
        What `apit bench` wrote, for the table of it.
    """
    scale = options.load()
    claims, reported = load_claims(options.configs), load_reported(options.configs)
    rows, resamples = read_scores(scores), scale.evaluation.resamples
    summary = summarise(rows, resamples)
    records = [read_record(folder) for folder in runs]
    caption = score_tables.caption(records, scale.caption)
    here = reported_for(scale, options.configs)
    made = [
        score_tables.ablations(summary, caption),
        studies.contexts(summary, records, caption),
        studies.combinations(summary, records, here, caption),
        score_tables.holes(summary, caption),
        score_tables.verdicts(decide(claims, rows), caption),
        score_tables.published(summary, records, reported, caption),
        run_tables.models(records, caption),
    ]
    if bss_eval:
        rows = read_scores(bss_eval)
        made.append(
            score_tables.bss_eval(summarise(rows, resamples), rows["example"].nunique(), caption)
        )
    if out_of_domain:
        assert scale.data.recipe is not None, "scores of that split come from a recipe"
        outside = summarise(read_scores(out_of_domain), resamples)
        made.append(score_tables.out_of_domain(outside, scale.data.recipe.held_out, caption))
    if trials:
        made.append(run_tables.tuning([read_record(t) for t in trials], records, caption))
    if cost:
        made.append(run_tables.cost(read_csv(cost), caption))
    for table in made:
        table.write(output)
    sources = [*scores, *bss_eval, *out_of_domain, *([cost] if cost else [])]
    sources += [folder / RECORD for folder in (*runs, *trials)]
    origin.write(output, {table.name: table.caption for table in made}, sources, records)
    histories = {f.name: read_history(f) for f in runs if (f / HISTORY).exists()}
    with whole_file(output / "training.csv") as partial:
        score_tables.training(histories).to_csv(partial, index=False)
    with whole_file(output / "metrics.json") as partial:
        partial.write_text(json.dumps(score_tables.metrics(summary), indent=1) + "\n")
    print(f"{output}: {', '.join(t.name for t in made)}, as CSV, Markdown and LaTeX")


def figures(
    *, scores: Scores, runs: Runs, output: Folder, options: ScaleOptions = ScaleOptions()
) -> None:
    """Draw the figures of a scale."""
    scale = options.load()
    rows, resamples = read_scores(scores), scale.evaluation.resamples
    summary = summarise(rows, resamples)
    records = [read_record(folder) for folder in runs]
    caption = score_tables.caption(records, scale.caption)
    drawn = Gallery(output, records, caption)
    plots.training(drawn, [read_history(folder) for folder in runs])
    plots.improvement(drawn, summary)
    plots.per_mixture(drawn, spreads(rows))
    gains = published_differences(reported_for(scale, options.configs), BASELINE)
    plots.differences(drawn, differences(rows, BASELINE, resamples), BASELINE, gains)
    plots.replacement(drawn, studies.contexts(summary, records, caption).data)
    plots.holes(drawn, hole_curve(rows, resamples))
    sources = [*scores, *(folder / name for folder in runs for name in (RECORD, HISTORY))]
    origin.write(output, drawn.captions, sources, records)
    print(f"{output}: {', '.join(drawn.captions)}, as PNG and PDF")


def spectrograms(
    *,
    runs: Runs,
    data: Data,
    estimates: Path,
    output: Folder,
    options: ScaleOptions = ScaleOptions(),
) -> None:
    """Draw one mixture under pit and the best adversarial run, with its spectral holes.

    Parameters
    ----------
    estimates
        Folder of kept estimates, a folder per run.
    """
    scale = options.load()
    record_of = {folder: read_record(folder) for folder in runs}
    records = list(record_of.values())
    stft = make_stft(scale.stft, scale.audio.sample_rate)
    chosen = showcase(record_of, data, estimates, scale.audio, stft)
    drawn = Gallery(output, records, score_tables.caption(records, scale.caption))
    spectra.spectrograms(drawn, chosen)
    kept = [path for folder in record_of for path in (estimates / folder.name).rglob("*.wav")]
    sources = [*kept, *(folder / RECORD for folder in record_of)]
    origin.write(output, drawn.captions, sources, records)
    print(f"{output}: {', '.join(drawn.captions)}, as PNG and PDF")


def listen(
    *,
    runs: Paths,
    data: Data,
    scores: Paths,
    output: Folder,
    options: ScaleOptions = ScaleOptions(),
) -> None:
    """Make a page on which chosen mixtures are heard under every run and an oracle.

    OUTPUT/index.html needs neither server nor network. OUTPUT/webmushra.yaml is the same selection
    as a listening test, and says how to run it.

    Parameters
    ----------
    runs
        Runs, with weights.
    scores
        Files of scores of the runs, and of ideal-ratio-mask, with spectral holes.
    """
    with leased():
        scale = options.load()
        record_of = {folder: read_record(folder) for folder in runs}
        records = list(record_of.values())
        rows = read_scores(scores)
        examples = open_examples(data, "eval", scale.audio)
        selection = select(rows, contrast(record_of, BASELINE))
        stft = make_stft(scale.stft, scale.audio.sample_rate)

        def systems() -> Iterator[System]:
            """One after the other, so that only one network is in memory."""
            yield from (system_of(folder)[1] for folder in runs)
            yield System(options.name, CEILING, 0, oracle(CEILING, stft))

        about = listening.About(
            options.name,
            score_tables.caption(records, scale.caption),
            selection.rule,
            origin_of_data(data, is_fuss=scale.data.sounds.kind == "fuss"),
        )
        with whole_folder(output) as folder:
            scenes = audition(examples, selection.chosen, systems(), rows, stft)
            listening.write(folder, scenes, about, scale.audio, credits_of(data, "eval"))
            sources = [*scores, *(run / RECORD for run in record_of)]
            origin.write(folder, {"index": about.caption}, sources, records)
    print(f"{output / 'index.html'}: {len(selection.chosen)} mixtures, to be listened to")


def report(
    *,
    tables: Path,
    figures: Path,
    runs: Runs,
    source: Path = Path("paper", "report.typ"),
    output: Path,
    options: ScaleOptions = ScaleOptions(),
) -> None:
    """Set the report of a scale, as PDF.

    Parameters
    ----------
    tables
        Folder of the tables.
    figures
        Folder of the figures; the report has those that are there.
    source
        The report's text.
    output
        File to write, .pdf.
    """
    scale = options.load()
    records = [read_record(folder) for folder in runs]
    content = document.content(scale, load_claims(options.configs), tables, records)
    drawn = sorted(figures.glob("*.pdf"))
    document.write(source, content, drawn, output)
    shown = [tables / f"{name}.csv" for name in content["tables"]]
    sources = [*document.text_of(source), *shown, *drawn, *(folder / RECORD for folder in runs)]
    captions = {output.stem: score_tables.caption(records, scale.caption)}
    origin.write(output.parent, captions, sources, records)
    print(f"{output}: {len(shown)} tables and {len(drawn)} figures of {len(records)} runs")


def trace(file: Annotated[Path, Parameter(metavar="FILE")], /) -> None:
    """Tell from what a table or figure was made, down to its data.

    Parameters
    ----------
    file
        Such as results/smoke/tables/ablations.csv.
    """
    print("\n".join(origin.trace(file)))
