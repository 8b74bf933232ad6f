"""What the commands do: configuration and options in, one call of the package, one line out.

torch is imported where it is needed, so that `apit --help` answers at once.
"""

import argparse
import getpass
import json
import resource
import subprocess
from contextlib import nullcontext
from datetime import UTC, datetime
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING

from apit import layers
from apit.config import Run, Scale, Scoring, Slots
from apit.errors import UserError
from apit.provenance import processor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from apit.data.batches import Batch
    from apit.measure.score import System

BASELINE = "pit"  # what ablations are compared with
CEILING = "ideal-ratio-mask"  # what is heard beside runs: masking reaches no more


def _known_scale(parsed: argparse.Namespace) -> str:
    if parsed.scale is None:
        known = ", ".join(layers.scale_names(parsed.configs))
        raise UserError(f"--scale is missing; there are {known}")
    return str(parsed.scale)


def _scale(parsed: argparse.Namespace) -> Scale:
    return layers.load_scale(_known_scale(parsed), parsed.settings, parsed.configs)


def fetch(parsed: argparse.Namespace) -> None:
    """`apit fetch`."""
    from apit.data.fetch import fetch_fuss, fetch_packages

    of_archive = {"address": parsed.archive, "sha256": parsed.sha256, "bytes": parsed.bytes}
    given = {key: value for key, value in of_archive.items() if value is not None}
    name = "paper" if given and parsed.scale is None else _known_scale(parsed)
    scale = layers.load_scale(name, parsed.settings, parsed.configs)
    sounds = scale.data.sounds
    if given and sounds.kind != "fuss":
        raise UserError(f"scale {name} mixes its own examples: it has no archive to fetch")
    if sounds.kind == "procedural":
        raise UserError(f"scale {name} has procedural sounds: nothing to fetch")
    if sounds.kind == "folder":
        raise UserError(f"scale {name} mixes a folder of your own: nothing to fetch")
    if sounds.kind == "packages":
        fetch_packages(sounds.packages, parsed.output)
        names = ", ".join(package.name for package in sounds.packages)
        print(f"{parsed.output}: recordings of {names}")
        return
    address = str(given.get("address", ""))
    if address and "://" not in address:
        given["address"] = Path(address).resolve().as_uri()
    settings = [f"data.sounds.{key}={value}" for key, value in given.items()]
    scale = layers.load_scale(name, [*parsed.settings, *settings], parsed.configs)
    sounds = scale.data.sounds
    assert sounds.kind == "fuss"
    fetch_fuss(sounds, scale.audio, parsed.output, packed=parsed.packed)
    print(f"{parsed.output}: {sounds.name}")


def bank(parsed: argparse.Namespace) -> None:
    """`apit bank`."""
    from apit.data.bank import make_bank

    make_bank(_scale(parsed), parsed.output, parsed.clips, parsed.rooms, parsed.jobs)
    print(f"{parsed.output}: clips and rooms of scale {parsed.scale}; clips.html tells of them")


def mix(parsed: argparse.Namespace) -> None:
    """`apit mix`."""
    from apit.data import mixtures

    mixtures.mix(_scale(parsed), parsed.bank, parsed.output, parsed.jobs)
    print(f"{parsed.output}: mixtures of scale {parsed.scale}, in the FUSS layout")


def pack(parsed: argparse.Namespace) -> None:
    """`apit pack`."""
    from apit.data import packing

    packing.pack(parsed.source, parsed.output)
    print(f"{parsed.output}: {parsed.source}, packed")


def unpack(parsed: argparse.Namespace) -> None:
    """`apit unpack`."""
    from apit.data import unpacking

    unpacking.unpack(parsed.packed, parsed.output)
    print(f"{parsed.output}: {parsed.packed}, unpacked")


def train(parsed: argparse.Namespace) -> None:
    """`apit train`."""
    _scale(parsed)
    run = layers.load_run(
        parsed.scale, parsed.experiment, parsed.seed, parsed.settings, parsed.configs
    )
    if run.train_as_long_as is not None and parsed.match is None:
        raise UserError(
            f"{parsed.experiment} is trained as long as {run.train_as_long_as}: give that run's "
            f"folder with --match"
        )
    if run.train_as_long_as is None and parsed.match is not None:
        raise UserError(f"{parsed.experiment} has no train_as_long_as, so --match has no meaning")
    if parsed.bank and run.training.remix != "clips":
        raise UserError("training.remix is not clips, so --bank has no meaning")
    from apit.training.devices import leased

    with leased():
        from apit.training import loop

        loop.train(
            run,
            parsed.data,
            parsed.output,
            parsed.settings,
            parsed.match,
            bank=parsed.bank,
            work=parsed.work,
            restart=parsed.restart,
            any_threads=parsed.any_threads,
            checkpoint_seconds=parsed.checkpoint_every,
        )
    print(f"{parsed.output}: {run.name} of scale {run.scale}, trained")


