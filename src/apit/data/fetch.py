"""Fetching: what a scale's sounds are made of, from where it is published."""

import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pandas as pd
from tqdm import tqdm
from urllib3.util import Retry

from apit.config import Audio, Fuss, Package, Split
from apit.data import fuss
from apit.data.archives import files_of
from apit.data.clips import LICENCES, SUFFIXES
from apit.data.download import PATIENCE, download, fault_of
from apit.data.examples import Wavs
from apit.data.fuss import Format
from apit.data.packed import is_packed
from apit.data.packing import pack
from apit.errors import UserError
from apit.files import (
    MADE,
    check_replaceable,
    is_made,
    part_of,
    resumable_folder,
    space_of,
    whole_file,
)
from apit.progress import bar
from apit.provenance import digest, file_digest

FUSS_SPLITS: tuple[Split, ...] = ("train", "validation", "eval")
EXPANSION = 3.2  # of FUSS's archives: 24.6 GB of wavs, or of sources and, meanwhile, mixtures
SCRATCH = ".scratch-"
LOOKED_AT = 20  # examples of each split whose mixture is compared with its sources


def fetch_packages(packages: Sequence[Package], output: Path) -> None:
    """Download Debian packages of recordings and unpack the sounds of each into a folder there.

    Needs apt-get and dpkg-deb, no root. Writes `licences.csv`, with versions and hashes. Packages
    that came before a call was killed stay in `OUTPUT.part`. Raises UserError where one cannot be
    had.
    """
    own = "give a folder of your own recordings instead (make reproduce SCALE=… CLIPS=FOLDER)"
    missing = [tool for tool in ("apt-get", "dpkg-deb") if shutil.which(tool) is None]
    if missing:
        raise UserError(f"{' and '.join(missing)} cannot be found here, to fetch packages; {own}")
    wanted = digest([package.model_dump() for package in packages])
    if is_made(output, wanted):
        return
    with resumable_folder(output, wanted) as part:
        for scratch in part.glob(f"{SCRATCH}*"):  # of a call that was killed
            shutil.rmtree(scratch)
        for package in bar(packages, desc="fetch", unit=" packages"):
            origin = part / f".{package.name}"
            if not origin.exists():
                _fetch_package(package, part, origin, own)
        rows = [
            {"clips": f"{package.name}/*", "licence": package.licence}
            | {"origin": (part / f".{package.name}").read_text()}
            for package in packages
        ]
        pd.DataFrame(rows).to_csv(part / LICENCES, index=False)


def _fetch_package(package: Package, part: Path, origin: Path, own: str) -> None:
    """Bring a package's sounds into a folder of its name, and then its version into `origin`."""
    with tempfile.TemporaryDirectory(dir=part, prefix=SCRATCH) as scratch:
        try:
            _call("apt-get", "download", package.name, cwd=Path(scratch))
            archive = next(Path(scratch).glob("*.deb"))
            _call("dpkg-deb", "-x", archive.name, "unpacked", cwd=Path(scratch))
        except (subprocess.CalledProcessError, StopIteration) as error:
            said = getattr(error, "stderr", "").strip() or "apt-get left no package"
            raise UserError(f"{package.name} cannot be fetched: {said}; {own}") from None
        unpacked = Path(scratch, "unpacked", package.folder)
        sounds = [p for p in unpacked.rglob("*") if p.suffix.lower() in SUFFIXES]
        if not sounds:
            raise UserError(f"{archive.name} holds no sound in {package.folder}; {own}")
        shutil.rmtree(part / package.name, ignore_errors=True)
        for sound in sounds:
            target = part / package.name / sound.relative_to(unpacked)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(sound, target)
        with whole_file(origin) as partial:
            version = unquote(archive.name.split("_")[1])  # NAME_VERSION_ARCHITECTURE.deb
            partial.write_text(f"{package.name} {version} (sha256 {file_digest(archive)})")


def _call(*command: str, cwd: Path) -> None:
    subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True)


