"""Commands that present: tables, figures, spectrograms, report, listen, trace."""

import argparse
import json
from typing import TYPE_CHECKING

from apit import layers
from apit.commands.measuring import system_of
from apit.commands.scales import scale_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from apit.measure.score import System

BASELINE = "pit"  # what ablations are compared with
CEILING = "ideal-ratio-mask"  # what is heard beside runs: masking reaches no more


def tables(parsed: argparse.Namespace) -> None:
    """`apit tables`."""
    from pandas import read_csv

    from apit.files import whole_file
    from apit.measure.statistics import summarise
    from apit.measure.table import read_scores
    from apit.measure.verdicts import decide
    from apit.present import origin, runs, studies, tables
    from apit.training.record import HISTORY, RECORD, read_history, read_record

    scale = scale_of(parsed)
    claims, reported = layers.load_claims(parsed.configs), layers.load_reported(parsed.configs)
    scores, resamples = read_scores(parsed.scores), scale.evaluation.resamples
    summary = summarise(scores, resamples)
    records = [read_record(folder) for folder in parsed.runs]
    caption = tables.caption(records, scale.caption)
    here = layers.reported_for(scale, parsed.configs)
    made = [
        tables.ablations(summary, caption),
        studies.contexts(summary, records, caption),
        studies.combinations(summary, records, here, caption),
        tables.holes(summary, caption),
        tables.verdicts(decide(claims, scores), caption),
        tables.published(summary, records, reported, caption),
        runs.models(records, caption),
    ]
    if parsed.bss_eval:
        scores = read_scores(parsed.bss_eval)
        examples = scores["example"].nunique()
        made.append(tables.bss_eval(summarise(scores, resamples), examples, caption))
    if parsed.out_of_domain:
        assert scale.data.recipe is not None, "scores of that split come from a recipe"
        outside = summarise(read_scores(parsed.out_of_domain), resamples)
        made.append(tables.out_of_domain(outside, scale.data.recipe.held_out, caption))
    if parsed.trials:
        trials = [read_record(folder) for folder in parsed.trials]
        made.append(runs.tuning(trials, records, caption))
    if parsed.cost:
        made.append(runs.cost(read_csv(parsed.cost), caption))
    for table in made:
        table.write(parsed.output)
    sources = [*parsed.scores, *parsed.bss_eval, *parsed.out_of_domain]
    sources += [parsed.cost] if parsed.cost else []
    sources += [folder / RECORD for folder in (*parsed.runs, *parsed.trials)]
    captions = {table.name: table.caption for table in made}
    origin.write(parsed.output, captions, sources)
    histories = {f.name: read_history(f) for f in parsed.runs if (f / HISTORY).exists()}
    with whole_file(parsed.output / "training.csv") as partial:
        tables.training(histories).to_csv(partial, index=False)
    with whole_file(parsed.output / "metrics.json") as partial:
        partial.write_text(json.dumps(tables.metrics(summary), indent=1) + "\n")
    print(f"{parsed.output}: {', '.join(t.name for t in made)}, as CSV, Markdown and LaTeX")


def figures(parsed: argparse.Namespace) -> None:
    """`apit figures`."""
    from apit.measure.spread import spreads
    from apit.measure.statistics import (
        differences,
        hole_curve,
        published_differences,
        summarise,
    )
    from apit.measure.table import read_scores
    from apit.present import figures, origin, studies, tables
    from apit.present.gallery import Gallery
    from apit.training.record import HISTORY, RECORD, read_history, read_record

    scale = scale_of(parsed)
    scores = read_scores(parsed.scores)
    records = [read_record(folder) for folder in parsed.runs]
    resamples = scale.evaluation.resamples
    summary = summarise(scores, resamples)
    caption = tables.caption(records, scale.caption)
    drawn = Gallery(parsed.output, records, caption)
    figures.training(drawn, [read_history(folder) for folder in parsed.runs])
    figures.improvement(drawn, summary)
    figures.per_mixture(drawn, spreads(scores))
    reported = layers.reported_for(scale, parsed.configs)
    gains = published_differences(reported, BASELINE)
    figures.differences(drawn, differences(scores, BASELINE, resamples), BASELINE, gains)
    figures.replacement(drawn, studies.contexts(summary, records, caption).data)
    figures.holes(drawn, hole_curve(scores, resamples))
    sources = [folder / name for folder in parsed.runs for name in (RECORD, HISTORY)]
    origin.write(parsed.output, drawn.captions, [*parsed.scores, *sources])
    print(f"{parsed.output}: {', '.join(drawn.captions)}, as PNG and PDF")


