"""The packed form of the FUSS layout: few large files, which readers map into memory.

A packed folder holds the lists and the other plain files at the top of what was packed, and
`shards/`:

    000.i16 001.i16 …   the sources, 16 bits a sample (little-endian), one after the other
    sources.csv         their names, in that order
    index.json          rate and length of the examples, and the SHA-256 of each file

Mixtures are not in it: readers take the sum of the sources.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from apit.data.fuss import INDEX, Format
from apit.errors import UserError
from apit.names import BYTES
from apit.provenance import file_digest

VERSION = 3
SAMPLE = np.dtype("<i2")
STEP = np.float32(2**-15)  # of a sample, where full scale is 1
SOURCES = "sources.csv"


@dataclass(frozen=True)
class Index:
    """What a packed folder holds."""

    folder: Path
    format: Format
    shards: dict[str, int]  # how many sources each file has
    sha256: dict[str, str]  # of each file, by its name within the packed folder

    @classmethod
    def read(cls, root: Path) -> "Index":
        """Read the index; raises UserError unless all files are there, each of its size."""
        path = root / INDEX
        try:
            index: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if index["version"] != VERSION:
                raise UserError(f"{path}: was packed by another version of apit; pack it again")
            packed = cls(
                path.parent,
                Format(index["sample_rate"], 1, index["samples"]),
                dict(index["shards"]),
                dict(index["sha256"]),
            )
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise UserError(f"{path}: cannot be read ({error}); pack it again") from None
        for name, sources in packed.shards.items():
            needed = sources * packed.format.samples * SAMPLE.itemsize
            file = packed.folder / name
            if not file.exists() or file.stat().st_size != needed:
                raise UserError(
                    f"{file}: has not the {needed} bytes that were packed; pack it again"
                )
        return packed

    def verify(self, name: str) -> None:
        """Raise UserError unless a file of the packed folder is what was packed."""
        path = self.folder.parent / name
        if not path.exists() or file_digest(path) != self.sha256.get(name):
            raise UserError(f"{path}: is not the file that was packed; fetch or pack it again")

    def sources(self) -> list[str]:
        """Names of all sources, in the order in which the shards hold them."""
        self.verify(f"{self.folder.name}/{SOURCES}")
        table = pd.read_csv(
            self.folder / SOURCES, dtype=str, keep_default_na=False, encoding_errors=BYTES
        )
        return list(table["file"])

    def maps(self) -> list[NDArray[np.int16]]:
        """Each shard as a map of memory [source, time]."""
        samples = self.format.samples
        return [
            np.memmap(self.folder / name, SAMPLE, "r", shape=(sources, samples))
            for name, sources in self.shards.items()
        ]
