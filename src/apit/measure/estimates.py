"""Folders of estimates as sound: `EXAMPLE/source0.wav …`, written by any program."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from torch import Tensor

from apit.config import Audio
from apit.data import fuss
from apit.errors import UserError
from apit.identity import FILE
from apit.names import composed
from apit.sound import undate

BESIDE = ("mixture.wav", "summary.json", FILE)  # what some programs write beside their estimates


def write_estimates(folder: Path, signals: Tensor, rate: int) -> None:
    """Write estimates [source, time] as `source0.wav …`, float, so that nothing is clipped."""
    folder.mkdir()
    for slot, signal in enumerate(signals.numpy()):
        path = folder / f"source{slot}.wav"
        soundfile.write(os.fsencode(path), signal, rate, subtype="FLOAT")
        undate(path)


def read_estimates(folder: Path, audio: Audio) -> Tensor:
    """Read what `write_estimates` wrote → [source, time]."""
    wanted = fuss.Format(audio.sample_rate, 1, audio.samples)
    estimates, _ = read_slots(folder, audio.sources, wanted, "the configuration's audio says")
    return torch.from_numpy(estimates)


def read_slots(
    folder: Path, slots: int, wanted: fuss.Format, said_by: str
) -> tuple[NDArray[np.float32], int]:
    """Read `source0.wav …` → [source, time], and how many slots had no file: they are silence.

    Raises UserError for a file that is unreadable, of another format, or not finite, and for
    whatever else is in the folder (but hidden files and `BESIDE`): nobody should take a
    misspelt name for silence.
    """
    estimates = np.zeros((slots, wanted.samples), np.float32)
    files = {path.name: path for path in folder.iterdir() if not path.name.startswith(".")}
    names = [f"source{slot}.wav" for slot in range(slots)]
    if odd := sorted(files.keys() - {*names, *BESIDE}):
        raise UserError(
            f"{files[odd[0]]}: is none of source0.wav to source{slots - 1}.wav, the {slots} "
            "estimates of an example; remove or rename it"
        )
    missing = 0
    for name, signal in zip(names, estimates, strict=True):
        if name in files:
            fuss.read_wav(files[name], wanted, said_by, signal)
        else:
            missing += 1
    return estimates, missing


def check_folders(estimates: Path, names: Sequence[str], listed_in: Path) -> None:
    """Raise UserError unless every example of the list has its folder, and no other is there."""
    if not estimates.is_dir():
        raise UserError(f"{estimates}: no such folder of estimates")
    folders = {composed(path.name): path.name for path in estimates.iterdir() if path.is_dir()}
    listed = set(map(composed, names))
    if unlisted := sorted(name for same, name in folders.items() if same not in listed):
        raise UserError(
            f"{estimates / unlisted[0]}: {unlisted[0]} is not in {listed_in}"
            f"{_and_others(unlisted)}; remove it, or give the list that it belongs to"
        )
    if absent := [name for name in names if composed(name) not in folders]:
        raise UserError(
            f"{estimates / absent[0]}: no such folder, and {listed_in} lists {absent[0]}"
            f"{_and_others(absent)}; an empty folder stands for silent estimates"
        )


def _and_others(names: Sequence[str]) -> str:
    return f" (nor {len(names) - 1} others)" if len(names) > 1 else ""
