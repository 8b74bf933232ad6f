"""DVC remembers what Snakemake made: scales side by side, and clones that restore it all."""

import contextlib
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from repositories import REPOSITORY, call, commit, copy_of_the_repository, git, jobs, snakemake
from ruamel.yaml import YAML

pytestmark = pytest.mark.slow

STAGES = ("data", "runs", "scores", "paper")


def dvc(folder, *arguments):
    code, printed = call(folder, "dvc", *arguments)
    assert code == 0, printed
    return printed


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A repository with a finished job that is committed to git and DVC, and a remote."""
    folder = copy_of_the_repository(tmp_path_factory.mktemp("origin") / "repository")
    git(folder, "init", "--quiet")
    commit(folder)
    code, printed = snakemake(folder)
    assert code == 0, printed
    dvc(folder, "commit", "--force")
    dvc(folder, "remote", "add", "--default", "store", str(folder.parent / "remote"))
    dvc(folder, "push")
    commit(folder)
    return folder


def clone_of(folder, target):
    git(folder, "clone", "--quiet", ".", str(target))
    return target


def test_after_snakemake_and_a_commit_dvc_has_nothing_to_do(made):
    printed = dvc(made, "repro")
    for stage in STAGES:
        assert f"Stage '{stage}@tiny' didn't change, skipping" in printed
    assert jobs(made) == {}
    assert dvc(made, "status").split() == ["versions@tiny:", "always", "changed"]
    assert git(made, "status", "--porcelain") == ""


def test_git_has_what_is_small_and_dvc_the_rest(made):
    tracked = set(git(made, "ls-files", "results/tiny").split())
    for name in ("scores/pit-s0.csv.gz", "scores/pit-s0.summary.json", "records/pit-s0/record.json",
                 "records/pit-s0/history.csv", "tables/ablations.md", "versions.json"):  # fmt: skip
        assert f"results/tiny/{name}" in tracked
    assert not [n for n in tracked if n.split("/")[2] in ("runs", "estimates", "figures")]
    lock = YAML(typ="safe").load(made / "dvc.lock")
    outs = {out["path"] for stage in lock["stages"].values() for out in stage.get("outs", [])}
    results = (
        "runs",
        "records",
        "scores",
        "estimates",
        "tables",
        "figures",
        "report.pdf",
        "versions.json",
    )
    assert outs >= {"data/tiny/packed", *(f"results/tiny/{name}" for name in results)}
    assert all((made / path).exists() for path in outs)


def test_dvc_shows_metrics_and_what_changed_of_the_configuration(made):
    shown = dvc(made, "metrics", "show")
    for name in ("pit.MSi_all", "ctx-stft-i3-m.holes", "pit.1S"):
        assert name in shown
    config = made / "configs" / "tiny.yaml"
    kept = config.read_text()
    config.write_text(kept.replace("batch_size: 2", "batch_size: 4"))
    try:
        assert "training.batch_size" in dvc(made, "params", "diff")
        assert "changed deps" in dvc(made, "status", "runs@tiny")
    finally:
        config.write_text(kept)
    assert "index.html" in dvc(made, "plots", "show")


def test_a_clone_without_a_remote_draws_tables_and_figures_from_git_alone(made, tmp_path):
    clone = clone_of(made, tmp_path / "clone")
    code, printed = snakemake(clone, "tables", "figures")
    assert code == 0, printed
    assert "the weights of 2 finished runs are not here: `make restore`" in printed
    assert not (clone / "results" / "tiny" / "runs").exists()
    assert (clone / "results" / "tiny" / "figures" / "holes.png").exists()
    code, printed = snakemake(clone)  # all that there can be without weights
    assert code == 0, printed
    assert jobs(clone) == {}


def test_a_finished_run_is_never_trained_again_for_want_of_weights(made, tmp_path):
    clone = clone_of(made, tmp_path / "clone")
    (clone / "results" / "tiny" / "scores" / "pit-s0.csv.gz").unlink()
    code, printed = snakemake(clone, "results/tiny/scores/pit-s0.csv.gz")
    assert code != 0
    assert "the weights of pit-s0 are not here: make restore, or remove results/tiny/rec" in printed
    config = clone / "configs" / "tiny.yaml"
    config.write_text(config.read_text().replace("learning_rate: 5e-4", "learning_rate: 6e-4"))
    code, printed = snakemake(clone, "tables")
    assert code != 0
    assert "records/pit-s0 is of another configuration or other code than today's" in printed
    for run in ("pit-s0", "ctx-stft-i3-m-s0"):
        shutil.rmtree(clone / "results" / "tiny" / "records" / run)
    assert jobs(clone)["train"] == 2


def test_a_clone_restores_everything_and_knows_that_it_is_current(made, tmp_path):
    clone = clone_of(made, tmp_path / "clone")
    dvc(clone, "pull")
    code, printed = call(clone, "snakemake", "--touch", "--forceall", "--quiet", "all")
    assert code == 0, printed
    assert jobs(clone) == {}
    assert dvc(clone, "status").split() == ["versions@tiny:", "always", "changed"]
    shutil.rmtree(clone / "results" / "tiny" / "figures")
    assert jobs(clone) == {"figures": 1, "spectrograms": 1, "report": 1}
    config = clone / "configs" / "tiny.yaml"
    config.write_text(config.read_text().replace("clips_per_family: 4", "clips_per_family: 5"))
    assert jobs(clone)["bank"] == 1  # what came is not taken for another configuration's
    assert jobs(clone)["train"] == 2


def test_two_scales_stand_side_by_side_in_the_lock(made, tmp_path):
    clone = clone_of(made, tmp_path / "clone")
    dvc(clone, "pull")
    config = (clone / "configs" / "tiny.yaml").read_text()
    (clone / "configs" / "tiny2.yaml").write_text(config.replace("[pit, ctx-stft-i3-m]", "[pit]"))
    (clone / "params.yaml").write_text("scale: tiny2\n")
    printed = dvc(clone, "repro")
    assert "Running stage 'paper@tiny2'" in printed
    assert jobs(clone, "tiny2") == {}
    lock = YAML(typ="safe").load(clone / "dvc.lock")
    assert {f"{stage}@{scale}" for stage in STAGES for scale in ("tiny", "tiny2")} <= set(
        lock["stages"]
    )
    (clone / "params.yaml").write_text("scale: tiny\n")
    for stage in STAGES:
        assert f"Stage '{stage}@tiny' didn't change, skipping" in dvc(clone, "repro")


def restored(clone, **environment):
    """What `make restore` says, with the environment of these tests."""
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, clone)
    (clone / ".venv").mkdir()
    (clone / ".venv" / "ready").touch()
    code, printed = call(clone, "make", "restore", **environment)
    assert code == 0, printed
    return printed


def test_make_restore_is_one_command_and_says_what_is_amiss(made, tmp_path):
    clone = clone_of(made, tmp_path / "clone")
    assert "Restored." in restored(clone)
    assert jobs(clone) == {}
    (clone / "results" / "tiny" / "scores" / "pit-s0.csv.gz").write_bytes(b"another")
    shutil.rmtree(clone / ".venv")
    with pytest.raises(AssertionError, match=r"What came is not what dvc\.lock names"):
        restored(clone)


@pytest.fixture
def s3():
    """A server on loopback that speaks S3, with a bucket: its address and what opens it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    access = {"AWS_ACCESS_KEY_ID": "anyone", "AWS_SECRET_ACCESS_KEY": "anything"}
    access |= {"AWS_DEFAULT_REGION": "us-east-1"}
    server = subprocess.Popen(
        [Path(sys.executable).parent / "moto_server", "-p", str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        for _ in range(100):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(address)
                break
            time.sleep(0.2)
        urllib.request.urlopen(urllib.request.Request(f"{address}/store", method="PUT"))
        yield address, access
    finally:
        server.kill()
        server.wait()


def test_a_remote_may_speak_s3(made, s3, tmp_path):
    address, access = s3
    folder = clone_of(made, tmp_path / "origin")
    dvc(folder, "pull")
    dvc(folder, "remote", "add", "--default", "--force", "store", "s3://store/apit")
    dvc(folder, "remote", "modify", "store", "endpointurl", address)
    code, printed = call(folder, "dvc", "push", **access)
    assert code == 0, printed
    commit(folder)
    clone = clone_of(folder, tmp_path / "clone")
    restored(clone, **access)
    assert jobs(clone) == {}
    shutil.rmtree(clone / "results" / "tiny" / "figures")
    code, printed = snakemake(clone)
    assert code == 0, printed
    assert "rule train:" not in printed
    assert (clone / "results" / "tiny" / "figures" / "spectrograms.png").exists()


def test_make_reproduce_trains_what_is_absent_all_the_same(made, tmp_path):
    clone = clone_of(made, tmp_path / "clone")
    code, printed = call(clone, "snakemake", "-n", "--config", "train_absent=true")
    assert code == 0, printed
    assert re.search(r"^train +2$", printed, re.MULTILINE)
    assert "train_absent=true" in (REPOSITORY / "Makefile").read_text()
