"""Examples: a split's sources, read crop by crop, wherever and however they are stored."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from apit.config import Audio, Split
from apit.data import fuss, packed
from apit.errors import UserError
from apit.names import on_disk


class Examples(ABC):
    """The examples of a split, in the order of its list: names, and how many sources each has."""

    def __init__(self, audio: Audio, names: Sequence[str], counts: Sequence[int]):
        self.audio, self.names, self.counts = audio, tuple(names), tuple(counts)

    def __len__(self) -> int:
        return len(self.names)

    @abstractmethod
    def read_source(
        self, into: NDArray[np.float32], number: int, slot: int, start: int = 0
    ) -> None:
        """Fill `into` [time] with one source of an example from a sample on; 1 is full scale.

        Raises UserError for files that are unreadable or not as `audio` says.
        """

    def read_into(self, into: NDArray[np.float32], number: int, start: int = 0) -> None:
        """Fill `into` [source, time] in the same way; slots without source are zero."""
        count = self.counts[number]
        for slot in range(count):
            self.read_source(into[slot], number, slot, start)
        into[count:] = 0

    def read(self, number: int) -> NDArray[np.float32]:
        """Read a whole example → [source, time]."""
        sources = np.empty((self.audio.sources, self.audio.samples), np.float32)
        self.read_into(sources, number)
        return sources


class Wavs(Examples):
    """Examples in the FUSS layout, one wav for each source."""

    def __init__(self, root: Path, split: Split, audio: Audio):
        lines = fuss.read_list(fuss.list_path(root, split), audio.sources)
        self.sources = [[on_disk(root, file) for file in line.sources] for line in lines]
        self.wanted = fuss.Format(audio.sample_rate, 1, audio.samples)
        super().__init__(audio, [line.name for line in lines], [len(s) for s in self.sources])

    def read_source(
        self, into: NDArray[np.float32], number: int, slot: int, start: int = 0
    ) -> None:
        """See Examples."""
        path = self.sources[number][slot]
        fuss.read_wav(path, self.wanted, "the configuration's audio says", into, start)


class Packed(Examples):
    """Examples in the packed form, in maps of memory: nothing is read but what is asked for."""

    def __init__(self, root: Path, split: Split, audio: Audio):
        index = packed.Index.read(root)
        wanted = fuss.Format(audio.sample_rate, 1, audio.samples)
        if index.format != wanted:
            raise UserError(
                f"{root}: holds {index.format}; the configuration's audio says {wanted}"
            )
        listed = fuss.list_path(root, split)
        lines = fuss.read_lines(listed, audio.sources)
        index.verify(listed.name)
        places = {file: place for place, file in enumerate(index.sources())}
        self.places = [[places[file] for file in line.sources] for line in lines]
        self.rows = [row for shard in index.maps() for row in np.asarray(shard)]
        super().__init__(audio, [line.name for line in lines], [len(p) for p in self.places])

    def read_source(
        self, into: NDArray[np.float32], number: int, slot: int, start: int = 0
    ) -> None:
        """See Examples."""
        into[:] = self.rows[self.places[number][slot]][start : start + len(into)]
        into *= packed.STEP


def open_examples(root: Path, split: Split, audio: Audio) -> Examples:
    """Open a split of a folder in the FUSS layout, packed or as wavs.

    Raises UserError where the folder's lists or the packed form are not what `audio` says.
    """
    form = Packed if (root / fuss.INDEX).exists() else Wavs
    return form(root, split, audio)