def bench(parsed: argparse.Namespace) -> None:
    """`apit bench`."""
    from apit.training.devices import leased, make_device

    with leased():
        import torch

        from apit.training.bench import Bench

        scale = _scale(parsed)

        def resolved(name: str) -> Run:
            return layers.load_run(parsed.scale, name, 0, parsed.settings, parsed.configs)

        device = make_device(scale.training.threads)
        name = torch.cuda.get_device_name() if device.type == "cuda" else processor()
        timed = [resolved(experiment) for experiment in parsed.experiments]
        bench = Bench(timed, parsed.data, parsed.rounds, device, parsed.bank)
        table = bench.table()
        table[table.columns[1:]] = table[table.columns[1:]].map(lambda value: f"{value:.3g}")
        print(table.set_index("experiment").T.replace("nan", "–").to_string())
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(
            f"medians of {parsed.rounds} rounds in turns on {name}, torch {torch.__version__}; "
            f"this process, with all of them, used {used:.1f} GB at the most\n"
        )
        runs = [resolved(experiment) for experiment in scale.experiments]
        hours = [
            bench.hours(resolved(run.train_as_long_as) if run.train_as_long_as else run)
            for run in runs
        ]
        for run, needed in zip(runs, hours, strict=True):
            print(f"{needed:10.2f} h  {run.experiment}".replace("nan", "  –"))
        seeds = len(scale.seeds)
        known = [needed for needed in hours if not isnan(needed)]
        missing = len(hours) - len(known)
        print(
            f"{sum(known):10.2f} h  all experiments of {parsed.scale}, one seed"
            f"{f', but for {missing} that were not measured' if missing else ''}; "
            f"{seeds} seed(s): {seeds * sum(known):.1f} h of one device, without validation"
        )


def evaluate(parsed: argparse.Namespace) -> None:
    """`apit evaluate`."""
    from apit.training.devices import leased

    with leased() if parsed.run else nullcontext():
        _evaluate_here(parsed)


def _evaluate_here(parsed: argparse.Namespace) -> None:
    import torch

    from apit.data.examples import open_examples
    from apit.measure.score import Measures, System, evaluate
    from apit.measure.systems import oracle
    from apit.models.stft import make_stft

    if parsed.run:
        run, system = _system_of(parsed.run)
        scale = layers.load_scale(parsed.scale or run.scale, parsed.settings, parsed.configs)
        audio = run.audio
    else:
        scale = _scale(parsed)
        torch.set_num_threads(scale.training.threads)
        audio = scale.audio
        separate = oracle(parsed.oracle, make_stft(scale.stft, audio.sample_rate))
        system = System(parsed.scale, parsed.oracle, 0, separate)
    config = _scoring(scale)
    measures = Measures.of(config, spectral_holes=parsed.spectral_holes, bss_eval=parsed.bss_eval)
    evaluate(
        system,
        open_examples(parsed.data, parsed.split, audio),
        measures,
        config,
        parsed.output,
        parsed.estimates,
        parsed.jobs,
        parsed.first,
    )
    print(f"{parsed.output}: scores of {system.experiment}")


