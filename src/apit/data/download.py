"""One large file from an address: resumed, retried, verified; never half under its own name."""

import os
import re
import sys
from http import HTTPStatus
from pathlib import Path
from typing import Any, BinaryIO

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


def download(address: str, path: Path, size: int, sha256: str, patience: Retry = PATIENCE) -> None:
    """Bring what is at `address` to `path`, unless it is there already, and verify it.

    What has come lies in `PATH.part`, and the same call goes on from there; a file that proves to
    be wrong is set aside as `PATH.wrong`. Raises UserError where the right one cannot be had.
    """
    wrong = path.with_name(f"{path.name}.wrong")
    with alone(path):
        if path.exists():
            if (fault := fault_of(path, size, sha256)) is None:
                return
            os.replace(path, wrong)
            print(f"{path} {fault}: set aside as {wrong}, and fetched anew", file=sys.stderr)
        part = path.with_name(f"{path.name}.part")
        for last in (False, True):
            try:
                pieces = _complete(address, part, size, patience)
            finally:
                if not part.stat().st_size:
                    part.unlink()
            if (fault := fault_of(part, size, sha256)) is None:
                os.replace(part, path)
                return
            if pieces == 1 or last:
                break
            part.unlink()  # the file may have changed between two tries
        os.replace(part, wrong)
        raise UserError(
            f"{address}: {path.name} {fault}; it is set aside as {wrong}; give another address, or "
            "the size and hash that it should have"
        )


def fault_of(path: Path, size: int, sha256: str) -> str | None:
    """What is wrong with a file that should have a size in bytes and a SHA-256."""
    if (own := path.stat().st_size) != size:
        return f"has {own} bytes, not {size}"
    if (digest := file_digest(path)) != sha256:
        return f"has the SHA-256 {digest}, not {sha256}"
    return None


def _complete(address: str, part: Path, size: int, patience: Retry) -> int:
    """Fetch what is missing of a file of `size` bytes, over one connection at a time.

    Gives of how many answers it was put together. Raises UserError where it cannot be had, or the
    server says that its file is of another size.
    """
    failed = f"{address}: cannot be downloaded: {{}}; what came is kept: try again, or elsewhere"
    with (
        urllib3.PoolManager(retries=patience, timeout=Timeout(connect=30, read=60)) as pool,
        part.open("ab") as file,
        bar(total=size, unit="B", unit_scale=True, desc=part.stem) as shown,
    ):
        left, furthest, pieces = ATTEMPTS, file.tell(), 1 if file.tell() else 0
        while (have := file.tell()) < size:
            shown.update(have - shown.n)
            headers = {"Accept-Encoding": "identity"} | (
                {"Range": f"bytes={have}-"} if have else {}
            )
            reason = ""
            try:
                answer = pool.request("GET", address, headers=headers, preload_content=False)
                start = _start_of(answer, address, size, failed)
                if start != have:  # the server ignores ranges, or its file is another: start over
                    file.seek(0)
                    file.truncate()
                    have, pieces = 0, 0
                if start in (0, have):
                    pieces += 1
                    _take(answer, file, size, shown)
                answer.release_conn()
            except urllib3.exceptions.MaxRetryError as error:
                raise UserError(failed.format(error.reason or error)) from None
            except urllib3.exceptions.HTTPError as error:  # the connection broke
                reason = str(error)
            file.flush()
            left = ATTEMPTS if file.tell() > furthest else left - 1
            furthest = max(furthest, file.tell())
            if not left:
                at = f"it ended after {file.tell()} of {size} bytes"
                raise UserError(failed.format(f"{at} ({reason})" if reason else at))
        return pieces


def _start_of(answer: urllib3.BaseHTTPResponse, address: str, size: int, failed: str) -> int | None:
    """From which byte on an answer is; None if it holds nothing.

    Raises UserError where it says that the whole file is of another size than it should be.
    """
    said = answer.headers.get("Content-Range", "")
    whole = re.search(r"/(\d+)$", said)
    start: int | None = 0
    total = answer.headers.get("Content-Length")
    if answer.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        start, total = None, whole[1] if whole else None
    elif answer.status == HTTPStatus.PARTIAL_CONTENT:
        from_byte = re.match(r"bytes (\d+)-", said)
        start, total = (int(from_byte[1]) if from_byte else None), whole[1] if whole else None
    elif answer.status != HTTPStatus.OK:
        raise UserError(failed.format(f"{answer.status} {answer.reason or ''}".strip()))
    if total is not None and int(total) != size:
        raise UserError(
            f"{address}: has {total} bytes there, not {size}; give another address, or the size "
            "and hash that it should have"
        )
    return start


def _take(answer: urllib3.BaseHTTPResponse, file: BinaryIO, size: int, shown: Any) -> None:
    """Write what comes, up to `size` bytes in all, just as it comes."""
    for block in answer.stream(BLOCK, decode_content=False):
        wanted = block[: size - file.tell()]
        file.write(wanted)
        shown.update(len(wanted))
        if len(wanted) < len(block):
            answer.close()
            return
