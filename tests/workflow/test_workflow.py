"""The whole job by Snakemake itself, at a tiny scale, in a copy of the repository."""

import fcntl
import json
import os
import re
import shlex
import shutil
import zipfile

import pandas as pd
import pytest
from repositories import (
    REPOSITORY,
    call,
    copy_of_the_repository,
    jobs,
    planned,
    snakemake,
    snakemake_as,
)
from ruamel.yaml import YAML

from apit.config import IDEAL, ORACLES, TRIVIAL
from apit.layers import experiment_names, load_scale

DRAWN = ("tables", "figures", "spectrograms", "listen", "report")


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
        "ctx-stft-i3-m",
        *IDEAL,
    ]
    bss_eval = pd.read_csv(results / "tables" / "bss_eval.csv")
    assert list(bss_eval["experiment"].unique()) == list(table["experiment"].unique())
    assert bss_eval.set_index(["experiment", "aggregate"])["n"]["pit", "sdr/2-4"] > 0
    decisions = pd.read_csv(results / "tables" / "verdicts.csv", keep_default_na=False)
    assert set(decisions["verdict"]) == {"undecided"}  # one seed
    markdown = (results / "tables" / "ablations.md").read_text()
    assert "Scale tiny" in markdown
    assert "over mixtures" in markdown
    assert r"\toprule" in (results / "tables" / "ablations.tex").read_text()
    for figure in ("figures/training", "figures/holes", "figures/spectrograms/spectrograms"):
        for suffix, magic in (("png", b"\x89PNG"), ("pdf", b"%PDF")):
            assert (results / f"{figure}.{suffix}").read_bytes().startswith(magic)
    (path,) = (results / "runs" / "pit-s0").glob("*/record.json")
    assert json.loads(path.read_text())["run"]["scale"] == "tiny"
    assert "ctx-stft-i3-m-s0 (of the adversarial" in (results / "listen" / "index.html").read_text()


def test_a_second_run_has_nothing_to_do(finished):
    code, printed = snakemake(finished)
    assert code == 0
    assert "Nothing to be done" in printed


def test_a_new_ablation_is_one_entry_and_trains_itself_alone(finished, tmp_path):
    config = finished / "configs" / "tiny.yaml"
    entries = finished / "configs" / "experiments.yaml"
    kept = config.read_text(), entries.read_text()
    alone = dict.fromkeys(("train", "evaluate", *DRAWN), 1)
    try:
        with entries.open("a") as file:
            file.write("mine: {reconstruction: si_snr}\n")
        config.write_text(kept[0].replace("[pit, ctx-stft-i3-m]", "[pit, ctx-stft-i3-m, mine]"))
        assert jobs(finished) == alone
        config.write_text(kept[0].replace("stft: {channels: [4, 4]", "stft: {channels: [4, 5]"))
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
    assert jobs(finished) == {}


SCORED = {"evaluate": 2 + len(ORACLES)} | dict.fromkeys(DRAWN, 1)
TRAINED = {"train": 2, "evaluate": 2} | dict.fromkeys(DRAWN, 1)


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        ("present/gallery.py", '"font.size": 7', '"font.size": 8', dict.fromkeys(DRAWN[1:], 1)),
        ("present/tables.py", '"MSi(all)"', '"MSi (all)"',
         {"tables": 1, "figures": 1, "spectrograms": 1, "report": 1}),
        ("present/report.py", "\n\n\n", "\n\nFLAG = 1\n\n\n", {"report": 1}),
        ("present/listening.html", "Blind", "blind", {"listen": 1}),
        ("measure/systems.py", "\n\n\n", "\n\nFLAG = 1\n\n\n", SCORED),
        ("losses/adversarial.py", "\n\n\n", "\n\nFLAG = 1\n\n\n",
         dict.fromkeys(TRAINED, 1)),
        ("training/log.py", "\n\n\n", "\n\nFLAG = 1\n\n\n", {}),
        ("training/step.py", "\n\n\n", "\n\nFLAG = 1\n\n\n", TRAINED),
        ("training/step.py", '"""', '"""Documented. ', {}),
        ("training/step.py", "\n\n\n", "\n\n# A reason.\n\n\n", {}),
        ("training/devices.py", "\n\n\n", "\n\nFLAG = 1\n\n\n", {}),
        ("progress.py", "\n\n\n", "\n\nFLAG = 1\n\n\n", {}),
    ],
)  # fmt: skip
def test_an_edit_of_the_code_makes_anew_what_it_changes_and_nothing_else(
    finished, file, old, new, expected
):
    path = finished / "src" / "apit" / file
    kept = path.read_text()
    assert old in kept
    path.write_text(kept.replace(old, new, 1))
    try:
        assert jobs(finished) == expected
    finally:
        path.write_text(kept)


