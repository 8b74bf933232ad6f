"""The listening page: scenes in; one page, its sounds and pictures, and a webMUSHRA test out."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import to_hex, to_rgb
from PIL import Image
from ruamel.yaml import YAML
from scipy.io import wavfile

from apit.config import HEADLINE_DB, Audio
from apit.data.credits import Credit
from apit.files import whole_file
from apit.measure.audition import LEVEL_DB, MIXTURE, PEAK, TARGET, Scene, Stimulus
from apit.names import BYTES, address, short
from apit.present.spectrograms import SHOWN_DB

TEMPLATE = Path(__file__).with_suffix(".html")
MARK = "/* what is heard */"  # in the template, where the page's JSON goes
COLOURS = "magma"
HOLE = "#7fdbff"
AUDIO, PICTURES = "audio", "pictures"
AT_MOST = 12  # conditions on a page of webMUSHRA that keeps to BS.1534


@dataclass(frozen=True)
class About:
    """What the page says of itself."""

    scale: str
    caption: str
    rule: str  # by which mixtures were chosen
    origin: str  # of the sounds


def write(
    folder: Path,
    scenes: Iterable[Scene],
    about: About,
    audio: Audio,
    credits: Mapping[str, Sequence[Credit]],
) -> None:
    """Write `index.html`, `webmushra.yaml`, and the sounds and pictures that they name."""
    for name in (AUDIO, PICTURES):
        (folder / name).mkdir()
    mixtures = []
    for scene in scenes:
        here = credits.get(scene.chosen.example)
        mixtures.append(
            {
                "example": scene.chosen.example,
                "reasons": scene.chosen.reasons,
                "value": scene.chosen.value,
                "sources": [
                    _source(folder, audio, scene.chosen.example, slot, stimuli)
                    for slot, stimuli in scene.sources
                ],
                "credits": [{"clip": c.clip, "licence": c.licence} for c in here] if here else [],
            }
        )
    page = {
        "scale": about.scale,
        "caption": about.caption,
        "origin": about.origin,
        "rules": [
            about.rule,
            f"Level: all sounds of one source have the same RMS, −{-LEVEL_DB:g} dB relative to "
            f"full scale, or as much less as keeps the highest peak among them at {PEAK:g}; the "
            "gain that this took stands beside each. Silence stays silent.",
            f"Spectrograms are of the sounds as they are heard; one scale of {SHOWN_DB} dB for all "
            f"of a source, 0 to {audio.sample_rate / 2000:g} kHz. Marked as holes is where the "
            "estimate is present, the target and others sound about as loud, and the target lies "
            f"more than {HEADLINE_DB} dB too low.",
            "SI-SNRi (the FUSS evaluator's), holes and missing are those of the table of scores; "
            "where a single target sounds, SI-SNR stands in place of its improvement.",
        ],
        "seconds": audio.seconds,
        "kilohertz": audio.sample_rate / 2000,
        "colours": [to_hex(c) for c in mpl.colormaps[COLOURS](np.linspace(0, 1, 9))],
        "shown_db": SHOWN_DB,
        "hole": HOLE,
        "hole_db": HEADLINE_DB,
        "mixtures": mixtures,
    }
    text = json.dumps(page, ensure_ascii=False, indent=1).replace("</", "<\\/")
    with whole_file(folder / "index.html") as partial:
        page_text = TEMPLATE.read_text(encoding="utf-8").replace(MARK, text)
        partial.write_text(page_text, encoding="utf-8", errors=BYTES)
    with whole_file(folder / "webmushra.yaml") as partial:
        _write_webmushra(partial, about, mixtures)


def _source(
    folder: Path, audio: Audio, example: str, slot: int, stimuli: Sequence[Stimulus]
) -> dict[str, Any]:
    """Write a source's sounds and pictures → what the page knows of them."""
    loudest = max(float(stimulus.decibels.max()) for stimulus in stimuli)
    rows = []
    for stimulus in stimuli:
        name = f"{short(example, 100)}-source{slot}-{stimulus.name}"
        sound, picture = f"{AUDIO}/{name}.wav", f"{PICTURES}/{name}.png"
        wavfile.write(folder / sound, audio.sample_rate, stimulus.samples)
        _spectrogram(stimulus.decibels.numpy(), loudest).save(folder / picture, optimize=True)
        holes = None
        if stimulus.holes is not None:
            holes = f"{PICTURES}/{name}-holes.png"
            _mask(stimulus.holes.numpy()).save(folder / holes, optimize=True)
        rows.append(
            {
                "name": stimulus.name,
                "kind": stimulus.name if stimulus.name in (MIXTURE, TARGET) else "estimate",
                "audio": address(sound),
                "picture": address(picture),
                "holes": holes and address(holes),
                "gain_db": stimulus.gain_db,
                "si_snr": stimulus.si_snr,
                "si_snri": stimulus.si_snri,
                "hole_rate": stimulus.hole_rate,
                "missing_rate": stimulus.missing_rate,
            }
        )
    return {"slot": slot, "rows": rows}


