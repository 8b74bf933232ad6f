"""Folders that must hold the same files, byte for byte."""

import filecmp

from apit.identity import FILE


def files(folder):
    return sorted(
        str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p.name != FILE
    )


def same_bits(one, other):
    """Folders of runs have the same weights and history."""
    for name in ("model.safetensors", "history.csv"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def assert_same(one, other):
    assert files(one) == files(other)
    _, different, failed = filecmp.cmpfiles(one, other, files(one), shallow=False)
    assert different == failed == []