def test_what_snakemake_knows_of_runs_and_scores_is_of_no_matter(finished):
    """Neither dates nor what it noted of earlier jobs: what stands under its name is valid."""
    for path in (finished / "data" / "tiny").rglob("*.i16"):
        path.touch()
    for path in (finished / "results" / "tiny" / "weights").rglob("*.safetensors"):
        path.touch()
    notes = finished / ".snakemake" / "metadata"
    notes.rename(finished / "notes")
    try:
        assert not {"train", "evaluate", "bank", "mix", "pack"} & jobs(finished).keys()
    finally:
        shutil.rmtree(notes, ignore_errors=True)
        (finished / "notes").rename(notes)


def test_without_data_a_new_run_makes_them_and_those_that_are_finished_stay(finished):
    data = finished / "data" / "tiny"
    data.rename(finished / "elsewhere")
    config = finished / "configs" / "tiny.yaml"
    kept = config.read_text()
    try:
        assert jobs(finished) == {}
        config.write_text(kept.replace("[pit, ctx-stft-i3-m]", "[pit, ctx-stft-i3-m, ctx-all]"))
        assert jobs(finished) == {
            **dict.fromkeys(("bank", "mix", "pack", "train", "evaluate", *DRAWN), 1)
        }
    finally:
        config.write_text(kept)
        (finished / "elsewhere").rename(data)


def test_an_edit_of_the_report_s_text_sets_it_anew(finished):
    path = finished / "paper" / "report.typ"
    kept = path.read_text()
    path.write_text(kept + "One more sentence.\n")
    try:
        assert jobs(finished) == {"report": 1}
    finally:
        path.write_text(kept)


def test_a_setting_for_all_commands_has_results_of_its_own_if_it_matters_to_any(finished):
    asked = ("--cores", "2", "runs", "--config", "scale=tiny")
    code, printed = planned(finished, *asked, "set=evaluation.resamples=50")
    assert code == 0, printed
    assert "Nothing to be done" in printed
    code, printed = planned(finished, *asked, "set=training.steps=3 seeds=[0,1]")
    assert code == 0, printed
    assert re.search(r"^train +4$", printed, re.MULTILINE)
    assert "bank" not in re.findall(r"^(\w+) +\d+$", printed, re.MULTILINE)
    code, printed = planned(finished, *asked[:2], *asked[3:], "set=evaluation.resamples=50")
    rules = set(re.findall(r"^(\w+) +1$", printed, re.MULTILINE))
    assert rules == {"tables", "figures", "report", "all"}
    code, printed = planned(
        finished, "--cores", "2", "--config", "scale=tiny", "set=training.steps=3 seeds=[0,1]"
    )
    assert "apit train --scale tiny --set training.steps=3 --set 'seeds=[0,1]'" in printed


def test_an_ablation_of_another_weight_trains_itself_alone(finished):
    entries = finished / "configs" / "experiments.yaml"
    kept = entries.read_text()
    entry = next(line for line in kept.splitlines() if line.startswith("ctx-stft-i3-m:"))
    entries.write_text(kept.replace(entry, entry.replace("replace: 3", "replace: 3, weight: 0.1")))
    try:
        assert jobs(finished) == dict.fromkeys(("train", "evaluate", *DRAWN), 1)
    finally:
        entries.write_text(kept)


