import os

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
