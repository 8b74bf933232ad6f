"""Fetching: what a scale's sounds are made of, from where it is published."""

import hashlib
import shutil
import subprocess
import tarfile
import tempfile
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import get_args

from tqdm import tqdm

from apit.config import Audio, Fuss, Package, Split
from apit.data import fuss
from apit.data.clips import PACKAGE, SUFFIXES
from apit.errors import UserError
from apit.files import whole_file, whole_folder
from apit.provenance import file_digest

BLOCK = 1 << 20  # bytes


def fetch_package(package: Package, output: Path) -> None:
    """Download a Debian package of recordings and unpack its sounds into `output`.

    Needs apt-get and dpkg-deb, no root. Writes PACKAGE.txt with version and SHA-256.
    """
    name = package.package
    own = "give a folder of your own recordings instead: make reproduce SCALE=mini CLIPS=FOLDER"
    missing = [tool for tool in ("apt-get", "dpkg-deb") if shutil.which(tool) is None]
    if missing:
        raise UserError(f"{' and '.join(missing)} cannot be found here, to fetch {name}; {own}")
    with tempfile.TemporaryDirectory() as scratch, whole_folder(output) as folder:
        try:
            _call("apt-get", "download", name, cwd=Path(scratch))
            (archive,) = Path(scratch).glob("*.deb")
            _call("dpkg-deb", "-x", str(archive), "unpacked", cwd=Path(scratch))
        except (subprocess.CalledProcessError, ValueError) as error:
            said = getattr(error, "stderr", "").strip()
            raise UserError(f"{name} cannot be fetched: {said or error}; {own}") from None
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


def fetch_fuss(sounds: Fuss, audio: Audio, output: Path) -> None:
    """Download the FUSS archive beside `output`, verify it, and unpack its lists and wavs there.

    A verified archive is not fetched again. Raises UserError where the download fails, is of
    another size or hash, or lacks a file that its lists name.
    """
    archive = output.with_name(PurePosixPath(sounds.address).name)
    if not archive.exists():
        with whole_file(archive) as partial:
            _download(sounds.address, sounds.bytes, partial)
            _verify(partial, sounds)
    else:
        _verify(archive, sounds)
    with whole_folder(output) as folder, tempfile.TemporaryDirectory(dir=output.parent) as scratch:
        try:
            with tarfile.open(archive) as tar:
                tar.extractall(scratch, filter="data")
        except (tarfile.TarError, EOFError) as error:
            raise UserError(f"{archive}: cannot be unpacked: {error}") from None
        lists = sorted(Path(scratch).rglob(fuss.list_path(Path(), "train").name))
        if not lists:
            raise UserError(f"{archive}: holds no train_example_list.txt; it is not FUSS")
        for path in lists[0].parent.iterdir():
            path.rename(folder / path.name)
        (folder / fuss.SOUNDS).write_text(f"{sounds.name} (sha256 {sounds.sha256})\n")
        for split in get_args(Split):
            fuss.read_list(folder, split, audio.sources)


def _download(address: str, size: int, path: Path) -> None:
    try:
        with urllib.request.urlopen(address, timeout=60) as answer, path.open("wb") as file:
            bar = tqdm(total=size, unit="B", unit_scale=True, desc=path.name, disable=None)
            with bar:
                while block := answer.read(BLOCK):
                    file.write(block)
                    bar.update(len(block))
    except (HTTPException, TimeoutError, urllib.error.URLError) as error:
        raise UserError(
            f"{address}: cannot be downloaded: {error}; try again, or set data.sounds.address"
        ) from None


def _verify(path: Path, sounds: Fuss) -> None:
    """Compare size and SHA-256 with what was published."""
    size = path.stat().st_size
    if size != sounds.bytes:
        raise UserError(
            f"{sounds.address}: {path.name} has {size} bytes where {sounds.bytes} were due; "
            "remove it and fetch it again"
        )
    found = hashlib.sha256()
    with (
        path.open("rb") as file,
        tqdm(total=size, unit="B", unit_scale=True, desc="verify", disable=None) as bar,
    ):
        while block := file.read(BLOCK):
            found.update(block)
            bar.update(len(block))
    if found.hexdigest() != sounds.sha256:
        raise UserError(
            f"{sounds.address}: {path.name} has the SHA-256 {found.hexdigest()} where "
            f"{sounds.sha256} was due; remove it and fetch it again"
        )