def fetch_fuss(
    sounds: Fuss, audio: Audio, output: Path, *, packed: bool = False, patience: Retry = PATIENCE
) -> None:
    """Download the FUSS archive beside `output`, verify it, and unpack its lists and wavs there.

    With `packed`, it is packed straight from the archive instead. A verified archive is not
    fetched again, and one in a file of this machine is used where it is. What is unpacked lies in
    `OUTPUT.part` until every file that the lists name is there and is what `audio` says. Raises
    UserError where the download fails, is of another size or hash, the disk is too small, or the
    archive is not FUSS.
    """
    output = output.resolve()
    check_replaceable(output)
    origin = f"{sounds.name} (sha256 {sounds.sha256})\n"
    done = packed and is_packed(output) and f"{fuss.sounds(output)}\n" == origin
    if done or is_made(output, sounds.sha256):
        return
    archive = output.with_name(sounds.archive)
    local = sounds.address.startswith("file://")
    if local:
        archive = Path(urllib.request.url2pathname(urlsplit(sounds.address).path))
        if not archive.is_file():
            raise UserError(f"{archive}: no such archive")
    _check_room(archive, sounds, output)
    if not local:
        download(sounds.address, archive, sounds.bytes, sounds.sha256, patience)
    elif (fault := fault_of(archive, sounds.bytes, sounds.sha256)) is not None:
        raise UserError(
            f"{archive}: {fault}; give another file, or the size and hash that it should have"
        )
    if packed:
        lists = [fuss.list_path(Path(), split).name for split in FUSS_SPLITS]
        pack(archive, output, Format(audio.sample_rate, 1, audio.samples), lists, origin)
        return
    with resumable_folder(output, sounds.sha256) as folder:
        unpacked = folder / "unpacked"
        for path in folder.iterdir():  # of a call that was killed while it moved them
            if path.name not in (unpacked.name, MADE):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        try:
            _unpack(archive, unpacked)
            top = _checked(archive, unpacked, audio)
        except UserError:
            shutil.rmtree(folder)
            raise
        for path in top.iterdir():
            path.rename(folder / path.name)
        shutil.rmtree(unpacked)
        (folder / fuss.SOUNDS).write_text(origin)


def _checked(archive: Path, unpacked: Path, audio: Audio) -> Path:
    """The folder that holds the example lists, all of whose files are there and as configured."""
    lists = sorted(unpacked.rglob(fuss.list_path(Path(), "train").name))
    if not lists:
        raise UserError(f"{archive}: holds no {fuss.list_path(Path(), 'train')}; it is not FUSS")
    top = lists[0].parent  # the archive's own folder, ssdata_reverb
    others = [p for p in unpacked.iterdir() if p != top] if top != unpacked else []
    if len(lists) > 1 or others:
        raise UserError(f"{archive}: holds more than one folder; it is not FUSS")
    for split in FUSS_SPLITS:
        try:
            _check(Wavs(top, split, audio))
        except UserError as error:
            said = str(error).replace(f"{top}/", "").replace(str(top), "it")
            raise UserError(f"{archive}: is not FUSS: {said}") from None
    return top


def _check_room(archive: Path, sounds: Fuss, output: Path) -> None:
    """Raise UserError unless what is still missing of the archive and its content fits the disk."""
    output.parent.mkdir(parents=True, exist_ok=True)
    part = archive.with_name(f"{archive.name}.part")
    there = next((p.stat().st_size for p in (archive, part) if p.exists()), 0)
    content = max(0, round(EXPANSION * sounds.bytes) - space_of(part_of(output)))
    needed = max(0, sounds.bytes - there) + content
    free = shutil.disk_usage(output.parent).free
    if free < needed:
        raise UserError(
            f"{output.parent}: {_size(needed)} are needed for {sounds.archive} and what it holds, "
            f"and {_size(free)} are free; make room, or give another --output"
        )


def _size(number: int) -> str:
    return tqdm.format_sizeof(number, "B", 1000)


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack every file; what is there already, whole, stays."""
    folder.mkdir(exist_ok=True)
    with files_of(archive, "unpack") as files:
        for tar, member, name in files:
            target = folder / name
            if not (target.is_file() and target.stat().st_size == member.size):
                tar.extract(member, folder, filter="data")


def _check(examples: Wavs) -> None:
    """Raise UserError for a file that is missing or of another format; warn of other mixtures."""
    wanted = examples.wanted
    for entry in examples.entries:
        for path in (entry.mixture, *entry.sources):
            if not path.is_file():
                raise UserError(f"{path}: is listed, and not there")
            if (found := Format.of(path)) != wanted:
                raise UserError(f"{path}: {found}; the configuration's audio says {wanted}")
    for number in range(0, len(examples), max(1, len(examples) // LOOKED_AT)):
        entry = examples.entries[number]
        mixture = np.zeros(examples.audio.samples, np.float32)
        fuss.read_wav(entry.mixture, wanted, "", mixture)
        error = np.abs(mixture - fuss.mixture_of(examples.read(number))).max()
        if error > (len(entry.sources) + 1) / 2 / 2**15 + 1e-7:  # each rounded to 16 bits
            print(
                f"{entry.mixture}: differs from the sum of its sources by {error:.4f}; scores "
                "take the sum",
                file=sys.stderr,
            )
