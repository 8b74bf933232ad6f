"""DVC remembers what Snakemake made: scales side by side, and clones that restore it all."""

import contextlib
import fnmatch
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


def unmodified(folder):
    """Whether DVC finds all outputs as its lock has them; stages are always called."""
    return "modified:" not in dvc(folder, "status") and "deleted:" not in dvc(folder, "status")


def test_after_snakemake_and_a_commit_dvc_has_nothing_to_do(made):
    assert unmodified(made)
    printed = dvc(made, "repro")
    assert printed.count("Nothing to be done") == len(STAGES)
    assert jobs(made) == {}
    assert git(made, "status", "--porcelain") == ""


@pytest.mark.parametrize("kind", ["symlink", "hardlink"])
def test_nothing_that_takes_time_is_planned_again_whatever_links_dvc_makes(made, tmp_path, kind):
    folder = tmp_path / "linked"
    shutil.copytree(made, folder, symlinks=True)
    dvc(folder, "config", "cache.type", kind)
    dvc(folder, "commit", "--force")
    dvc(folder, "checkout", "--relink")
    weights = next(folder.glob("results/tiny/weights/*/*.safetensors"))
    assert weights.is_symlink() if kind == "symlink" else weights.stat().st_nlink > 1
    # Hard links have the dates of the cache, by which pictures and the report are drawn again.
    again = {*jobs(folder)}
    assert again <= (set() if kind == "symlink" else {"spectrograms", "listen", "report"})
    assert unmodified(folder)


def test_git_has_what_is_small_and_dvc_the_rest(made):
    tracked = set(git(made, "ls-files", "results/tiny").split())
    for name in ("scores/pit-s0/*/scores.csv", "scores/pit-s0/*/identity.json",
                 "runs/pit-s0/*/record.json", "runs/pit-s0/*/history.csv",
                 "runs/pit-s0/*/identity.json", "tables/ablations.md",
                 "tables/origin.json"):  # fmt: skip
        assert fnmatch.filter(tracked, f"results/tiny/{name}"), name
    assert {name.split("/")[2] for name in tracked} == {"scores", "runs", "tables"}
    assert not [name for name in tracked if ".snakemake" in name]
    lock = YAML(typ="safe").load(made / "dvc.lock")
    outs = {out["path"] for stage in lock["stages"].values() for out in stage.get("outs", [])}
    results = ("runs", "weights", "scores", "estimates", "tables", "figures",
               "listen", "report.pdf", "origin.json")  # fmt: skip
    assert outs == {"data/tiny/packed", *(f"results/tiny/{name}" for name in results)}
    assert all((made / path).exists() for path in outs)
    assert not any("params" in stage for stage in lock["stages"].values())


def test_dvc_shows_metrics_and_what_changed_of_the_configuration(made):
    shown = dvc(made, "metrics", "show")
    for name in ("pit.MSi_all", "ctx-stft-i3-m.holes", "pit.1S"):
        assert name in shown
    config = made / "configs" / "tiny.yaml"
    kept = config.read_text()
    config.write_text(kept.replace("batch_size: 2", "batch_size: 4"))
    try:
        assert "training.batch_size" in dvc(made, "params", "diff")
    finally:
        config.write_text(kept)
    assert "index.html" in dvc(made, "plots", "show")


def test_a_clone_without_a_remote_draws_tables_and_figures_from_git_alone(made, tmp_path):
    clone = clone_of(made, tmp_path / "clone")
    code, printed = snakemake(clone, "tables", "figures")
    assert code == 0, printed
    assert "the weights of 2 finished runs are not here: `make restore`" in printed
    assert not (clone / "results" / "tiny" / "weights").exists()
    assert (clone / "results" / "tiny" / "figures" / "holes.png").exists()
    code, printed = snakemake(clone)  # all that there can be without weights
    assert code == 0, printed
    assert jobs(clone) == {}
    code, printed = call(clone, "apit", "compare", "--scale", "tiny")
    assert code == 0, printed
    assert re.search(r"^\d+ the same$", printed, re.MULTILINE)


def test_a_finished_run_is_never_trained_again_for_want_of_weights(made, tmp_path):
    clone = clone_of(made, tmp_path / "clone")
    for scores in (clone / "results" / "tiny" / "scores" / "pit-s0").glob("*/scores.csv"):
        scores.unlink()
    code, printed = snakemake(clone, "scores")
    assert code != 0
    assert (
        "the weights of pit-s0 are not here: make restore, or remove results/tiny/runs" in printed
    )
    shutil.rmtree(clone / "results" / "tiny" / "runs" / "pit-s0")
    assert jobs(clone, "tiny", "scores")["train"] == 1
    config = clone / "configs" / "tiny.yaml"
    config.write_text(config.read_text().replace("learning_rate: 5e-4", "learning_rate: 6e-4"))
    assert jobs(clone, "tiny", "scores")["train"] == 2


def test_a_clone_restores_everything_and_knows_that_it_is_current(made, tmp_path):
    clone = clone_of(made, tmp_path / "clone")
    dvc(clone, "pull")
    code, printed = call(clone, "snakemake", "--touch", "--forceall", "--quiet", "all")
    assert code == 0, printed
    assert jobs(clone) == {}
    assert unmodified(clone)
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
    assert unmodified(clone)


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
    (scores,) = (clone / "results" / "tiny" / "scores" / "pit-s0").glob("*/scores.csv")
    scores.write_bytes(b"another")
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
    assert (clone / "results" / "tiny" / "figures" / "holes.png").exists()


def test_make_reproduce_makes_everything_anew_that_a_clone_has_not_made(made, tmp_path):
    clone = clone_of(made, tmp_path / "clone")
    anew = ("-n", "--config", "train_absent=true")
    code, printed = call(clone, "snakemake", *anew)
    assert code == 0, printed
    for rule, count in {"train": 2, "evaluate": 7, "bank": 1, "tables": 1}.items():
        assert re.search(rf"^{rule} +{count}$", printed, re.MULTILINE)
    assert "train_absent=true" in (REPOSITORY / "Makefile").read_text()
    assert re.search("Nothing to be done", call(made, "snakemake", *anew)[1])
