"""References and estimates → one long table of scores, and its summary."""

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from math import isfinite, isinf, isnan, nan
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from apit.config import BSSEval, Scale, Scoring
from apit.data import fuss
from apit.data.batches import whole_examples
from apit.data.examples import Examples
from apit.errors import UserError
from apit.files import whole_file
from apit.measure import bss_eval, si_snr, spectral_holes
from apit.measure.estimates import check_folders, read_slots, write_estimates
from apit.measure.statistics import summary
from apit.measure.systems import Separate
from apit.measure.table import RUN_COLUMNS, SCORE_COLUMNS, WHOLE_MIXTURE, write_scores
from apit.models.stft import make_stft
from apit.names import on_disk
from apit.parallel import in_order

Row = tuple[str, int, str, float, str]  # SCORE_COLUMNS


@dataclass(frozen=True)
class System:
    """Something that separates, and how its scores are labelled."""

    scale: str
    experiment: str
    seed: int
    separate: Separate


@dataclass(frozen=True)
class Measures:
    """What is measured beside SI-SNR, and how the configuration defines it."""

    config: Scale | Scoring
    spectral_holes: bool = False
    bss_eval: bool = False

    @property
    def spectral(self) -> bool:
        """Whether spectrograms are needed: for holes, and for the distance beside BSS Eval."""
        return self.spectral_holes or self.bss_eval


@dataclass(frozen=True)
class SeparatedMixture:
    """References and estimates [source, time] of one example, of which `listed` have files."""

    name: str
    rate: int
    listed: int
    references: NDArray[np.float32]
    estimates: NDArray[np.float32]
    keep: Path | None = None  # where to write the aligned estimates


def score_example(measures: Measures, example: SeparatedMixture) -> list[Row]:
    """Score one example; its rows are complete, or say why they are not."""
    name = example.name
    references, estimates = (torch.from_numpy(x) for x in (example.references, example.estimates))
    if not torch.isfinite(estimates).all():
        raise UserError(f"estimates of {name} hold values that are not finite")
    signals = {
        "references": references[None],
        "estimates": estimates[None],
        "mixture": torch.from_numpy(fuss.mixture_of(example.references))[None],
    }
    paper, scores = si_snr.standard(**signals), si_snr.score(**signals)
    aligned, active = estimates[scores.permutation[0]], scores.active[0]
    if example.keep:
        write_estimates(example.keep, aligned, example.rate)
    targets, sounding = int(active.sum()), int(scores.sounding.sum())
    if targets == 0:
        return [(name, WHOLE_MIXTURE, "skipped", 1.0, "all sources are silent")]
    of_mixture: dict[str, float] = {
        "active_targets": targets,
        "under_separation": sounding < targets,
        "equal_separation": sounding == targets,
        "over_separation": sounding > targets,
    }
    if targets == 1:
        of_mixture["si_snr_s"] = float(paper.single[0])
    else:
        of_mixture["si_snr_i"] = float(paper.improvement[0])
    rows: list[Row] = [(name, WHOLE_MIXTURE, k, float(v), "") for k, v in of_mixture.items()]
    for source in range(example.listed):
        if not active[source]:
            rows.append((name, source, "counted", 0.0, "the target is silent"))
            continue
        counted = bool(scores.counted[0, source])
        why = "" if counted else "the estimate is 20 dB below the quietest target, or more"
        values = {
            "si_snr_standard": paper.si_snr,
            "si_snri_standard": paper.si_snri,
            "buried": paper.buried,
            "si_snr": scores.si_snr,
            "si_snr_mixture": scores.si_snr_mixture,
            "si_snri": scores.si_snri,
        }
        rows += [(name, source, metric, float(v[0, source]), "") for metric, v in values.items()]
        rows.append((name, source, "counted", float(counted), why))
    if measures.spectral:
        rows += _spectral(measures, example, aligned, active)
    if measures.bss_eval:
        rows += _bss_eval(measures.config.evaluation.bss_eval, example, aligned, active)
    return rows


NOTHING_ELSE = "infinite: nothing but the target, or others that are like it"
NOTHING_OF_IT = "infinite: nothing of the target"
TOO_LARGE = "the signals are too large for float32 spectra"
NOWHERE = "nowhere do the target and others sound about as loud"
MISSING = "the target is missing wherever others sound about as loud"
NO_EXCESS = "the target sounds in all bins, or its estimate has nothing of it"


def _spectral(
    measures: Measures, example: SeparatedMixture, aligned: Tensor, active: Tensor
) -> list[Row]:
    config = measures.config
    stft = make_stft(config.stft, example.rate)
    references, estimates = torch.from_numpy(example.references)[active], aligned[active]
    of_metric: dict[str, Tensor] = {}
    if measures.spectral_holes:
        of_metric = spectral_holes.rates(
            references=references,
            estimates=estimates,
            stft=stft,
            rate=example.rate,
            depths_db=config.evaluation.hole_depths_db,
        )
    of_metric["log_spectral_distance"] = spectral_holes.log_spectral_distance(
        reference=stft.analyse(references).abs(), estimate=stft.analyse(estimates).abs()
    )
    rows: list[Row] = []
    for number, source in enumerate(active.nonzero().flatten().tolist()):
        own = {metric: float(values[number]) for metric, values in of_metric.items()}
        unknown = {metric for metric, value in own.items() if not isfinite(value)}
        no_hole = NOWHERE if "missing_rate" in unknown else MISSING
        why = {
            "missing_rate": NOWHERE,
            "excess_rate": NO_EXCESS,
            "log_spectral_distance": TOO_LARGE,
        }
        rows += [
            (example.name, source, m, v, why.get(m, no_hole) if m in unknown else "")
            for m, v in own.items()
        ]
    return rows


