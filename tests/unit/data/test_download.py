import os

import pytest
from archives import unreliable
from urllib3.util import Retry

from apit.data.download import download
from apit.errors import UserError
from apit.files import alone

CONTENT = os.urandom(3_000_000)
IMPATIENT = Retry(
    total=3, backoff_factor=0.0, status_forcelist=(429, 500, 502, 503, 504), raise_on_status=False
)


def fetched(address, folder):
    path = folder / "big.tar.gz"
    download(address, path, len(CONTENT), IMPATIENT)
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
        ["encoded"],
    ],
)
def test_an_unreliable_server_gives_the_file_in_the_end(tmp_path, behaviours):
    (tmp_path / "data").mkdir()
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


def test_a_server_with_a_shorter_file_is_given_up(tmp_path):
    with unreliable(CONTENT[:-1000], ["ok"]) as (address, asked):
        with pytest.raises(UserError, match="has 2999000 bytes there, not 3000000"):
            fetched(address, tmp_path)
        assert len(asked) == 1
    with unreliable(CONTENT, ["short"]) as (address, asked):  # never says how long it is
        with pytest.raises(UserError, match=r"it ended after \d+ of 3000000 bytes"):
            fetched(address, tmp_path)
        assert len(asked) < 40


def test_two_at_once_do_not_write_into_one_file(tmp_path):
    with (
        alone(tmp_path / "big.tar.gz"),
        unreliable(CONTENT, ["ok"]) as (address, asked),
        pytest.raises(UserError, match="another process is making it"),
    ):
        fetched(address, tmp_path)
    assert asked == []
