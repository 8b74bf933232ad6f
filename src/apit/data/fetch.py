"""Fetching: what a scale's sounds are made of, from where it is published."""

import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pandas as pd
from tqdm import tqdm
from urllib3.util import Retry

from apit.config import Audio, Data, Fuss, Package, Split
from apit.data import fuss
from apit.data.clips import LICENCES
from apit.data.download import PATIENCE, check_archive, download
from apit.data.fuss import Format
from apit.data.identities import data_settings, of_clips, of_packed
from apit.data.packing import pack
from apit.errors import UserError
from apit.files import check_replaceable, whole_folder
from apit.identity import is_made
from apit.progress import bar
from apit.provenance import file_digest
from apit.sound import is_sound

FUSS_SPLITS: tuple[Split, ...] = ("train", "validation", "eval")
EXPANSION = 2.5  # of FUSS's archives: about 17.6 GB of sources


def fetch_packages(packages: Sequence[Package], output: Path) -> None:
    """Download Debian packages of recordings and unpack the sounds of each into a folder there.

    Needs apt-get and dpkg-deb, no root. Writes `licences.csv`, with versions and hashes. Raises
    UserError where one cannot be had.
    """
    own = "give a folder of your own recordings instead (make reproduce SCALE=… CLIPS=FOLDER)"
    missing = [tool for tool in ("apt-get", "dpkg-deb") if shutil.which(tool) is None]
    if missing:
        raise UserError(f"{' and '.join(missing)} cannot be found here, to fetch packages; {own}")
    identity = of_clips(packages)
    if is_made(output, identity):
        return
    with whole_folder(output, identity) as part:
        rows = [
            {"clips": f"{package.name}/*", "licence": package.licence}
            | {"origin": _fetch_package(package, part, own)}
            for package in bar(packages, desc="fetch", unit=" packages")
        ]
        pd.DataFrame(rows).to_csv(part / LICENCES, index=False)


def _fetch_package(package: Package, part: Path, own: str) -> str:
    """Bring a package's sounds into a folder of its name → its name, version and hash."""
    with tempfile.TemporaryDirectory(dir=part) as scratch:
        try:
            _call("apt-get", "download", package.name, cwd=Path(scratch))
            archive = next(Path(scratch).glob("*.deb"))
            _call("dpkg-deb", "-x", archive.name, "unpacked", cwd=Path(scratch))
        except (subprocess.CalledProcessError, StopIteration) as error:
            said = getattr(error, "stderr", "").strip() or "apt-get left no package"
            raise UserError(f"{package.name} cannot be fetched: {said}; {own}") from None
        unpacked = Path(scratch, "unpacked", package.folder)
        sounds = [p for p in unpacked.rglob("*") if p.is_file() and is_sound(p)]
        if not sounds:
            raise UserError(f"{archive.name} holds no sound in {package.folder}; {own}")
        for sound in sounds:
            target = part / package.name / sound.relative_to(unpacked)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(sound, target)
        version = unquote(archive.name.split("_")[1])  # NAME_VERSION_ARCHITECTURE.deb
        return f"{package.name} {version} (sha256 {file_digest(archive)})"


def _call(*command: str, cwd: Path) -> None:
    subprocess.run(
        command, cwd=cwd, check=True, capture_output=True, encoding="utf-8", errors="replace"
    )


def fetch_fuss(sounds: Fuss, audio: Audio, output: Path, *, patience: Retry = PATIENCE) -> None:
    """Download the FUSS archive beside `output`, verify it, and pack it there, as `pack` does.

    A verified archive is not fetched again, and one in a file of this machine is used where it
    is. Raises UserError where the download fails, is of another size or hash, the disk is too
    small, or the archive is not FUSS.
    """
    output = output.resolve()
    check_replaceable(output)
    identity = of_packed(data_settings(audio, Data(sounds=sounds, recipe=None)))
    if is_made(output, identity):
        return
    archive = output.with_name(sounds.archive)
    local = sounds.address.startswith("file://")
    if local:
        archive = Path(urllib.request.url2pathname(urlsplit(sounds.address).path))
        if not archive.is_file():
            raise UserError(f"{archive}: no such archive")
    _check_room(archive, sounds, output)
    if not local:
        download(sounds.address, archive, sounds.bytes, patience)
    check_archive(archive, sounds.bytes, sounds.sha256)
    lists = [fuss.list_path(Path(), split).name for split in FUSS_SPLITS]
    origin = f"{sounds.name} (sha256 {sounds.sha256})\n"
    wanted = Format(audio.sample_rate, 1, audio.samples)
    pack(archive, output, wanted, lists, origin, identity)


def _check_room(archive: Path, sounds: Fuss, output: Path) -> None:
    """Raise UserError unless what is still missing of the archive and its sources fits the disk."""
    output.parent.mkdir(parents=True, exist_ok=True)
    part = archive.with_name(f"{archive.name}.part")
    there = next((p.stat().st_size for p in (archive, part) if p.exists()), 0)
    needed = max(0, sounds.bytes - there) + round(EXPANSION * sounds.bytes)
    free = shutil.disk_usage(output.parent).free
    if free < needed:
        raise UserError(
            f"{output.parent}: {_size(needed)} are needed for {sounds.archive} and its sources, "
            f"and {_size(free)} are free; make room, or give another --output"
        )


def _size(number: int) -> str:
    return tqdm.format_sizeof(number, "B", 1000)