def _system_of(folder: Path) -> "tuple[Run, System]":
    """A finished run, and its separator where there is most to compute with."""
    import torch

    from apit.measure.score import System
    from apit.training.record import load_separator

    run, separator = load_separator(folder)
    torch.set_num_threads(run.training.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    separator.to(device)

    def separate(batch: "Batch") -> "Tensor":
        estimates: Tensor = separator(batch.mixture.to(device)).estimates.cpu()
        return estimates

    return run, System(run.scale, run.experiment, run.seed, separate)


def _scoring(scale: Scale) -> Scoring:
    return Scoring(
        audio=Slots(sources=scale.audio.sources), stft=scale.stft, evaluation=scale.evaluation
    )


def score(parsed: argparse.Namespace) -> None:
    """`apit score`."""
    from apit.measure.score import Measures, score_estimates, summary_path

    if parsed.scale:
        config = _scoring(_scale(parsed))
    else:
        config = layers.load_scoring(parsed.settings, parsed.configs)
    measures = Measures.of(config, spectral_holes=parsed.spectral_holes, bss_eval=parsed.bss_eval)
    summary = score_estimates(
        parsed.references, parsed.estimates, measures, config, parsed.output, parsed.jobs
    )
    for name, found in summary.items():
        if isinstance(found, dict) and found["n"]:
            print(
                f"{name:28} {found['mean']:8.3f}  [{found['lower']:.3f}, {found['upper']:.3f}]  "
                f"n = {found['n']}"
            )
    print(
        f"{parsed.output}: {summary['examples_scored']} examples scored, "
        f"{summary['examples_skipped']} skipped (all sources silent), "
        f"{summary['missing_slots']} slots had no file and count as silence; in brackets 95 % "
        f"intervals over mixtures; all of this is in {summary_path(parsed.output)}"
    )


def separate(parsed: argparse.Namespace) -> None:
    """`apit separate`."""
    from apit.training.devices import leased

    with leased():
        import torch

        from apit.separate.files import check_files, separate_file
        from apit.separate.model import Model

        model = Model.load(parsed.model, parsed.chunk)
        torch.set_num_threads(model.run.training.threads)
        check_files(parsed.files)
        for path in parsed.files:
            made = separate_file(model, path, parsed.output, silent=parsed.silent)
            print(
                f"{parsed.output / path.stem}: {', '.join(made['sources'])}; "
                f"{made['times_real_time']:g} times as fast as it plays"
            )


def tables(parsed: argparse.Namespace) -> None:
    """`apit tables`."""
    from apit.files import whole_file
    from apit.measure.statistics import summarise
    from apit.measure.table import read_scores
    from apit.measure.verdicts import decide
    from apit.present import origin, tables
    from apit.training.record import HISTORY, RECORD, read_history, read_record

    scale = _scale(parsed)
    claims, reported = layers.load_claims(parsed.configs), layers.load_reported(parsed.configs)
    scores, resamples = read_scores(parsed.scores), scale.evaluation.resamples
    summary = summarise(scores, resamples)
    records = [read_record(folder) for folder in parsed.runs]
    caption = tables.caption(records, scale.caption)
    made = [
        tables.ablations(summary, caption),
        tables.discriminators(summary, records, caption),
        tables.replacement(summary, records, caption),
        tables.holes(summary, caption),
        tables.verdicts(decide(claims, scores), caption),
        tables.published(summary, records, reported, caption),
        tables.models(records, caption),
    ]
    if parsed.bss_eval:
        scores = read_scores(parsed.bss_eval)
        examples = scores["example"].nunique()
        made.append(tables.bss_eval(summarise(scores, resamples), examples, caption))
    if parsed.out_of_domain:
        assert scale.data.recipe is not None, "scores of that split come from a recipe"
        outside = summarise(read_scores(parsed.out_of_domain), resamples)
        made.append(tables.out_of_domain(outside, scale.data.recipe.held_out, caption))
    for table in made:
        table.write(parsed.output)
    sources = [*parsed.scores, *parsed.bss_eval, *parsed.out_of_domain]
    sources += [folder / RECORD for folder in parsed.runs]
    captions = {table.name: table.caption for table in made}
    origin.write(parsed.output, captions, sources, records)
    histories = {f.name: read_history(f) for f in parsed.runs if (f / HISTORY).exists()}
    with whole_file(parsed.output / "training.csv") as partial:
        tables.training(histories).to_csv(partial, index=False)
    with whole_file(parsed.output / "metrics.json") as partial:
        partial.write_text(json.dumps(tables.metrics(summary), indent=1) + "\n")
    print(f"{parsed.output}: {', '.join(t.name for t in made)}, as CSV, Markdown and LaTeX")


def figures(parsed: argparse.Namespace) -> None:
    """`apit figures`."""
    from apit.measure.spread import spreads
    from apit.measure.statistics import differences, hole_curve, summarise
    from apit.measure.table import read_scores
    from apit.present import figures, origin, tables
    from apit.present.gallery import Gallery
    from apit.training.record import HISTORY, RECORD, read_history, read_record

    scale = _scale(parsed)
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
    figures.differences(drawn, differences(scores, BASELINE, resamples), BASELINE, reported)
    figures.replacement(drawn, tables.replacement(summary, records, caption).data)
    figures.holes(drawn, hole_curve(scores, resamples))
    sources = [folder / name for folder in parsed.runs for name in (RECORD, HISTORY)]
    origin.write(parsed.output, drawn.captions, [*parsed.scores, *sources], records)
    print(f"{parsed.output}: {', '.join(drawn.captions)}, as PNG and PDF")


def spectrograms(parsed: argparse.Namespace) -> None:
    """`apit spectrograms`."""
    from apit.measure.showcase import showcase
    from apit.models.stft import make_stft
    from apit.present import origin, spectrograms, tables
    from apit.present.gallery import Gallery
    from apit.training.record import RECORD, read_record

    scale = _scale(parsed)
    runs = {folder: read_record(folder) for folder in parsed.runs}
    stft = make_stft(scale.stft, scale.audio.sample_rate)
    chosen = showcase(runs, parsed.data, parsed.estimates, scale.audio, stft)
    records = list(runs.values())
    drawn = Gallery(parsed.output, records, tables.caption(records, scale.caption))
    spectrograms.spectrograms(drawn, chosen)
    kept = [path for folder in runs for path in (parsed.estimates / folder.name).rglob("*.wav")]
    sources = [*kept, *(folder / RECORD for folder in runs)]
    origin.write(parsed.output, drawn.captions, sources, records)
    print(f"{parsed.output}: {', '.join(drawn.captions)}, as PNG and PDF")


def report(parsed: argparse.Namespace) -> None:
    """`apit report`."""
    from apit.present import origin, report, tables
    from apit.training.record import RECORD, read_record

    scale = _scale(parsed)
    records = [read_record(folder) for folder in parsed.runs]
    claims = layers.load_claims(parsed.configs)
    found = report.content(scale, claims, parsed.tables, records)
    figures = sorted(parsed.figures.glob("*.pdf"))
    report.write(parsed.source, found, figures, parsed.output)
    shown = [parsed.tables / f"{name}.csv" for name in found["tables"]]
    sources = [*report.text_of(parsed.source), *shown, *figures, *(f / RECORD for f in parsed.runs)]
    captions = {parsed.output.stem: tables.caption(records, scale.caption)}
    origin.write(parsed.output.parent, captions, sources, records)
    print(f"{parsed.output}: {len(shown)} tables and {len(figures)} figures of {len(records)} runs")


def checklist(parsed: argparse.Namespace) -> None:
    """`apit checklist`."""
    from apit.files import whole_file
    from apit.present.checklist import checklist, read_evidence

    found = [read_evidence(folder) for folder in parsed.results]
    with whole_file(parsed.output) as partial:
        partial.write_text(checklist(found, layers.load_claims(parsed.configs)))
    print(f"{parsed.output}: of {', '.join(map(str, parsed.results))}")


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

    scale = _scale(parsed)
    runs = {folder: read_record(folder) for folder in parsed.runs}
    records = list(runs.values())
    scores = read_scores(parsed.scores)
    examples = open_examples(parsed.data, "eval", scale.audio)
    selection = select(scores, contrast(runs, BASELINE))
    stft = make_stft(scale.stft, scale.audio.sample_rate)

    def systems() -> "Iterator[System]":
        """One after the other, so that only one network is in memory."""
        yield from (_system_of(folder)[1] for folder in parsed.runs)
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
        origin.write(folder, {"index": about.caption}, sources, records)
    print(f"{parsed.output / 'index.html'}: {len(selection.chosen)} mixtures, to be listened to")


def trace(parsed: argparse.Namespace) -> None:
    """`apit trace`."""
    from apit.present.origin import trace

    print("\n".join(trace(parsed.file)))


def versions(parsed: argparse.Namespace) -> None:
    """`apit versions`."""
    from apit.files import whole_file
    from apit.lineage import versions_of

    found = versions_of(_runs(parsed))
    with whole_file(parsed.output) as partial:
        partial.write_text(json.dumps(found, indent=1) + "\n")
    print(f"{parsed.output}: versions of {len(found)} parts of the code")


def accept(parsed: argparse.Namespace) -> None:
    """`apit accept`."""
    from apit.lineage import ACCEPTED, accept

    by = subprocess.run(("git", "config", "user.name"), capture_output=True, text=True, check=False)
    name = by.stdout.strip() or getpass.getuser()
    date = datetime.now(UTC).date().isoformat()
    parts = accept(_runs(parsed), parsed.since, name, date, parsed.why)
    said = f"{ACCEPTED}: {', '.join(parts)}" if parts else "nothing has changed"
    print(f"{said}; results as of {parsed.since} are as good as today's")


def _runs(parsed: argparse.Namespace) -> list[Run]:
    """A run of each of a scale's experiments."""
    return [
        layers.load_run(_known_scale(parsed), name, 0, parsed.settings, parsed.configs)
        for name in _scale(parsed).experiments
    ]
