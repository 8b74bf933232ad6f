"""Fetching: what a scale's sounds are made of, from where it is published."""

import shutil
import subprocess
import tarfile
import tempfile
import urllib.error
import urllib.request
import zlib
from http.client import HTTPException
from pathlib import Path
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


def fetch_fuss(sounds: Fuss, audio: Audio, output: Path) -> None:
    """Download the FUSS archive beside `output`, verify it, and unpack its lists and wavs there.

    A verified archive is not fetched again. Raises UserError where the download fails, is of
    another size or hash, or lacks a file that its lists name.
    """
    archive = output.with_name(sounds.archive)
    with whole_folder(output) as folder:
        if archive.exists():
            _verify(archive, sounds, f"{archive}: remove it, and fetch it again")
        else:
            with whole_file(archive) as partial:
                _download(sounds, partial)
                _verify(partial, sounds, f"{sounds.address}: try again, or another address")
        try:
            with tarfile.open(archive) as tar:
                tar.extractall(folder, filter="data")
        except (tarfile.TarError, EOFError, zlib.error) as error:
            raise UserError(f"{archive}: cannot be unpacked: {error}") from None
        lists = sorted(folder.rglob(fuss.list_path(Path(), "train").name))
        if not lists:
            raise UserError(f"{archive}: holds no train_example_list.txt; it is not FUSS")
        top = lists[0].parent
        if top != folder:  # the archive's own folder, ssdata_reverb
            for path in top.iterdir():
                path.rename(folder / path.name)
            top.rmdir()
        (folder / fuss.SOUNDS).write_text(f"{sounds.name} (sha256 {sounds.sha256})\n")
        for split in get_args(Split):
            try:
                for entry in fuss.read_list(fuss.list_path(folder, split), audio.sources):
                    if not entry.mixture.is_file():
                        raise UserError(f"{entry.mixture}: is listed, and not there")
            except UserError as error:
                said = str(error).replace(f"{folder}/", "").replace(str(folder), "it")
                raise UserError(f"{archive}: is not FUSS: {said}") from None


def _download(sounds: Fuss, path: Path) -> None:
    failed = f"{sounds.address}: cannot be downloaded: {{}}; try again, or set data.sounds.address"
    try:
        with urllib.request.urlopen(sounds.address, timeout=60) as answer, path.open("wb") as file:
            bar = tqdm(
                total=sounds.bytes, unit="B", unit_scale=True, desc=sounds.archive, disable=None
            )
            with bar:
                while block := answer.read(BLOCK):
                    file.write(block)
                    bar.update(len(block))
    except (HTTPException, TimeoutError, ConnectionError, urllib.error.URLError) as error:
        raise UserError(failed.format(error)) from None
    if (size := path.stat().st_size) < sounds.bytes:
        raise UserError(failed.format(f"it ended after {size} of {sounds.bytes} bytes"))


def _verify(path: Path, sounds: Fuss, remedy: str) -> None:
    """Compare size and SHA-256 with what was published."""
    if (size := path.stat().st_size) != sounds.bytes:
        raise UserError(f"{sounds.archive} has {size} bytes, not {sounds.bytes}; {remedy}")
    if (found := file_digest(path)) != sounds.sha256:
        raise UserError(f"{sounds.archive} has the SHA-256 {found}, not {sounds.sha256}; {remedy}")
