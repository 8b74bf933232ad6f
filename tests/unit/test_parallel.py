import os
import subprocess
import sys

import pytest

from apit.parallel import cores, in_order


def process(_):
    return os.getpid()


def test_there_are_no_more_processes_than_cores_that_may_be_used(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 4)  # of the machine
    every = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(every)})
    try:
        assert {*in_order(process, range(4), 4, "asked", jobs=0)} == {os.getpid()}
        assert cores() == 1
    finally:
        os.sched_setaffinity(0, every)
    assert cores() == len(every)


@pytest.mark.parametrize("name", ["long" * 30, "absent"])
def test_a_long_name_of_the_scratch_folder_is_none_too_many_nor_is_an_absent_one(tmp_path, name):
    folder = tmp_path / name
    if name != "absent":
        folder.mkdir()
    code = "from apit.parallel import in_order; print(*in_order(abs, [-1, 2], 2, 'all', 2))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"TMPDIR": str(folder)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "1 2\n", done.stderr