def _bss_eval(
    config: BSSEval, example: SeparatedMixture, aligned: Tensor, active: Tensor
) -> list[Row]:
    sources = active.nonzero().flatten().tolist()
    ratios = bss_eval.bss_eval(
        references=example.references[sources],
        estimates=aligned[sources].numpy(),
        window=round(config.window * example.rate),
        hop=round(config.hop * example.rate),
    )
    alone = "a single source: nothing interferes" if len(sources) == 1 else ""
    rows: list[Row] = []
    for number, source in enumerate(sources):
        for suffix, by_metric, note in (
            ("", ratios.windows, ratios.windows_note),
            ("_whole", ratios.whole, ratios.whole_note),
        ):
            for metric, values in by_metric.items():
                value, why = float(values[number]), note
                if isinf(value):
                    value, why = nan, NOTHING_ELSE if value > 0 else NOTHING_OF_IT
                elif isnan(value):
                    why = note or alone or NOTHING_OF_IT
                rows.append((example.name, source, metric + suffix, value, why))
    return rows


def evaluate(
    system: System,
    examples: Examples,
    measures: Measures,
    kept: Path | None = None,
    jobs: int = 1,
    first: int | None = None,
) -> pd.DataFrame:
    """Score a system over a split, or its first examples → the long table, with labels.

    The first `keep_examples` estimates, aligned with their targets, are written to the folder
    `kept` as `EXAMPLE/source0.wav …`.
    """
    evaluation = measures.config.evaluation
    chosen = range(len(examples))[:first]
    keep = evaluation.keep_examples

    def separated() -> Iterator[SeparatedMixture]:
        number = 0
        for batch in whole_examples(examples, evaluation.batch_size, chosen):
            with torch.inference_mode():
                estimates_of = system.separate(batch)
            for name, references, signals in zip(
                batch.names, batch.references.numpy(), estimates_of.numpy(), strict=True
            ):
                yield SeparatedMixture(
                    name, examples.audio.sample_rate, examples.counts[number], references,
                    signals, keep=kept / name if kept and number < keep else None,
                )  # fmt: skip
                number += 1

    work = partial(score_example, measures)
    scored = in_order(work, separated(), len(chosen), f"score {system.experiment}", jobs)
    labels = {column: getattr(system, column) for column in RUN_COLUMNS}
    scores = pd.DataFrame([row for rows in scored for row in rows], columns=SCORE_COLUMNS)
    return scores.assign(**labels)[[*labels, *SCORE_COLUMNS]]


def score_estimates(
    references: Path, estimates: Path, measures: Measures, output: Path, jobs: int = 0
) -> dict[str, Any]:
    """Score any program's estimates of the examples in the list `references` → the summary.

    `estimates` holds one folder for each example, named by the mixture's stem, with
    `source0.wav …`; a slot without a file is silence. Raises UserError, with the file's name, for
    what is missing, unknown, unreadable, not finite, or of another rate, length or channel count.
    """
    check_output(output)
    config = measures.config
    lines = fuss.read_list(references, config.audio.sources)
    check_folders(estimates, [line.name for line in lines], references)
    work = partial(_read_and_score, measures, references.parent, estimates)
    rows, missing = zip(*in_order(work, lines, len(lines), "score", jobs), strict=True)
    scores = pd.DataFrame([row for own in rows for row in own], columns=SCORE_COLUMNS)
    aggregates = summary(scores, config.evaluation.resamples) | {"missing_slots": sum(missing)}
    write_scores(scores, output)
    with whole_file(summary_path(output)) as partial_path:
        partial_path.write_text(
            json.dumps(aggregates, indent=2, allow_nan=False) + "\n", encoding="utf-8"
        )
    return aggregates


def _read_and_score(
    measures: Measures, root: Path, folder: Path, line: fuss.Line
) -> tuple[list[Row], int]:
    """An example's rows of the table, and how many slots had no file."""
    sources = [on_disk(root, file) for file in line.sources]
    slots, hop = measures.config.audio.sources, measures.config.stft.hop
    first = fuss.Format.of(sources[0])
    if first.channels != 1:
        raise UserError(f"{sources[0]}: {first}; references must be mono")
    if first.samples == 0:
        raise UserError(f"{sources[0]}: holds no sample")
    if measures.spectral and round(hop * first.rate) < 1:
        raise UserError(
            f"{sources[0]}: at {first.rate} Hz, stft.hop of {hop} s is less than a sample"
        )
    said_by = f"{sources[0]}, the example's first reference, asks for"
    references = np.zeros((slots, first.samples), np.float32)
    for path, signal in zip(sources, references, strict=False):
        fuss.read_wav(path, first, said_by, signal)
    signals, missing = read_slots(on_disk(folder, line.name), slots, first, said_by)
    example = SeparatedMixture(line.name, first.rate, len(sources), references, signals)
    return score_example(measures, example), missing


def check_output(output: Path) -> None:
    """Raise UserError, before hours of work, where the scores could not be written."""
    if output.is_dir():
        raise UserError(f"{output}: is a folder; give the name of a file, such as scores.csv")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output.parent):
            pass
    except OSError as error:
        raise UserError(f"{output}: cannot be written: {error.strerror}") from None


def summary_path(scores: Path) -> Path:
    """`scores.csv` → `scores.summary.json`, beside it."""
    return scores.with_suffix(".summary.json")
