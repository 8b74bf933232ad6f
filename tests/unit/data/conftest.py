"""Shared by the tests of data."""

import shutil

import pytest

from apit.data import packing


@pytest.fixture
def small(monkeypatch):
    """Shards of a few sources each."""
    monkeypatch.setattr(packing, "SHARD_BYTES", 40_000)


@pytest.fixture
def copied(mixtures, tmp_path):
    """A copy of the mixtures that a test may damage."""
    return shutil.copytree(mixtures, tmp_path / "copied")


@pytest.fixture
def audio(tiny):
    return tiny("pit").audio