@pytest.mark.slow
def test_trials_are_short_runs_on_request_of_which_records_remain(finished):
    config = finished / "configs" / "tiny.yaml"
    kept = config.read_text()
    trials = finished / "results" / "tiny" / "trials"
    axes = "{training.learning_rate: [1e-3], training.batch_size: [2, 4]}"
    grid = f"tuning: {{grid: {axes}, steps: 2, seed: 9}}\n"
    try:
        config.write_text(kept + grid)
        assert jobs(finished) == {}
        code, printed = planned(finished, "trials", "--config", "scale=tiny")
        assert code == 0, printed
        assert re.search(r"^trial +4$", printed, re.MULTILINE)
        wanted = re.search(r"results/tiny/trials/ctx-stft-i3-m-0.001-4/\w+/record.json", printed)
        code, printed = snakemake(finished, wanted[0])
        assert code == 0, printed
        one = finished / wanted[0].removesuffix("/record.json")
        trial = json.loads((one / "record.json").read_text())["run"]
        training = trial["training"]
        assert (trial["seed"], training["learning_rate"], training["batch_size"]) == (9, 1e-3, 4)
        assert training["steps"] == 2
        assert {path.name for path in one.iterdir()} == {
            "record.json",
            "history.csv",
            "identity.json",
        }
        assert jobs(finished) == {"tables": 1, "report": 1}
    finally:
        config.write_text(kept)
        shutil.rmtree(trials, ignore_errors=True)


@pytest.mark.slow
def test_what_a_step_costs_is_timed_on_request_and_stands_in_tables_from_then_on(finished):
    results = finished / "results" / "tiny"
    try:
        code, printed = snakemake(finished, "cost")
        assert code == 0, printed
        assert jobs(finished) == {"tables": 1, "report": 1}
        code, printed = snakemake(finished, "tables")
        assert code == 0, printed
        cost = pd.read_csv(results / "tables" / "cost.csv")
        assert cost["experiment"].tolist() == ["pit", "ctx-stft-i3-m"]
        assert cost["relative"].tolist()[0] == 1
    finally:
        (results / "cost.csv").unlink(missing_ok=True)