def spectrograms(parsed: argparse.Namespace) -> None:
    """`apit spectrograms`."""
    from apit.measure.showcase import showcase
    from apit.models.stft import make_stft
    from apit.present import origin, spectrograms, tables
    from apit.present.gallery import Gallery
    from apit.training.record import RECORD, read_record

    scale = scale_of(parsed)
    runs = {folder: read_record(folder) for folder in parsed.runs}
    stft = make_stft(scale.stft, scale.audio.sample_rate)
    chosen = showcase(runs, parsed.data, parsed.estimates, scale.audio, stft)
    records = list(runs.values())
    drawn = Gallery(parsed.output, records, tables.caption(records, scale.caption))
    spectrograms.spectrograms(drawn, chosen)
    kept = [path for folder in runs for path in (parsed.estimates / folder.name).rglob("*.wav")]
    sources = [*kept, *(folder / RECORD for folder in runs)]
    origin.write(parsed.output, drawn.captions, sources)
    print(f"{parsed.output}: {', '.join(drawn.captions)}, as PNG and PDF")


def report(parsed: argparse.Namespace) -> None:
    """`apit report`."""
    from apit.present import origin, report, tables
    from apit.training.record import RECORD, read_record

    scale = scale_of(parsed)
    records = [read_record(folder) for folder in parsed.runs]
    claims = layers.load_claims(parsed.configs)
    found = report.content(scale, claims, parsed.tables, records)
    figures = sorted(parsed.figures.rglob("*.pdf"))
    report.write(parsed.source, found, figures, parsed.output)
    shown = [parsed.tables / f"{name}.csv" for name in found["tables"]]
    sources = [*report.text_of(parsed.source), *shown, *figures, *(f / RECORD for f in parsed.runs)]
    captions = {parsed.output.stem: tables.caption(records, scale.caption)}
    origin.write(parsed.output.parent, captions, sources)
    print(f"{parsed.output}: {len(shown)} tables and {len(figures)} figures of {len(records)} runs")


def listen(parsed: argparse.Namespace) -> None:
    """`apit listen`."""
    from apit.training.devices import leased

    with leased():
        _listen_here(parsed)


def _listen_here(parsed: argparse.Namespace) -> None:
    from apit.data.credits import credits_of
    from apit.data.credits import origin as origin_of
    from apit.data.examples import open_examples
    from apit.files import whole_folder
    from apit.measure.audition import audition
    from apit.measure.score import System
    from apit.measure.selection import contrast, select
    from apit.measure.systems import oracle
    from apit.measure.table import read_scores
    from apit.models.stft import make_stft
    from apit.present import listening, origin, tables
    from apit.training.record import RECORD, read_record

    scale = scale_of(parsed)
    runs = {folder: read_record(folder) for folder in parsed.runs}
    records = list(runs.values())
    scores = read_scores(parsed.scores)
    examples = open_examples(parsed.data, "eval", scale.audio)
    selection = select(scores, contrast(runs, BASELINE))
    stft = make_stft(scale.stft, scale.audio.sample_rate)

    def systems() -> "Iterator[System]":
        """One after the other, so that only one network is in memory."""
        yield from (system_of(folder)[1] for folder in parsed.runs)
        yield System(parsed.scale, CEILING, 0, oracle(CEILING, stft))

    about = listening.About(
        parsed.scale,
        tables.caption(records, scale.caption),
        selection.rule,
        origin_of(parsed.data, is_fuss=scale.data.sounds.kind == "fuss"),
    )
    with whole_folder(parsed.output) as folder:
        scenes = audition(examples, selection.chosen, systems(), scores, stft)
        credits = credits_of(parsed.data, "eval")
        listening.write(folder, scenes, about, scale.audio, credits)
        sources = [*parsed.scores, *(run / RECORD for run in runs)]
        origin.write(folder, {"index": about.caption}, sources)
    print(f"{parsed.output / 'index.html'}: {len(selection.chosen)} mixtures, to be listened to")


def trace(parsed: argparse.Namespace) -> None:
    """`apit trace`."""
    from apit.present.origin import trace

    print("\n".join(trace(parsed.file)))
