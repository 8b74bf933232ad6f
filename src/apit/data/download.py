"""One large file from an address: resumed, retried; never half under its own name."""

import os
from http import HTTPStatus
from pathlib import Path

import urllib3
from urllib3.util import Retry, Timeout

from apit.errors import UserError
from apit.files import alone
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


def download(address: str, path: Path, size: int, patience: Retry = PATIENCE) -> None:
    """Bring the `size` bytes that are at `address` to `path`, unless something is there already.

    What has come lies in `PATH.part`, and the same call goes on from there. Raises UserError where
    it cannot be had, or the server says that its file is of another size.
    """
    part = path.with_name(f"{path.name}.part")
    failed = f"{address}: cannot be downloaded: {{}}; what came is kept: try again, or elsewhere"
    with alone(path):
        if path.exists():
            return
        with (
            urllib3.PoolManager(retries=patience, timeout=Timeout(connect=30, read=60)) as pool,
            part.open("ab") as file,
            bar(total=size, unit="B", unit_scale=True, desc=part.stem) as shown,
        ):
            left, furthest, broken = ATTEMPTS, file.tell(), ""
            while (have := file.tell()) < size:
                if not left:
                    raise UserError(failed.format(f"it ended after {have} of {size} bytes{broken}"))
                shown.update(have - shown.n)
                headers = {"Accept-Encoding": "identity", "Range": f"bytes={have}-"}
                try:
                    answer = pool.request("GET", address, headers=headers, preload_content=False)
                    _check(answer, address, size, failed)
                    if answer.status == HTTPStatus.OK:  # the server knows no ranges: start over
                        file.seek(0)
                        file.truncate()
                    for block in answer.stream(BLOCK, decode_content=False):
                        file.write(block)
                        shown.update(len(block))
                except urllib3.exceptions.MaxRetryError as error:
                    raise UserError(failed.format(error.reason or error)) from None
                except urllib3.exceptions.HTTPError as error:  # the connection broke
                    broken = f" ({error})"
                left = ATTEMPTS if file.tell() > furthest else left - 1
                furthest = max(furthest, file.tell())
        os.replace(part, path)


def _check(answer: urllib3.BaseHTTPResponse, address: str, size: int, failed: str) -> None:
    """Raise UserError unless an answer holds the file, and is not known to be of another size."""
    if answer.status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
        raise UserError(failed.format(f"{answer.status} {answer.reason or ''}".strip()))
    said = answer.headers.get("Content-Range") or answer.headers.get("Content-Length", "*")
    if (total := said.rpartition("/")[2]) not in ("*", str(size)):
        raise UserError(
            f"{address}: has {total} bytes there, not {size}; give another address, or the size "
            "and hash that it should have"
        )


def check_archive(path: Path, size: int, sha256: str) -> None:
    """Raise UserError for a file that is not of a size in bytes and a SHA-256."""
    fault = None
    if (own := path.stat().st_size) != size:
        fault = f"has {own} bytes, not {size}"
    elif (digest := file_digest(path)) != sha256:
        fault = f"has the SHA-256 {digest}, not {sha256}"
    if fault:
        raise UserError(
            f"{path}: {fault}; remove it, give another, or set data.sounds.bytes and "
            "data.sounds.sha256 to what it should have"
        )