def _spectrogram(decibels: np.ndarray, loudest: float) -> Image.Image:
    """A palette image of dB [bin, frame], low frequencies at the bottom: one colour a dB."""
    levels = np.clip(np.round(decibels - loudest + SHOWN_DB), 0, SHOWN_DB).astype(np.uint8)
    picture = Image.fromarray(np.flipud(levels), "P")
    colours = mpl.colormaps[COLOURS](np.linspace(0, 1, SHOWN_DB + 1))[:, :3]
    picture.putpalette((255 * colours).round().astype(np.uint8).tobytes())
    return picture


def _mask(holes: np.ndarray) -> Image.Image:
    """Holes [bin, frame] in their colour, on nothing."""
    picture = Image.fromarray(np.flipud(holes).astype(np.uint8), "P")
    picture.putpalette([0, 0, 0, *(round(255 * part) for part in to_rgb(HOLE))])
    picture.info["transparency"] = 0
    return picture


HOW_TO = """\
# The same mixtures as a listening test for webMUSHRA (github.com/audiolabs/webMUSHRA), by ITU-R
# BS.1534: a page for each target, which is the reference and, hidden, one of the conditions; the
# mixture is the anchor.
#
# Copy this folder as `listen` into webMUSHRA's, beside its index.html, and open
#
#     http://localhost:8000/?config=../listen/webmushra.yaml
#
# Paths are relative to webMUSHRA's folder. Browsers resample the sounds to the device's rate.
"""


def _write_webmushra(path: Path, about: About, mixtures: Sequence[Mapping[str, Any]]) -> None:
    trials: list[Any] = ["random"]
    for mixture in mixtures:
        for source in mixture["sources"]:
            target = next(row for row in source["rows"] if row["kind"] == TARGET)
            others = {r["name"]: f"listen/{r['audio']}" for r in source["rows"] if r is not target}
            trials.append(
                {
                    "type": "mushra",
                    "id": f"{mixture['example']}-source{source['slot']}",
                    "name": "How close to the reference?",
                    "content": "Rate every sound by how close it is to the reference.",
                    "showWaveform": True,
                    "enableLooping": True,
                    "strict": len(others) <= AT_MOST,
                    "randomize": True,
                    "showConditionNames": False,
                    "reference": f"listen/{target['audio']}",
                    "createAnchor35": False,
                    "createAnchor70": False,
                    "stimuli": others,
                }
            )
    test = {
        "testname": f"Universal sound separation, scale {about.scale}",
        "testId": f"apit-{about.scale}",
        "bufferSize": 2048,
        "stopOnErrors": True,
        "showButtonPreviousPage": True,
        "remoteService": "service/write.php",
        "pages": [
            trials,
            {
                "type": "finish",
                "name": "Thank you",
                "content": "That was all.",
                "showResults": True,
                "writeResults": True,
            },
        ],
    }
    yaml = YAML()
    yaml.width = 100
    with path.open("w", encoding="utf-8", errors=BYTES) as file:
        file.write(HOW_TO)
        yaml.dump(test, file)
