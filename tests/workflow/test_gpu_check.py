import time

import gpu
import pytest
import torch
from repositories import REPOSITORY, call


def test_where_no_gpu_is_it_says_so():
    code, printed = call(REPOSITORY, "python", "benchmarks/gpu.py", CUDA_VISIBLE_DEVICES="")
    assert (code, printed) == (0, "no GPU is here: nothing was checked\n")


@pytest.mark.slow
def test_every_check_has_its_row(tmp_path, monkeypatch):
    """On a CPU, at sizes of seconds: what is measured means nothing here, but that it agrees."""
    monkeypatch.setattr(gpu, "SIZE", 64)
    monkeypatch.setattr(gpu, "PARTS", (2,))
    monkeypatch.setattr(gpu, "STEPPED", ("pit",))
    monkeypatch.setattr(gpu, "SHARED", (1, 2))
    monkeypatch.setattr(gpu, "STEPS", 2)
    monkeypatch.delitem(gpu.ARITHMETIC, "bfloat16, compiled")  # minutes for a C++ compiler
    rows = list(gpu.rows("smoke", torch.device("cpu"), tmp_path, time.monotonic() + 600))
    assert [what for what, *_ in rows] == [
        "losses of a step, CUDA against CPU", "10 steps, stopped, 10 more, against 20",
        *["matrix product"] * 3, *["step of pit"] * 3, "input, one thread, in the page cache",
        *["trainings that share the card"] * 2,
    ]  # fmt: skip
    assert rows[0][-1] == "as on a CPU"
    assert rows[1][-1] == "the same bits"
    assert all("2 at once" in of for _, of, *_ in rows[5:8])
    late = list(gpu.steps("smoke", torch.device("cpu"), {}, time.monotonic()))
    assert {ratio for *_, ratio in late} == {"no time was left"}


def test_what_differs_fails(monkeypatch):
    monkeypatch.setattr(gpu, "TOLERANCE", 0.0)
    assert gpu.like_cpu(torch.device("cpu"))[-1].startswith("FAILED")