def test_two_at_once_are_one_and_a_message(finished):
    (finished / "results" / "tiny" / "report.pdf").unlink()
    with (finished / ".snakemake" / "alone.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        code, printed = snakemake(finished)
        assert code != 0
        assert "another snakemake works in this folder: wait for it or stop it" in printed
    code, printed = snakemake(finished)
    assert code == 0, printed


def test_tables_and_figures_lead_back_to_their_data(finished):
    for made in (
        "tables/ablations.csv",
        "figures/holes.pdf",
        "figures/spectrograms/spectrograms.png",
        "listen/index.html",
        "report.pdf",
    ):
        code, printed = call(finished, "apit", "trace", f"results/tiny/{made}")
        assert code == 0, printed
        assert "IS ANOTHER" not in printed
        for expected in ("made at commit", "apit ", "run pit-s0", "run ctx-stft-i3-m-s0", "sha256 ",
                         "sounds: procedural sounds", "data_sha256: ", "hardware: "):  # fmt: skip
            assert expected in printed
    (scores,) = (finished / "results" / "tiny" / "scores" / "pit-s0").glob("*/scores.csv")
    kept = scores.read_bytes()
    scores.write_bytes(kept + b" ")
    _, printed = call(finished, "apit", "trace", "results/tiny/tables/ablations.csv")
    assert re.search(r"scores\.csv  sha256 \w+  \(IS ANOTHER FILE NOW\)", printed)
    code, printed = call(finished, "apit", "status", "--scale", "tiny")
    assert code == 2
    assert re.search(r"tables: is of another \S+/pit-s0/\w+/scores\.csv", printed)
    scores.write_bytes(kept)
    code, printed = call(finished, "apit", "status", "--scale", "tiny")
    assert code == 0, printed
    code, printed = call(finished, "apit", "trace", "results/tiny/runs")
    assert code == 2


def test_snakemake_reports_tables_and_figures(finished):
    code, printed = snakemake_as(finished, "--report", "report.zip", "--config", "scale=tiny")
    assert code == 0, printed
    with zipfile.ZipFile(finished / "report.zip") as archive:
        names = {name.rpartition("/")[2] for name in archive.namelist()}
    assert {
        "report.html",
        "ablations.csv",
        "verdicts.csv",
        "holes.png",
        "spectrograms.png",
        "report.pdf",
    } <= names


@pytest.mark.parametrize("scale", ["smoke", "mini"])
def test_the_shipped_scales_plan(finished, scale):
    planned = jobs(finished, scale)
    assert planned["train"] == planned["evaluate"] - len(ORACLES) >= 4
    assert planned["mix"] == 1


def test_the_paper_scale_plans_everything_from_the_download_to_the_figures(finished):
    runs = 3 * sum(not name.startswith("fork-") for name in experiment_names())
    runs += 3  # of pit, against itself
    assert jobs(finished, "paper") == {
        "fetch": 1,
        "train": runs,
        "evaluate": runs + len(ORACLES),
        **dict.fromkeys(DRAWN, 1),
    }


def test_with_ones_own_clips_nothing_is_held_out_of_a_scales_packages(finished, tmp_path):
    code, printed = planned(finished, "--config", "scale=mini")
    assert code == 0
    assert "held_out" not in printed
    assert "out_of_domain.csv" in printed
    code, printed = planned(finished, "--config", "scale=mini", f"clips={tmp_path}")
    assert code == 0, printed
    assert "out_of_domain.csv" not in printed
    assert "rule fetch" not in printed
    told = set(re.findall(r"apit (\w+) --scale mini ((?:--set (?:'[^']*'|\S+) )*)", printed))
    assert {settings for _, settings in told} == {
        f"--set data.sounds.kind=folder --set 'data.sounds.folder=\"{tmp_path}\"' "
        "--set 'data.recipe.held_out=[]' "
    }
    assert {"bank", "mix", "train", "evaluate", "tables", "report"} <= {name for name, _ in told}
    (tmp_path / "another.wav").touch()
    code, other = planned(finished, "--config", "scale=mini", f"clips={tmp_path}")
    assert re.findall(r"bank/\w{8}", other)[0] not in printed


ODD = ("My Sounds #2", "2024", 'it\'s "$HOME" \\n `b`', "{x}: [y] 😀")


@pytest.mark.parametrize("name", [*ODD, os.fsdecode(b"caf\xe9")])
def test_folders_of_ones_own_may_have_any_name(tmp_path, name):
    folder = copy_of_the_repository(tmp_path)
    (folder / name).mkdir()
    (folder / name / "one.wav").touch()
    asked = ("--config", "scale=mini", f"clips={name}", "set='data.recipe={background_level: -30}'")
    code, printed = planned(folder, *asked)
    assert code == 0, printed
    told = re.search(r"apit bank .*(?= --jobs)", printed)[0]
    settings = [word for word in shlex.split(told) if word.startswith("data.")]
    assert settings[0] == "data.recipe={background_level: -30}"
    scale = load_scale("mini", settings)
    assert (scale.data.sounds.folder, scale.data.recipe.background_level) == (name, -30)


@pytest.mark.parametrize("name", ODD)
def test_make_hands_their_names_on_as_they_are(tmp_path, name):
    for file in ("Makefile", "params.yaml", "requirements.lock", "pyproject.toml"):
        shutil.copy(REPOSITORY / file, tmp_path)
    tools = tmp_path / ".venv" / "bin"
    tools.mkdir(parents=True)
    for tool in (tools / "snakemake", tools / "apit"):
        tool.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
        tool.chmod(0o755)
    (tmp_path / ".venv" / "ready").touch()
    _, given = call(tmp_path, "make", "-i", "reproduce", f"CLIPS={name}")
    _, exported = call(tmp_path, "make", "-i", "reproduce", CLIPS=name, ROOMS=name)
    assert f"clips={name}" in given.splitlines()
    assert {f"clips={name}", f"rooms={name}"} <= {*exported.splitlines()}


@pytest.mark.parametrize(("said", "trains"), [("false", False), ("true", True)])
def test_that_nothing_absent_is_trained_can_be_said(finished, said, trains):
    weights = finished / "results" / "tiny" / "weights"
    aside = weights.rename(finished / "aside")
    try:
        code, printed = planned(finished, "--config", "scale=tiny", f"train_absent={said}")
    finally:
        aside.rename(weights)
    assert code == 0, printed
    assert bool(re.search(r"^train +\d", printed, re.MULTILINE)) == trains


def test_every_stage_of_dvc_is_a_call_that_snakemake_takes(finished):
    stages = YAML(typ="safe").load(REPOSITORY / "dvc.yaml")["stages"]
    assert list(stages) == ["data", "runs", "scores", "paper"]
    for stage in stages.values():
        program, *arguments = stage["cmd"].replace("${item.scale}", "tiny").split()
        assert program == "snakemake"
        code, printed = planned(finished, *arguments)
        assert code == 0, printed


def test_an_unknown_scale_is_refused_with_the_nearest(finished):
    code, printed = planned(finished, "--config", "scale=tinny")
    assert code != 0
    assert "did you mean tiny?" in printed
