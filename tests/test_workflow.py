"""The whole job by Snakemake itself, at a tiny scale, in a copy of the repository."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from archives import archive_of, served
from ruamel.yaml import YAML

from apit.config import IDEAL, ORACLES, TRIVIAL
from apit.data.bank import make_bank
from apit.data.mixtures import mix
from apit.layers import experiment_names, load_scale
from apit.provenance import file_digest

REPOSITORY = Path(__file__).parent.parent
PARTS = ("Snakefile", "params.yaml", "workflow", "configs", "profiles", "src", "pyproject.toml")


def copy_of_the_repository(folder):
    folder.mkdir(exist_ok=True)
    for name in PARTS:
        source = REPOSITORY / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name)
    shutil.copy(REPOSITORY / "tests" / "tiny.yaml", folder / "configs")
    return folder


def snakemake(folder, *arguments, scale="tiny"):
    return snakemake_as(folder, "--cores", "2", *arguments, "--config", f"scale={scale}")


def snakemake_as(folder, *arguments):
    printed = subprocess.run(
        [Path(sys.executable).parent / "snakemake", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(folder / "src")},
    )
    return printed.returncode, printed.stdout + printed.stderr


def jobs(folder, scale="tiny"):
    """What a dry run would do: rule → number of jobs."""
    code, printed = snakemake(folder, "--dry-run", scale=scale)
    assert code == 0, printed
    counts = dict(re.findall(r"^(\w+) +(\d+)$", printed, re.MULTILINE))
    return {rule: int(n) for rule, n in counts.items() if rule not in ("total", "all")}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = copy_of_the_repository(tmp_path_factory.mktemp("repository"))
    code, printed = snakemake(folder, "--resources", "gpu=4")
    assert code == 0, printed
    return folder


def test_the_main_job_makes_the_tables_and_the_figures(finished):
    results = finished / "results" / "tiny"
    table = pd.read_csv(results / "tables" / "ablations.csv")
    assert list(table["experiment"].unique()) == [
        *TRIVIAL,
        "pit",
        "ctx-stft-i1",
        *IDEAL,
    ]
    bss_eval = pd.read_csv(results / "tables" / "bss_eval.csv")
    assert list(bss_eval["experiment"].unique()) == list(table["experiment"].unique())
    assert bss_eval.set_index(["experiment", "aggregate"])["n"]["pit", "sdr/2-4"] > 0
    decisions = pd.read_csv(results / "tables" / "verdicts.csv", keep_default_na=False)
    assert set(decisions["verdict"]) == {"undecided", ""}  # one seed
    markdown = (results / "tables" / "ablations.md").read_text()
    assert "Scale tiny" in markdown
    assert "over mixtures" in markdown
    assert r"\toprule" in (results / "tables" / "ablations.tex").read_text()
    for figure in ("training", "improvement", "holes", "spectrograms"):
        for suffix, magic in (("png", b"\x89PNG"), ("pdf", b"%PDF")):
            assert (results / "figures" / f"{figure}.{suffix}").read_bytes().startswith(magic)
    record = json.loads((results / "runs" / "pit-s0" / "record.json").read_text())
    assert record["run"]["scale"] == "tiny"


def test_a_second_run_has_nothing_to_do(finished):
    code, printed = snakemake(finished)
    assert code == 0
    assert "Nothing to be done" in printed


def test_a_new_ablation_is_one_entry_and_trains_itself_alone(finished, tmp_path):
    config = finished / "configs" / "tiny.yaml"
    entries = finished / "configs" / "experiments.yaml"
    kept = config.read_text(), entries.read_text()
    alone = dict.fromkeys(("train", "evaluate", "bss_eval", "tables", "figures"), 1)
    try:
        with entries.open("a") as file:
            file.write("mine: {reconstruction: si_snr}\n")
        config.write_text(kept[0].replace("[pit, ctx-stft-i1]", "[pit, ctx-stft-i1, mine]"))
        assert jobs(finished) == alone
        config.write_text(kept[0].replace("weight: 0.5", "weight: 0.7"))
        assert jobs(finished) == alone
        config.write_text(kept[0].replace("seeds: [0]", "seeds: [0, 1]"))
        assert jobs(finished)["train"] == 2
        config.write_text(kept[0].replace("seed: 0", "seed: 7"))
        assert jobs(finished)["mix"] == 1
        config.write_text(kept[0].replace("stft: {hop: 0.016}", "stft: {hop: 0.008}"))
        assert jobs(finished)["evaluate"] == 2 + len(ORACLES)  # masks of oracles, too
    finally:
        config.write_text(kept[0])
        entries.write_text(kept[1])


@pytest.mark.parametrize("scale", ["smoke", "mini"])
def test_the_shipped_scales_plan(finished, scale):
    planned = jobs(finished, scale)
    assert planned["train"] == planned["evaluate"] - len(ORACLES) >= 4
    assert planned["mix"] == 1


def test_the_paper_scale_plans_everything_from_the_download_to_the_figures(finished):
    runs = 3 * len(experiment_names())
    assert jobs(finished, "paper") == {
        "fetch": 1,
        "train": runs,
        "evaluate": runs + len(ORACLES),
        "bss_eval": runs + len(ORACLES),
        "tables": 1,
        "figures": 1,
    }


@pytest.mark.parametrize("scale", ["smoke", "paper"])
def test_every_stage_of_dvc_is_a_call_that_snakemake_takes(finished, scale):
    stages = YAML(typ="safe").load(REPOSITORY / "dvc.yaml")["stages"]
    assert list(stages) == ["data", "runs", "scores", "paper"]
    for stage in stages.values():
        program, *arguments = stage["cmd"].replace("${item.scale}", scale).split()
        assert program == "snakemake"
        code, printed = snakemake_as(finished, *arguments, "--dry-run")
        assert code == 0, printed


def test_an_unknown_scale_is_refused_with_the_nearest(finished):
    code, printed = snakemake(finished, scale="tinny")
    assert code != 0
    assert "did you mean tiny?" in printed


def test_a_failed_rule_shows_its_log(tmp_path):
    folder = copy_of_the_repository(tmp_path)
    config = folder / "configs" / "tiny.yaml"
    config.write_text(
        config.read_text().replace("background_min_seconds: 0.5", "background_min_seconds: 9")
    )
    code, printed = snakemake(folder)
    assert code != 0
    assert "lower data.recipe.background_min_seconds" in printed


@pytest.mark.slow
def test_recordings_from_a_package_go_the_whole_way(tmp_path):
    folder = copy_of_the_repository(tmp_path)
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    config = folder / "configs" / "tiny.yaml"
    text = config.read_text()
    text = text.replace(
        "{kind: procedural, clips_per_family: 4}",
        "{kind: packages, packages: [{name: sonic-pi-samples, licence: CC0-1.0, "
        "folder: usr/share/sonic-pi/samples}]}",
    )
    config.write_text(text)
    code, printed = snakemake(folder)
    assert code == 0, printed
    clips = pd.read_csv(folder / "data" / "tiny" / "bank" / "clips.csv")
    assert len(clips) > 150
    assert clips["left_out"].notna().sum() < 20
    assert set(clips["licence"].dropna()) == {"CC0-1.0"}
    sounds = (folder / "data" / "tiny" / "packed" / "sounds.txt").read_text()
    assert re.fullmatch(r"recordings of sonic-pi-samples \S+ \(sha256 [0-9a-f]{64}\)\n", sounds)
    table = (folder / "results" / "tiny" / "tables" / "ablations.md").read_text()
    assert "recordings of sonic-pi-samples" in table
    assert "sha256" not in table


@pytest.mark.slow
def test_the_papers_sizes_go_the_whole_way_from_an_archive(tmp_path):
    folder = copy_of_the_repository(tmp_path / "repository")
    sounds = load_scale(
        "smoke",
        [
            "audio.sample_rate=16000",
            "audio.seconds=10.0",
            "data.sounds.clips_per_family=3",
            "data.recipe.examples={train: 3, validation: 1, eval: 2}",
            "data.recipe.foregrounds=[1, 3]",
        ],
    )
    make_bank(sounds, tmp_path / "bank", jobs=2)
    mix(sounds, tmp_path / "bank", tmp_path / "mixtures", jobs=2)
    (tmp_path / "remote").mkdir()
    archive = archive_of(tmp_path / "mixtures", tmp_path / "remote" / "FUSS_ssdata_reverb.tar.gz")
    path = folder / "configs" / "paper.yaml"
    config = YAML(typ="safe").load(path)
    with served(archive.parent) as (address, _):
        config["data"]["sounds"] |= {
            "name": "a stand-in for FUSS",
            "address": f"{address}/{archive.name}",
            "bytes": archive.stat().st_size,
            "sha256": file_digest(archive),
        }
        config["training"] |= {"steps": 2, "validate_every": 2, "log_every": 1}
        config |= {"experiments": ["pit", "multi-ctx-i1"], "seeds": [0]}
        YAML().dump(config, path)
        code, printed = snakemake(folder, scale="paper")
    assert code == 0, printed
    results = folder / "results" / "paper"
    record = json.loads((results / "runs" / "multi-ctx-i1-s0" / "record.json").read_text())
    assert record["networks"]["separator"]["parameters"] == pytest.approx(46.9e6, rel=0.05)
    assert record["run"]["audio"]["seconds"] == record["run"]["training"]["crop_seconds"] == 10
    assert "a stand-in for FUSS" in (results / "tables" / "ablations.md").read_text()
    assert (results / "figures" / "differences.png").exists()
