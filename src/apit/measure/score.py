"""A system over a split → one long table of scores: example, source, metric, value, note."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import soundfile
import torch
from torch import Tensor

from apit.config import Audio, Evaluation
from apit.data import fuss
from apit.data.batches import Batch, whole_examples
from apit.errors import UserError
from apit.files import whole_file, whole_folder
from apit.measure import si_snr, spectral_holes
from apit.models.stft import STFT

Separate = Callable[[Batch], Tensor]  # → estimates [batch, source, time]


@dataclass(frozen=True)
class System:
    """Something that separates, and how its scores are labelled."""

    scale: str
    experiment: str
    seed: int
    separate: Separate


SCORE_COLUMNS = ["example", "source", "metric", "value", "note"]
RUN_COLUMNS = ["scale", "experiment", "seed"]
ORACLES = ("mixture", "ideal-ratio-mask")
WHOLE_MIXTURE = -1  # the source of metrics that belong to the mixture


def mixture_system(batch: Batch) -> Tensor:
    """The mixture in every slot: what no separation at all scores."""
    return batch.mixture[:, None].expand_as(batch.references)


def ratio_mask_system(stft: STFT) -> Separate:
    """Ideal ratio masks |S_k| / Σ_j |S_j| on the mixture: what masking could reach."""

    def separate(batch: Batch) -> Tensor:
        magnitude = stft.analyse(batch.references).abs()
        masks = magnitude / magnitude.sum(1, keepdim=True).clamp_min(1e-8)
        spectrum = stft.analyse(batch.mixture)[:, None]
        return stft.synthesise(masks * spectrum, batch.mixture.shape[-1])

    return separate


def score_batches(
    batches: Iterable[Batch], separate: Separate, stft: STFT, depths_db: Iterable[float]
) -> Iterator[tuple[Batch, Tensor, pd.DataFrame]]:
    """Score a system batch by batch → the batch, its aligned estimates, its rows of the table."""
    depths = tuple(depths_db)
    for batch in batches:
        with torch.inference_mode():
            estimates = separate(batch)
            if not torch.isfinite(estimates).all():
                raise UserError(f"estimates of {', '.join(batch.names)} hold values not finite")
            scores = si_snr.score(
                references=batch.references, estimates=estimates, mixture=batch.mixture
            )
            passage = spectral_holes.passage(
                reference=batch.references, estimate=scores.aligned, stft=stft
            )
            by_source = {
                "si_snr": scores.si_snr,
                "si_snr_mixture": scores.si_snr_mixture,
                "si_snri": scores.si_snri,
                "counted": scores.counted,
                **{f"hole_rate_{depth:g}": passage.hole_rate(depth) for depth in depths},
                "excess_rate": passage.excess_rate,
            }
        rows: list[tuple[Any, ...]] = []
        for index, name in enumerate(batch.names):
            active = scores.active[index]
            targets, sounding = int(active.sum()), int(scores.sounding[index].sum())
            if targets == 0:
                rows.append((name, WHOLE_MIXTURE, "skipped", 1.0, "all sources are silent"))
                continue
            for metric, value in {
                "active_targets": targets,
                "under_separation": sounding < targets,
                "equal_separation": sounding == targets,
                "over_separation": sounding > targets,
            }.items():
                rows.append((name, WHOLE_MIXTURE, metric, float(value), ""))
            for source in active.nonzero().flatten().tolist():
                rows += [
                    (name, source, metric, float(values[index, source]), "")
                    for metric, values in by_source.items()
                ]
        table = pd.DataFrame(rows, columns=SCORE_COLUMNS)
        undefined = table["value"].isna() & (table["metric"] == "excess_rate")
        table.loc[undefined, "note"] = "no bin outside the support"
        yield batch, scores.aligned, table


def evaluate(
    system: System,
    data: Path,
    audio: Audio,
    stft: STFT,
    config: Evaluation,
    output: Path,
    estimates: Path | None = None,
) -> None:
    """Score a system over the evaluation split into `output`.

    The first `keep_examples` estimates, aligned with their targets, are kept in `estimates` as
    `EXAMPLE/source0.wav …` (float, so nothing is clipped).
    """
    entries = fuss.read_list(data, "eval", audio.sources)
    tables = []
    with ExitStack() as stack:
        kept = stack.enter_context(whole_folder(estimates)) if estimates else None
        batches = whole_examples(entries, audio, config.batch_size)
        for batch, aligned, table in score_batches(
            batches, system.separate, stft, config.hole_depths_db
        ):
            tables.append(table)
            if kept:
                keep = max(0, config.keep_examples - config.batch_size * (len(tables) - 1))
                for name, signals in list(zip(batch.names, aligned, strict=True))[:keep]:
                    write_estimates(kept / name, signals, audio.sample_rate)
        scores = pd.concat(tables, ignore_index=True)
        for position, column in enumerate(RUN_COLUMNS):
            scores.insert(position, column, getattr(system, column))
        partial = stack.enter_context(whole_file(output))
        scores.to_csv(partial, index=False, float_format="%.6g", compression=_compression(output))


def _compression(path: Path) -> Any:
    # Without a time in its header, the same scores give the same bytes.
    return {"method": "gzip", "mtime": 0} if path.suffix == ".gz" else None


def write_estimates(folder: Path, signals: Tensor, rate: int) -> None:
    """Write estimates [source, time] as `source0.wav …`."""
    folder.mkdir()
    for slot, signal in enumerate(signals.numpy()):
        soundfile.write(folder / f"source{slot}.wav", signal, rate, subtype="FLOAT")


def read_estimates(folder: Path) -> Tensor:
    """Read what `write_estimates` wrote → [source, time]."""
    files = sorted(folder.glob("source*.wav"))
    return torch.stack([torch.from_numpy(soundfile.read(f, dtype="float32")[0]) for f in files])
