"""Procedural sounds: twelve clearly different families, each clip computed from a seed."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import signal

Sound = NDArray[Any]  # float64 [time]
Synthesiser = Callable[[np.random.Generator, int, int], Sound]


def render(family: str, generator: np.random.Generator, rate: int, samples: int) -> Sound:
    """Synthesise one clip of a family → [time], with an RMS of one."""
    sound = FAMILIES[family](generator, rate, samples)
    sound = sound - sound.mean()
    normalised: Sound = sound / np.sqrt(np.mean(sound**2))
    return normalised


def _time(rate: int, samples: int) -> Sound:
    return np.arange(samples) / rate


def _phase(frequency: Sound | float, rate: int, samples: int) -> Sound:
    return 2 * np.pi * np.cumsum(np.broadcast_to(frequency, samples)) / rate


def _partials(fundamental: Sound, amplitudes: Sound, rate: int) -> Sound:
    """Harmonic tone of a frequency curve; partials above 0.45 of the rate are left out."""
    phase = _phase(fundamental, rate, len(fundamental))
    top = fundamental.max()
    kept = [(k, a) for k, a in enumerate(amplitudes, 1) if k * top < 0.45 * rate]
    tone: Sound = np.sum([a * np.sin(k * phase) for k, a in kept], axis=0)
    return tone


def _band(
    generator: np.random.Generator, low: float, high: float, rate: int, samples: int
) -> Sound:
    sections = signal.butter(4, [low, high], "bandpass", fs=rate, output="sos")
    return signal.sosfilt(sections, generator.standard_normal(samples))


def _strikes(
    generator: np.random.Generator, rate: int, samples: int, per_second: tuple[float, float]
) -> list[int]:
    """Onsets, at least one, the first within the first quarter of a second."""
    gap = 1 / generator.uniform(*per_second)
    first = generator.uniform(0, min(0.25, gap))
    onsets = np.arange(first, samples / rate, gap)
    return [int(onset * rate) for onset in onsets if onset * rate < samples] or [0]


def harmonic(generator: np.random.Generator, rate: int, samples: int) -> Sound:
    """Bowed tone with vibrato."""
    time = _time(rate, samples)
    vibrato = generator.uniform(0.01, 0.03) * np.sin(2 * np.pi * generator.uniform(4, 7) * time)
    fundamental = generator.uniform(180, 500) * (1 + vibrato)
    return _partials(fundamental, 0.75 ** np.arange(10), rate)


def pluck(generator: np.random.Generator, rate: int, samples: int) -> Sound:
    """Plucked strings: partials that decay faster the higher they are."""
    sound = np.zeros(samples)
    for onset in _strikes(generator, rate, samples, (2, 5)):
        time = _time(rate, samples - onset)
        pitch = generator.uniform(150, 600)
        for k in range(1, 12):
            if k * pitch < 0.45 * rate:
                decay = np.exp(-time * (3 + 2.5 * k))
                sound[onset:] += decay / k * np.sin(2 * np.pi * k * pitch * time)
    return sound


def hiss(generator: np.random.Generator, rate: int, samples: int) -> Sound:
    """Steady noise in the upper band."""
    low = generator.uniform(0.2, 0.3) * rate
    return _band(generator, low, min(low + 0.12 * rate, 0.45 * rate), rate, samples)


def wind(generator: np.random.Generator, rate: int, samples: int) -> Sound:
    """Low noise in gusts."""
    time = _time(rate, samples)
    gusts = 1.2 + np.sin(2 * np.pi * generator.uniform(0.5, 2) * time + generator.uniform(0, 6))
    return _band(generator, 60, generator.uniform(200, 400), rate, samples) * gusts


def ticks(generator: np.random.Generator, rate: int, samples: int) -> Sound:
    """Train of bright impulses."""
    sound = np.zeros(samples)
    sound[_strikes(generator, rate, samples, (8, 25))] = 1
    sections = signal.butter(
        2, generator.uniform(0.15, 0.3) * rate, "highpass", fs=rate, output="sos"
    )
    return signal.sosfilt(sections, sound) + 1e-4 * generator.standard_normal(samples)


def chirps(generator: np.random.Generator, rate: int, samples: int) -> Sound:
    """Bird-like sweeps, repeated."""
    time = _time(rate, samples)
    period = generator.uniform(0.08, 0.25)
    position = (time / period) % 1
    low, width = generator.uniform(0.18, 0.25) * rate, generator.uniform(0.08, 0.15) * rate
    sweeps: Sound = np.sin(_phase(low + width * position, rate, samples))
    swells: Sound = np.sin(np.pi * position) ** 2
    return sweeps * swells


def siren(generator: np.random.Generator, rate: int, samples: int) -> Sound:
    """Tone that glides up and down."""
    time = _time(rate, samples)
    glide = np.sin(2 * np.pi * generator.uniform(0.5, 2) * time + generator.uniform(0, 6))
    frequency = generator.uniform(700, 1100) * 1.35**glide
    return _partials(frequency, np.array([1, 0.1, 0.2]), rate)


def bell(generator: np.random.Generator, rate: int, samples: int) -> Sound:
    """Struck bell: inharmonic partials."""
    sound = np.zeros(samples)
    pitch = generator.uniform(300, 700)
    for onset in _strikes(generator, rate, samples, (1, 3)):
        time = _time(rate, samples - onset)
        for ratio, decay in ((1, 2), (2.76, 3), (5.40, 5), (8.93, 8)):
            if ratio * pitch < 0.45 * rate:
                sound[onset:] += np.exp(-decay * time) * np.sin(2 * np.pi * ratio * pitch * time)
    return sound


def engine(generator: np.random.Generator, rate: int, samples: int) -> Sound:
    """Combustion engine: low pulses of uneven strength."""
    time = _time(rate, samples)
    speed = generator.uniform(25, 60) * (
        1 + 0.1 * np.sin(2 * np.pi * generator.uniform(0.3, 1) * time)
    )
    phase = _phase(speed, rate, samples)
    pulses = np.exp(6 * (np.cos(phase) - 1)) * (1 + 0.5 * np.cos(phase / 4))
    sections = signal.butter(2, [40, 350], "bandpass", fs=rate, output="sos")
    return signal.sosfilt(sections, pulses)


def vowel(generator: np.random.Generator, rate: int, samples: int) -> Sound:
    """Speech-like voice: a glottal pulse train through gliding formants."""
    time = _time(rate, samples)
    fundamental = generator.uniform(90, 230) * (
        1 + 0.08 * np.sin(2 * np.pi * generator.uniform(1, 3) * time)
    )
    pulses = _partials(fundamental, 1 / np.arange(1, 40), rate)
    syllables = np.clip(np.sin(2 * np.pi * generator.uniform(2, 5) * time) + 0.6, 0, None)
    sound = np.zeros(samples)
    for formant, width in (
        (generator.uniform(300, 800), 90),
        (generator.uniform(900, 2300), 120),
        (2700, 180),
    ):
        b, a = signal.iirpeak(formant, formant / width, fs=rate)
        sound += signal.lfilter(b, a, pulses)
    return sound * syllables


def crackle(generator: np.random.Generator, rate: int, samples: int) -> Sound:
    """Fire: sparse random bursts of noise."""
    density = generator.uniform(15, 60) / rate
    impulses = (generator.random(samples) < density) * generator.exponential(1.0, samples)
    impulses[generator.integers(samples)] += 1
    bursts = np.convolve(impulses, np.exp(-np.arange(rate // 100) / (0.002 * rate)))[:samples]
    return bursts * _band(generator, 0.06 * rate, 0.4 * rate, rate, samples)


def bubbles(generator: np.random.Generator, rate: int, samples: int) -> Sound:
    """Water: short tones that rise while they die away."""
    sound = np.zeros(samples)
    for onset in _strikes(generator, rate, samples, (6, 14)):
        length = min(int(0.08 * rate), samples - onset)
        time = _time(rate, length)
        frequency = generator.uniform(400, 1200) * (1 + 8 * time)
        sound[onset : onset + length] += np.exp(-40 * time) * np.sin(
            _phase(frequency, rate, length)
        )
    return sound


FAMILIES: dict[str, Synthesiser] = {
    synthesiser.__name__: synthesiser
    for synthesiser in (
        harmonic, pluck, hiss, wind, ticks, chirps, siren, bell, engine, vowel, crackle, bubbles,
    )
}  # fmt: skip
