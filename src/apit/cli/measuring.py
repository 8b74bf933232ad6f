"""Commands that separate and score: evaluate, score, separate, release."""

import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
from cyclopts import Group, Parameter
from cyclopts.types import PositiveInt
from cyclopts.validators import LimitedChoice
from torch import Tensor

from apit.artefacts import today
from apit.cli.options import Data, Folder, Jobs, Paths, ScaleOptions
from apit.config import ORACLES, Run, Scale, Scoring, Split
from apit.data import fuss
from apit.data.batches import Batch
from apit.data.examples import open_examples
from apit.files import whole_folder
from apit.identity import stamp_of
from apit.layers import load_scoring
from apit.measure.identities import of_scores
from apit.measure.score import Measures, System, score_estimates, summary_path
from apit.measure.score import evaluate as score_system
from apit.measure.systems import oracle as oracle_of
from apit.measure.table import ELSEWHERE, OF_BSS_EVAL, OF_SPLIT, write_scores
from apit.models.stft import make_stft
from apit.separate.files import check_files, separate_file
from apit.separate.model import Model
from apit.separate.release import best_of
from apit.separate.release import release as release_runs
from apit.training.devices import leased
from apit.training.record import load_separator, name_of, read_record

ONE_OF = Group("One of these", validator=LimitedChoice(1))
Holes = Annotated[
    bool, Parameter(help="Also rates of spectral holes and leakage, and log-spectral distance.")
]


def evaluate(
    *,
    run: Annotated[Path | None, Parameter(group=ONE_OF)] = None,
    oracle: Annotated[str | None, Parameter(group=ONE_OF, choices=ORACLES)] = None,
    data: Data,
    split: Split = "eval",
    output: Folder,
    estimates: Path | None = None,
    first: PositiveInt | None = None,
    jobs: Jobs = 0,
    options: ScaleOptions = ScaleOptions(),
) -> None:
    """Score a run, or an oracle, on the evaluation split.

    OUTPUT/scores.csv has SI-SNR and spectral holes, bss_eval.csv BSS Eval v4 (SDR, ISR, SIR, SAR)
    and log-spectral distance of the first evaluation.bss_eval.examples mixtures, since it is slow.
    Where the data have folders that training never heard, out_of_domain.csv is of those.

    Parameters
    ----------
    run
        Folder of a finished run.
    oracle
        A system without training, which bounds the tables.
    split
        Which examples.
    estimates
        Also keep the first estimates as sound, in this folder, one folder per example.
    first
        Score only so many mixtures, the first ones.
    """
    data = today(data)
    with leased() if run else nullcontext():
        if run:
            run = today(run)
            trained, system = system_of(run)
            scale = replace(options, scale=options.scale or trained.scale).load()
            audio, name = trained.audio, trained.name
        else:
            assert oracle is not None
            scale = options.load()
            torch.set_num_threads(scale.training.threads)
            audio, name = scale.audio, oracle
            separator = oracle_of(oracle, make_stft(scale.stft, audio.sample_rate))
            system = System(options.name, oracle, 0, separator)
        examples = open_examples(data, split, audio)
        part = {} if (split, first) == ("eval", None) else {"split": split, "first": first}
        identity = of_scores(scale, name, stamp_of(data), stamp_of(run) if run else None, **part)
        some = min(scale.evaluation.bss_eval.examples, len(examples) if first is None else first)
        holes, bss_eval = Measures(scale, spectral_holes=True), Measures(scale, bss_eval=True)
        with (
            whole_folder(output, identity) as made,
            whole_folder(estimates, identity) if estimates else nullcontext() as kept,
        ):
            files = {
                OF_SPLIT: (examples, holes, kept, jobs, first),
                OF_BSS_EVAL: (examples, bss_eval, None, jobs, some),
            }
            if split == "eval" and fuss.list_path(data, "out_of_domain").exists():
                elsewhere = open_examples(data, "out_of_domain", audio)
                files[ELSEWHERE] = (elsewhere, holes, None, jobs, first)
            for file, what in files.items():
                write_scores(score_system(system, *what), made / file)
    print(f"{output}: scores of {name}")


