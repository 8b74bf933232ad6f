import hashlib
import os

import pytest
from archives import unreliable
from urllib3.util import Retry

from apit.data.download import download
from apit.errors import UserError

CONTENT = os.urandom(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
IMPATIENT = Retry(
    total=3, backoff_factor=0.0, status_forcelist=(429, 500, 502, 503, 504), raise_on_status=False
)


def fetched(address, folder):
    path = folder / "big.tar.gz"
    download(address, path, len(CONTENT), SHA256, IMPATIENT)
    assert path.read_bytes() == CONTENT
    assert [p.name for p in folder.iterdir()] == ["big.tar.gz"]


@pytest.mark.parametrize(
    "behaviours",
    [
        ["ok"],
        ["cut", "cut", "cut", "ok"],
        ["busy", "throttled", "ok"],
        ["cut", "busy", "cut", "throttled", "ok"],
        ["cut", "ignore_range"],
        ["cut", b"x" * len(CONTENT), "ok"],  # the file changed between two tries
    ],
)
def test_an_unreliable_server_gives_the_file_in_the_end(tmp_path, behaviours):
    (tmp_path / "data").mkdir()
    if any(isinstance(b, bytes) for b in behaviours):
        (tmp_path / "data" / "big.tar.gz.part").write_bytes(b"")
    with unreliable(CONTENT, behaviours) as (address, _):
        fetched(address, tmp_path / "data")


def test_a_broken_download_goes_on_where_it_was(tmp_path):
    part = tmp_path / "big.tar.gz.part"
    part.write_bytes(CONTENT[:1_000_000])
    with unreliable(CONTENT, ["ok"]) as (address, asked):
        fetched(address, tmp_path)
        assert asked == ["bytes=1000000-"]
        fetched(address, tmp_path)  # there already: nobody is asked
        assert len(asked) == 1


def test_a_server_that_brings_nothing_is_given_up_and_what_came_is_kept(tmp_path):
    said = r"cannot be downloaded: 503.*what came is kept"
    with (
        unreliable(CONTENT, ["cut", "busy"]) as (address, _),
        pytest.raises(UserError, match=said),
    ):
        fetched(address, tmp_path)
    kept = (tmp_path / "big.tar.gz.part").read_bytes()
    assert kept
    assert CONTENT.startswith(kept)
    with pytest.raises(UserError, match="cannot be downloaded"):
        fetched("http://127.0.0.1:1/big.tar.gz", tmp_path)


def test_a_wrong_file_is_set_aside_and_named_and_never_used(tmp_path):
    with (
        unreliable(b"x" * len(CONTENT), ["ok"]) as (address, _),
        pytest.raises(UserError, match=r"SHA-256 .*, not .*set aside as .*big.tar.gz.wrong"),
    ):
        fetched(address, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["big.tar.gz.wrong"]
    (tmp_path / "big.tar.gz").write_bytes(b"another")
    with pytest.raises(UserError, match=r"has 7 bytes, not 3000000; .*remove it"):
        fetched("http://127.0.0.1:1/big.tar.gz", tmp_path)
