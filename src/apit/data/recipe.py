"""The recipe: which part of which clip sounds when, how loud and in which room, from a seed.

After FUSS: a background over the whole length, and foregrounds at random onsets, each a random
excerpt of its clip, in its own place of one room. Mixing and remixing follow the same recipe.
"""

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from apit.config import Audio, Recipe
from apit.data.bank import Stock
from apit.provenance import array_generator

CROSS_FADE_SECONDS = 0.05
LOUDNESS_SECONDS = 0.5  # shorter sounds are repeated, as scaper does, to measure their loudness
PEAK = 32767


@dataclass(frozen=True)
class Placement:
    """Which part of which clip stands where in a source, and how loud."""

    source: str
    clip: str
    family: str
    clip_offset: int  # samples
    onset: int  # samples
    length: int  # samples
    level: float  # before room and gain, as data.recipe.level measures it
    number: int  # of the clip in its stock


@dataclass(frozen=True)
class Draft:
    """A mixture's sources, and the number of its room, if it is in one."""

    placements: list[Placement]
    room: int | None


def draft(
    audio: Audio, recipe: Recipe, stock: Stock, generator: np.random.Generator, turn: int
) -> Draft:
    """Draw what a mixture consists of.

    `turn` is the mixture's number: rooms take turns, in an order that is drawn anew when all have
    had theirs.
    """
    count = int(generator.integers(recipe.foregrounds[0], recipe.foregrounds[1] + 1))
    placements: list[Placement] = []
    for slot in range(1 + count):
        background = slot == 0
        pool = stock.backgrounds if background else stock.foregrounds
        taken = {placement.number for placement in placements}
        families = {p.family for p in placements if recipe.split_by == "family"}
        apart = [number for number in pool if number not in taken]
        free = [n for n in apart if stock.clips[n].family not in families] or apart or pool
        number = free[int(generator.integers(len(free)))]
        snr_db = 0.0 if background else float(generator.uniform(*recipe.foreground_snr_db))
        onset = 0 if background else int(generator.integers(audio.samples))
        available = len(stock.sounds[number])
        if not background and recipe.overhang == "moved":
            onset = min(onset, max(0, audio.samples - available))
        length = audio.samples - onset
        if available >= length:
            offset = int(generator.integers(available - length + 1))
        elif background:  # it is repeated, from anywhere on
            offset = int(generator.integers(available))
        else:
            offset, length = 0, available
        clip = stock.clips[number]
        placements.append(
            Placement(
                source="background0" if background else f"foreground{slot - 1}",
                clip=clip.name,
                family=clip.family,
                clip_offset=offset,
                onset=onset,
                length=length,
                level=round(recipe.background_level + snr_db, 3),
                number=number,
            )
        )
    room = None
    if stock.rooms:
        cycle, place = divmod(turn, len(stock.rooms))
        order = array_generator("rooms", recipe.seed, stock.split, cycle)
        room = int(order.permutation(len(stock.rooms))[place])
    return Draft(placements, room)


def dry(
    audio: Audio, recipe: Recipe, placement: Placement, clip: NDArray[np.float32]
) -> NDArray[np.float64]:
    """A source before its room [time], from the samples of its clip; full scale is 1."""
    offset, length = placement.clip_offset, placement.length
    samples = np.asarray(clip, np.float64)
    if offset + length > len(samples):
        samples = loop(samples, offset + length, round(CROSS_FADE_SECONDS * audio.sample_rate))
    excerpt = at_level(
        samples[offset : offset + length], placement.level, recipe.level, audio.sample_rate
    )
    if placement.source != "background0":
        excerpt = faded(excerpt, round(recipe.fade_seconds * audio.sample_rate))
    source = np.zeros(audio.samples)
    source[placement.onset : placement.onset + length] = excerpt
    return source


def loop(samples: NDArray[np.float64], length: int, fade: int) -> NDArray[np.float64]:
    """Repeat a clip up to `length` samples [time], cross-fading by equal power over `fade`."""
    fade = min(fade, len(samples) // 2)
    ramp = np.sin(np.linspace(0, np.pi / 2, fade))
    looped = samples
    while len(looped) < length:
        joint = looped[-fade:] * ramp[::-1] + samples[:fade] * ramp if fade else samples[:0]
        looped = np.concatenate([looped[: len(looped) - fade], joint, samples[fade:]])
    return looped[:length]


def faded(samples: NDArray[np.float64], fade: int) -> NDArray[np.float64]:
    """Fade a sound [time] in and out, over `fade` samples, or half of it if it is shorter."""
    fade = min(fade, len(samples) // 2)
    ramp = np.sin(np.linspace(0, np.pi / 2, fade, endpoint=False))
    faded = samples.copy()
    faded[:fade] *= ramp
    faded[len(faded) - fade :] *= ramp[::-1]
    return faded


def at_level(
    samples: NDArray[np.float64], level: float, measure: str, rate: int
) -> NDArray[np.float64]:
    """Scale a sound [time] to a level; silence stays silence.

    `rms` is in dB relative to full scale, over samples within 40 dB of the loudest; `lufs` the
    integrated loudness by ITU-R BS.1770-4, as FUSS sets it (by scaper).
    """
    own = _rms_db(samples) if measure == "rms" else loudness(samples, rate)
    return samples * 10 ** ((level - own) / 20) if np.isfinite(own) else samples


def _rms_db(samples: NDArray[np.float64]) -> float:
    magnitude = np.abs(samples)
    active = samples[magnitude > 0.01 * magnitude.max(initial=0.0)]
    return float(10 * np.log10(np.mean(active**2))) if len(active) else -np.inf


def loudness(samples: NDArray[np.float64], rate: int) -> float:
    """Integrated loudness of a sound [time] in LUFS; −∞ where all of it lies under the gate.

    Sounds under half a second are repeated. What the absolute gate of −70 LUFS leaves out is
    measured from full scale, so that quiet recordings have a loudness, too.
    """
    peak = np.abs(samples).max(initial=0.0)
    if peak == 0:
        return -np.inf
    import pyloudnorm  # and with it scipy.signal, for levels in LUFS alone

    repeats = max(1, -(-round(LOUDNESS_SECONDS * rate) // len(samples)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        measured = pyloudnorm.Meter(rate).integrated_loudness(np.tile(samples / peak, repeats))
    return float(measured + 20 * np.log10(peak))
