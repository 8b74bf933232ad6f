"""Folders that must hold the same files, byte for byte."""

import filecmp

from apit.files import MADE


def files(folder):
    return sorted(
        str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p.name != MADE
    )


def assert_same(one, other):
    assert files(one) == files(other)
    _, different, failed = filecmp.cmpfiles(one, other, files(one), shallow=False)
    assert different == failed == []
