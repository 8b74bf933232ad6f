"""Separation of sound files: each into a folder of sources, and a summary beside it."""

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from apit.errors import UserError
from apit.files import check_apart, whole_folder
from apit.identity import Identity
from apit.separate.model import IN_MEMORY, Model, Piece
from apit.separate.signals import Signal, Spool
from apit.sound import is_estimated, open_sound, undate

SUMMARY = "summary.json"
LARGEST_WAV = 2**32 - 2**16  # bytes; RF64 has no such limit


def check_files(files: Sequence[Path]) -> None:
    """Raise UserError, before any work, for a file that cannot be read, or two of one name."""
    seen: dict[str, Path] = {}
    for path in files:
        if not path.is_file():
            raise UserError(f"{path}: no such file")
        with open_sound(path, path) as file:
            if file.frames == 0:
                raise UserError(f"{path}: holds no sample")
        if (other := seen.setdefault(path.stem, path)) is not path:
            raise UserError(f"{path}: would be written to the folder that {other} has; rename one")


def separate_file(
    model: Model, path: Path, output: Path, *, silent: bool = False
) -> dict[str, Any]:
    """Separate a file into `OUTPUT/STEM/source0.wav …`, with a `summary.json` beside them.

    The files have the rate and the channels of the input, in 32-bit float, and sum to it. Slots
    left out as silent have no file. Memory does not grow with the length. Gives what is in the
    summary. Raises UserError for a file that is unreadable, cut short, or not finite.
    """
    folder = output / path.stem
    check_apart(folder, path)
    asked = {"input": str(path), "weights": model.weights_sha256, "silent": silent}
    with open_sound(path, path) as file, whole_folder(folder, Identity("separated", asked)) as made:
        with _spool(made, file.samplerate) as heard, _spool(made, model.rate) as spool:
            signal = _signal(path, file, heard)
            separated = model.separated(signal, spool, silent=silent, label=path.name)
            names = [f"source{slot}.wav" for slot in separated.kept]
            try:
                power = _write([made / n for n in names], file, signal, separated.blocks)
            except soundfile.LibsndfileError as error:
                left = shutil.disk_usage(made).free / 1e6
                raise UserError(
                    f"{folder}: cannot be written ({error.error_string.rstrip('.')}); the disk has "
                    f"{left:.0f} MB left"
                ) from None
        run, slots = model.run, range(model.run.audio.sources)
        summary = {
            "input": str(path),
            "sample_rate": signal.rate,
            "channels": file.channels,
            "seconds": signal.samples / signal.rate,
            "model": {"scale": run.scale, "experiment": run.experiment, "seed": run.seed}
            | {"weights_sha256": model.weights_sha256},
            "chunk_seconds": 2 * model.hop / model.rate,
            "sources": {
                name: {"rms_dbfs": round(10 * np.log10(p + 1e-20), 2)}
                for name, p in zip(names, power, strict=True)
            },
            "left_out_as_silent": [slot for slot in slots if slot not in separated.kept],
        }
        (made / SUMMARY).write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    return summary


@contextmanager
def _spool(folder: Path, rate: int) -> Iterator[Spool]:
    with SpooledTemporaryFile(IN_MEMORY, dir=str(folder)) as file:
        yield Spool(file, rate)


def _signal(path: Path, file: soundfile.SoundFile, spool: Spool) -> Signal:
    """What is heard [channel, time], from the spool where libsndfile cannot seek."""
    signal = Signal(file.samplerate, file.frames, _reader(path, file))
    if file.seekable() and not is_estimated(file):
        return signal
    for passage in signal.blocks():
        spool.append(passage)
    return spool.signal(range(file.channels))


def _write(
    paths: Sequence[Path], like: soundfile.SoundFile, heard: Signal, blocks: Iterable[Piece]
) -> NDArray[np.float64]:
    """Write blocks [slot, channel, time] to a file for each slot → their mean squares [slot]."""
    values = heard.samples * like.channels
    container = "WAV" if 4 * values < LARGEST_WAV else "RF64"
    power = np.zeros(len(paths))
    with ExitStack() as stack:
        files = [
            stack.enter_context(
                soundfile.SoundFile(
                    os.fsencode(path),
                    "w",
                    like.samplerate,
                    like.channels,
                    "FLOAT",
                    format=container,
                )
            )
            for path in paths
        ]
        for block in blocks:
            power += np.square(block, dtype=np.float64).sum((1, 2))
            for file, source in zip(files, block, strict=True):
                file.write(source.T)
    for path in paths:
        undate(path)
    return np.asarray(power / values)


def _reader(path: Path, file: soundfile.SoundFile) -> Callable[[int, int], NDArray[np.float32]]:
    place = 0

    def read(start: int, stop: int) -> NDArray[np.float32]:
        nonlocal place
        if start != place:
            file.seek(start)
        sound = file.read(stop - start, dtype="float32", always_2d=True)
        place = start + len(sound)
        second = start / file.samplerate
        if place < stop and not is_estimated(file):
            raise UserError(f"{path}: is cut short {place / file.samplerate:.1f} s in")
        if not np.isfinite(sound).all():
            raise UserError(f"{path}: holds values that are not finite, after {second:.1f} s")
        passage: NDArray[np.float32] = sound.T
        return passage

    return read
