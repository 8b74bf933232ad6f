"""Credits: of which clips mixtures consist, under which licence, and where they came from."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from apit.config import Split
from apit.data import fuss
from apit.names import BYTES

COMPUTED = "computed, not recorded"
NOT_STATED = "licence not stated"
FUSS = (
    "Free Universal Sound Separation (FUSS), S. Wisdom et al. 2021, CC BY 4.0; its clips are of "
    "Freesound, CC0"
)


@dataclass(frozen=True)
class Credit:
    """The clip that a source is an excerpt of, and its licence."""

    clip: str
    licence: str


def credits_of(root: Path, split: Split) -> dict[str, list[Credit]]:
    """Clips of each example of a split, in the order of its sources, where manifests tell of them.

    Folders of mixtures have manifests where apit mixed them, packed or not; others have none.
    """
    if not (root / "manifest.csv").exists() or not (root / "clips.csv").exists():
        return {}
    clips = pd.read_csv(root / "clips.csv", dtype=str, keep_default_na=False, encoding_errors=BYTES)
    licences = {
        name: licence or (NOT_STATED if sha256 else COMPUTED)
        for name, licence, sha256 in clips[["name", "licence", "sha256"]].itertuples(index=False)
    }
    manifest = pd.read_csv(
        root / "manifest.csv", dtype=str, keep_default_na=False, encoding_errors=BYTES
    )
    credits: dict[str, list[Credit]] = defaultdict(list)
    for example, clip in zip(manifest["example"], manifest["clip"], strict=True):
        of, _, name = example.partition("/")
        if of == split:
            credits[name].append(Credit(clip, licences[clip]))
    return dict(credits)


def origin(root: Path, *, is_fuss: bool) -> str:
    """Where a folder's sounds came from, for readers."""
    return FUSS if is_fuss else fuss.without_hashes(fuss.sounds(root))
