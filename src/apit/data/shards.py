"""Shards: wavs taken apart, and their samples written one after the other into few large files."""

import hashlib
import json
import os
import struct
from base64 import b64decode, b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from apit.data.fuss import Format
from apit.data.packed import SAMPLE, Header
from apit.errors import UserError
from apit.files import whole_file

SHARD_BYTES = 1 << 28
PCM, EXTENSIBLE = 1, 0xFFFE  # format tags of a wav
BEGUN, MARK = ".begun", ".whole"  # of a shard that is being written, and of one that is whole


class Wav(NamedTuple):
    """A wav in parts."""

    format: Format
    header: Header
    samples: memoryview

    @classmethod
    def of(cls, name: str, content: bytes) -> "Wav":
        """Take apart the bytes of a wav; raises UserError unless it is whole and has 16 bits."""
        view = memoryview(content)
        if content[:4] != b"RIFF" or content[8:12] != b"WAVE":
            raise UserError(f"{name}: is not a wav; make it again")
        at, form = 12, None
        while at + 8 <= len(content):
            kind, size = struct.unpack_from("<4sI", content, at)
            at += 8
            if kind == b"fmt " and size >= 16 and at + size <= len(content):
                tag, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", content, at)
                if tag == EXTENSIBLE and size >= 26:  # the first two bytes of the sub-format
                    (tag,) = struct.unpack_from("<H", content, at + 24)
                if (tag, bits) != (PCM, 16):
                    raise UserError(f"{name}: is no PCM of 16 bits; only such wavs are packed")
                if not rate or not channels:
                    break
                form = (rate, channels)
            elif kind == b"data":
                if form is None or at + size > len(content) or size % (2 * form[1]):
                    break
                if size == 0:
                    raise UserError(f"{name}: holds no sample; leave it out, or make it again")
                end = at + size
                found = Format(*form, size // (2 * form[1]))
                return cls(found, Header(content[:at], content[end:]), view[at:end])
            at += size + size % 2
        raise UserError(f"{name}: is cut or damaged; make it again")


class Shards:
    """Wavs of one format, appended to shards in a folder; a shard that is finished stays."""

    def __init__(self, folder: Path, wanted: Format | None):
        self.folder, self.wanted = folder, wanted  # None: whatever the first one is
        self.root = ""  # of all names, which `rows` and `files` leave out
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.glob(f"*{BEGUN}"):
            path.unlink()
        marks = sorted(folder.glob(f"[0-9]*{MARK}"))
        self.shards: list[dict[str, Any]] = [json.loads(mark.read_text()) for mark in marks]
        if self.shards:
            self.wanted = Format(*self.shards[0]["format"])
        self.done = {file for shard in self.shards for file, _ in shard["files"]}
        self._open()

    def _open(self) -> None:
        self._files: list[tuple[str, int]] = []
        self._headers: dict[Header, int] = {}
        self._sha256 = hashlib.sha256()
        self._file: BinaryIO | None = None

    def add(self, name: str, content: bytes) -> None:
        """Append a wav, unless it is there already."""
        if name in self.done:
            return
        wav = Wav.of(name, content)
        self.wanted = self.wanted or wav.format._replace(channels=1)
        if wav.format != self.wanted:
            raise UserError(f"{name}: {wav.format}; all must have {self.wanted}")
        if self._file is None:
            self._file = (self.folder / f"{len(self.shards):03d}.i16{BEGUN}").open("wb")
        self._file.write(wav.samples)
        self._sha256.update(wav.samples)
        self._files.append((name, self._headers.setdefault(wav.header, len(self._headers))))
        self.done.add(name)
        if self._file.tell() >= SHARD_BYTES:
            self.finish()

    def finish(self) -> None:
        """Finish the shard that was begun, if one was."""
        if self._file is None:
            return
        with self._file as file:
            file.flush()
            os.fsync(file.fileno())
        path = Path(file.name)
        shard: dict[str, Any] = {
            "name": path.name.removesuffix(BEGUN),
            "sha256": self._sha256.hexdigest(),
            "format": self.wanted,
            "headers": [[b64encode(part).decode() for part in h] for h in self._headers],
            "files": self._files,
        }
        path.rename(path.with_name(shard["name"]))
        with whole_file(self.folder / f"{shard['name']}{MARK}") as mark:
            mark.write_text(json.dumps(shard))
        self.shards.append(shard)
        self._open()

    def rows(self) -> dict[str, NDArray[np.int16]]:
        """Samples [time] of every wav, in maps of memory."""
        rows: dict[str, NDArray[np.int16]] = {}
        for shard in self.shards:
            shape = (len(shard["files"]), self.wanted.samples if self.wanted else 0)
            found = np.asarray(np.memmap(self.folder / shard["name"], SAMPLE, "r", shape=shape))
            names = (file.removeprefix(self.root) for file, _ in shard["files"])
            rows |= zip(names, found, strict=True)
        return rows

    def files(self) -> Iterator[tuple[str, Header]]:
        """Name and header of every wav, in the order of the shards."""
        for shard in self.shards:
            headers = [Header(*map(b64decode, header)) for header in shard["headers"]]
            for file, number in shard["files"]:
                yield file.removeprefix(self.root), headers[number]
