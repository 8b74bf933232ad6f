"""One large file from an address: resumed, retried, verified; never half under its own name."""

import os
from http import HTTPStatus
from pathlib import Path

import urllib3
from urllib3.util import Retry, Timeout

from apit.errors import UserError
from apit.progress import bar
from apit.provenance import file_digest

BLOCK = 1 << 20  # bytes
ATTEMPTS = 6  # in a row that bring nothing
# Waits between tries are 0, 2, 4, 8, … seconds, or what the server asks for.
PATIENCE = Retry(
    total=ATTEMPTS,
    backoff_factor=1.0,
    status_forcelist=(429, 500, 502, 503, 504),
    raise_on_status=False,
)


def download(address: str, path: Path, size: int, sha256: str, patience: Retry = PATIENCE) -> None:
    """Bring what is at `address` to `path`, unless it is there already, and verify it.

    What has come lies in `PATH.part`, and the same call goes on from there. Raises UserError where
    it cannot be had, or is of another size or hash: then it is set aside as `PATH.wrong`.
    """
    if path.exists():
        verify(path, size, sha256, f"{path}: remove it, and fetch it again")
        return
    part = path.with_name(f"{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    resumed = part.exists()
    while True:
        _complete(address, part, size, patience)
        try:
            verify(part, size, sha256, "")
        except UserError as error:
            if resumed:  # the file may have changed between two tries
                part.unlink()
                resumed = False
                continue
            wrong = path.with_name(f"{path.name}.wrong")
            os.replace(part, wrong)
            raise UserError(
                f"{address}: {error}it is set aside as {wrong}; give another address, or the size "
                "and hash that it should have"
            ) from None
        os.replace(part, path)
        return


def verify(path: Path, size: int, sha256: str, remedy: str) -> None:
    """Raise UserError unless a file has a size in bytes and a SHA-256."""
    name = path.name.removesuffix(".part")
    if (found := path.stat().st_size) != size:
        raise UserError(f"{name} has {found} bytes, not {size}; {remedy}")
    if (digest := file_digest(path)) != sha256:
        raise UserError(f"{name} has the SHA-256 {digest}, not {sha256}; {remedy}")


def _complete(address: str, part: Path, size: int, patience: Retry) -> None:
    """Fetch what is missing of a file of `size` bytes, over one connection at a time."""
    failed = f"{address}: cannot be downloaded: {{}}; what came is kept: try again, or elsewhere"
    with (
        urllib3.PoolManager(retries=patience, timeout=Timeout(connect=30, read=60)) as pool,
        part.open("ab") as file,
        bar(total=size, unit="B", unit_scale=True, desc=part.stem) as shown,
    ):
        left = ATTEMPTS
        while (have := file.tell()) < size:
            shown.update(have - shown.n)
            headers = {"Range": f"bytes={have}-"} if have else {}
            reason = ""
            try:
                answer = pool.request("GET", address, headers=headers, preload_content=False)
                if answer.status in (HTTPStatus.OK, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE):
                    file.seek(
                        0
                    )  # the server ignores ranges, or the file has shrunk: from the start
                    file.truncate()
                elif answer.status != HTTPStatus.PARTIAL_CONTENT:
                    raise UserError(failed.format(f"{answer.status} {answer.reason or ''}".strip()))
                if answer.status != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                    for block in answer.stream(BLOCK):
                        file.write(block)
                        shown.update(len(block))
            except urllib3.exceptions.MaxRetryError as error:
                raise UserError(failed.format(error.reason or error)) from None
            except urllib3.exceptions.HTTPError as error:  # the connection broke
                reason = str(error)
            file.flush()
            left = ATTEMPTS if file.tell() > have else left - 1
            if not left:
                at = f"it ended after {file.tell()} of {size} bytes"
                raise UserError(failed.format(f"{at} ({reason})" if reason else at))
