"""Fetching: what a scale's sounds are made of, from where it is published."""

import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import get_args
from urllib.parse import urlsplit

import numpy as np
from urllib3.util import Retry

from apit.config import Audio, Fuss, Package, Split
from apit.data import fuss
from apit.data.clips import PACKAGE, SUFFIXES
from apit.data.download import PATIENCE, download
from apit.errors import UserError
from apit.files import check_replaceable, whole_file, whole_folder
from apit.progress import bar
from apit.provenance import file_digest

EXPANSION = 2.5  # of FUSS's archives when they are unpacked [ours]
LOOKED_AT = 20  # examples of each split whose mixture is compared with its sources


def fetch_package(package: Package, output: Path) -> None:
    """Download a Debian package of recordings and unpack its sounds into `output`.

    Needs apt-get and dpkg-deb, no root. Writes PACKAGE.txt with version and SHA-256.
    """
    name = package.package
    own = "give a folder of your own recordings instead (make reproduce SCALE=… CLIPS=FOLDER)"
    missing = [tool for tool in ("apt-get", "dpkg-deb") if shutil.which(tool) is None]
    if missing:
        raise UserError(f"{' and '.join(missing)} cannot be found here, to fetch {name}; {own}")
    with tempfile.TemporaryDirectory() as scratch, whole_folder(output) as folder:
        try:
            _call("apt-get", "download", name, cwd=Path(scratch))
            archive = next(Path(scratch).glob("*.deb"))
            _call("dpkg-deb", "-x", str(archive), "unpacked", cwd=Path(scratch))
        except (subprocess.CalledProcessError, StopIteration) as error:
            said = getattr(error, "stderr", "").strip() or "apt-get left no package"
            raise UserError(f"{name} cannot be fetched: {said}; {own}") from None
        unpacked = Path(scratch, "unpacked", package.folder)
        sounds = [p for p in unpacked.rglob("*") if p.suffix.lower() in SUFFIXES]
        if not sounds:
            raise UserError(f"{archive.name} holds no sound in {package.folder}; {own}")
        for sound in sounds:
            shutil.copyfile(sound, folder / sound.name)
        with whole_file(folder / PACKAGE) as partial:
            version = archive.name.removesuffix(".deb")
            partial.write_text(f"{version} (sha256 {file_digest(archive)})\n")


def _call(*command: str, cwd: Path) -> None:
    subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True)


def fetch_fuss(sounds: Fuss, audio: Audio, output: Path, patience: Retry = PATIENCE) -> None:
    """Download the FUSS archive beside `output`, verify it, and unpack its lists and wavs there.

    A verified archive is not fetched again, and one in a file of this machine is used where it is.
    What is unpacked lies in `OUTPUT.unpacking` until every file that the lists name is there and
    is what `audio` says. Raises UserError where the download fails, is of another size or hash,
    the disk is too small, or the archive is not FUSS.
    """
    check_replaceable(output)
    archive = output.with_name(sounds.archive)
    if sounds.address.startswith("file://"):
        archive = Path(urllib.request.url2pathname(urlsplit(sounds.address).path))
        if not archive.is_file():
            raise UserError(f"{archive}: no such archive")
    _check_room(archive, sounds, output)
    download(sounds.address, archive, sounds.bytes, sounds.sha256, patience)
    unpacked = output.with_name(f"{output.name}.unpacking")
    try:
        _unpack(archive, unpacked)
        top = _checked(archive, unpacked, audio)
    except UserError:
        shutil.rmtree(unpacked)
        raise
    with whole_folder(output) as folder:
        for path in top.iterdir():
            path.rename(folder / path.name)
        (folder / fuss.SOUNDS).write_text(f"{sounds.name} (sha256 {sounds.sha256})\n")
    shutil.rmtree(unpacked)


def _checked(archive: Path, unpacked: Path, audio: Audio) -> Path:
    """The folder that holds the example lists, all of whose files are there and as configured."""
    lists = sorted(unpacked.rglob(fuss.list_path(Path(), "train").name))
    if not lists:
        raise UserError(f"{archive}: holds no train_example_list.txt; it is not FUSS")
    top = lists[0].parent  # the archive's own folder, ssdata_reverb
    for split in get_args(Split):
        try:
            _check(fuss.read_list(fuss.list_path(top, split), audio.sources), audio)
        except UserError as error:
            said = str(error).replace(f"{top}/", "").replace(str(top), "it")
            raise UserError(f"{archive}: is not FUSS: {said}") from None
    return top


def _check_room(archive: Path, sounds: Fuss, output: Path) -> None:
    """Raise UserError unless the archive and what it holds fit on the disk."""
    output.parent.mkdir(parents=True, exist_ok=True)
    part = archive.with_name(f"{archive.name}.part")
    there = next((p.stat().st_size for p in (archive, part) if p.exists()), 0)
    needed = max(0, sounds.bytes - there) + round(EXPANSION * sounds.bytes)
    free = shutil.disk_usage(output.parent).free
    if free < needed:
        raise UserError(
            f"{output.parent}: {needed / 1e9:.1f} GB are needed for {sounds.archive} and what it "
            f"holds, and {free / 1e9:.1f} GB are free; make room, or give another --output"
        )


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack plain files and folders alone; what is there already, whole, stays."""
    folder.mkdir(exist_ok=True)
    try:
        with (
            tarfile.open(archive) as tar,
            bar(tar, desc=f"unpack {archive.name}", unit=" files") as members,
        ):
            for member in members:
                if not (member.isfile() or member.isdir()):
                    raise UserError(
                        f"{archive}: cannot be unpacked: {member.name} is a link or a device"
                    )
                target = folder / member.name
                if member.isfile() and _is_whole(target, member.size):
                    continue
                tar.extract(member, folder, filter="data")
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise UserError(f"{archive}: cannot be unpacked: {error}") from None


def _is_whole(target: Path, size: int) -> bool:
    return target.is_file() and target.stat().st_size == size


def _check(entries: Sequence[fuss.Entry], audio: Audio) -> None:
    """Raise UserError for a file that is missing or of another format; warn of other mixtures."""
    wanted = fuss.Format(audio.sample_rate, 1, audio.samples)
    for entry in entries:
        for path in (entry.mixture, *entry.sources):
            if not path.is_file():
                raise UserError(f"{path}: is listed, and not there")
            if (found := fuss.Format.of(path)) != wanted:
                raise UserError(f"{path}: {found}; the configuration's audio says {wanted}")
    for entry in entries[:: max(1, len(entries) // LOOKED_AT)]:
        mixture = np.zeros(audio.samples, np.float32)
        fuss.read_wav(entry.mixture, wanted, "", mixture)
        error = np.abs(mixture - fuss.mixture_of(fuss.read_sources(entry, audio))).max()
        if error > (len(entry.sources) + 1) / 2 / 2**15 + 1e-7:  # each rounded to 16 bits
            print(
                f"{entry.mixture}: differs from the sum of its sources by {error:.4f}; scores "
                "take the sum",
                file=sys.stderr,
            )