def system_of(folder: Path) -> tuple[Run, System]:
    """A finished run, and its separator where there is most to compute with."""
    run, separator = load_separator(folder)
    torch.set_num_threads(run.training.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    separator.to(device)

    def separate(batch: Batch) -> Tensor:
        estimates: Tensor = separator(batch.mixture.to(device)).estimates.cpu()
        return estimates

    return run, System(run.scale, run.experiment, run.seed, separate)


def score(
    *,
    references: Annotated[Path, Parameter(metavar="LIST")],
    estimates: Path,
    output: Path,
    bss_eval: bool = False,
    spectral_holes: Holes = False,
    jobs: Jobs = 0,
    options: ScaleOptions = ScaleOptions(),
) -> None:
    """Score any program's estimates.

    Without --scale, CONFIGS/method.yaml says what is measured, and how many sources an example has
    at most. Beside the scores, OUTPUT.summary.json has every aggregate with its interval over
    mixtures.

    Example:

        apit score --references data/mini/mixtures/eval_example_list.txt \\
            --estimates DIR --output scores.csv --spectral-holes

    Parameters
    ----------
    references
        Example list in the FUSS layout: mixture and sources, tab-separated, on each line.
    estimates
        A folder of folders for each example, named by the mixture's stem, with source0.wav …, PCM
        or float; what is not there is silence.
    output
        Scores, .csv.
    bss_eval
        Also BSS Eval v4 (SDR, ISR, SIR, SAR), a hundred times slower than SI-SNR, and log-spectral
        distance.
    """
    config: Scale | Scoring = (
        options.load() if options.scale else load_scoring(options.settings, options.configs)
    )
    measures = Measures(config, spectral_holes=spectral_holes, bss_eval=bss_eval)
    summary = score_estimates(references, estimates, measures, output, jobs)
    for name, value in summary.items():
        if isinstance(value, dict) and value["n"]:
            print(
                f"{name:28} {value['mean']:8.3f}  [{value['lower']:.3f}, {value['upper']:.3f}]  "
                f"n = {value['n']}"
            )
    print(
        f"{output}: {summary['examples_scored']} examples scored, "
        f"{summary['examples_skipped']} skipped (all sources silent), "
        f"{summary['missing_slots']} slots had no file and count as silence; in brackets 95 % "
        f"intervals over mixtures; all of this is in {summary_path(output)}"
    )


def separate(
    *files: Annotated[Path, Parameter(metavar="FILE", required=True)],
    model: Annotated[Path, Parameter(metavar="RUN")],
    output: Folder,
    silent: bool = False,
    chunk: Annotated[float | None, Parameter(metavar="SECONDS")] = None,
) -> None:
    """Separate sound files with a finished run.

    Example:

        apit separate street.wav kitchen.flac \\
            --model results/mini/runs/pit-s0 --output separated

    writes separated/street/source0.wav … at the rate and with the channels of street.wav, as many
    as there is something to be heard in; they sum to street.wav. A summary.json stands beside them.

    Parameters
    ----------
    files
        In any format of libsndfile, at any rate, of any length and number of channels.
    model
        Folder of a finished run: model.safetensors and record.json.
    silent
        Also write slots that the model left (nearly) silent.
    chunk
        Separated at a time; by default as long as the model's training mixtures.
    """
    with leased():
        separator = Model.load(today(model), chunk)
        torch.set_num_threads(separator.run.training.threads)
        check_files(files)
        for path in files:
            began = time.monotonic()
            made = separate_file(separator, path, output, silent=silent)
            speed = made["seconds"] / (time.monotonic() - began)
            print(
                f"{output / path.stem}: {', '.join(made['sources'])}; "
                f"{speed:.1f} times as fast as it plays"
            )


def release(*, runs: Paths, output: Path) -> None:
    """Pack the weights of two runs, which `apit separate --model` takes.

    They are the best on validation without discriminators, and the best with some.

    Parameters
    ----------
    runs
        Finished runs.
    output
        File to write, .tar.
    """
    records = {folder: read_record(folder) for folder in map(today, runs)}
    folders = best_of(records)
    sha256 = release_runs(folders, output)
    print(f"{output}: {', '.join(name_of(records[f]) for f in folders)}; sha256 {sha256}")
