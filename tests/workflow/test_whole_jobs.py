"""Jobs that need a copy of the repository of their own: faults, refactors, sounds and sizes."""

import json
import re
import shutil

import pandas as pd
import pytest
from archives import archive_of, served
from repositories import call, copy_of_the_repository, jobs, snakemake
from ruamel.yaml import YAML

from apit.data.bank import make_bank
from apit.data.mixtures import mix
from apit.layers import load_scale
from apit.provenance import file_digest


def test_an_earlier_configuration_costs_nothing_and_a_refactor_can_be_accepted(tmp_path):
    folder = copy_of_the_repository(tmp_path)
    code, printed = snakemake(folder, "runs")
    assert code == 0, printed
    path = folder / "src" / "apit" / "losses" / "permutation.py"
    kept = path.read_text()
    path.write_text(kept.replace("\n\n\n", "\n\nFLAG = 1\n\n\n", 1))
    assert jobs(folder, "tiny", "runs")["train"] == 2
    code, printed = call(folder, "apit", "status", "--scale", "tiny")
    assert code == 2
    assert printed.count("is not today's: code is") == 2
    code, printed = call(folder, "apit", "accept", "scores", "--scale", "tiny", "--why", "a name")
    assert code == 0, printed
    assert "0 results were of other code alone" in printed
    code, printed = call(folder, "apit", "accept", "run", "--scale", "tiny", "--why", "only a name")
    assert code == 0, printed
    assert "2 results were of other code alone" in printed
    assert jobs(folder, "tiny", "runs") == {}
    code, printed = call(folder, "apit", "status", "--scale", "tiny")
    assert code == 0, printed
    path.write_text(kept)
    assert jobs(folder, "tiny", "runs")["train"] == 2  # they are another code's now


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
    (bank,), (packed,) = (
        (folder / "data" / "tiny" / k).glob("????????") for k in ("bank", "packed")
    )
    clips = pd.read_csv(bank / "clips.csv")
    assert len(clips) > 150
    assert clips["left_out"].notna().sum() < 20
    assert set(clips["licence"].dropna()) == {"CC0-1.0"}
    sounds = (packed / "sounds.txt").read_text()
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
        config["training"] |= {"batch_size": 2, "grad_accum_steps": 2}
        config |= {"experiments": ["pit", "pit-ctx-all"], "seeds": [0]}
        YAML().dump(config, path)
        code, printed = snakemake(folder, scale="paper")
    assert code == 0, printed
    results = folder / "results" / "paper"
    (path,) = (results / "runs" / "pit-ctx-all-s0").glob("*/record.json")
    record = json.loads(path.read_text())
    assert record["networks"]["separator"]["parameters"] == pytest.approx(46.9e6, rel=0.01)
    assert record["run"]["audio"]["seconds"] == record["run"]["training"]["crop_seconds"] == 10
    assert "a stand-in for FUSS" in (results / "tables" / "ablations.md").read_text()
    assert (results / "figures" / "differences.png").exists()


@pytest.fixture(scope="module")
def forked_scale(tmp_path_factory):
    """A repository whose scale tiny has a run, a fork of it, and that fork on other batches."""
    folder = copy_of_the_repository(tmp_path_factory.mktemp("forks") / "repository")
    config = folder / "configs" / "tiny.yaml"
    config.write_text(
        config.read_text().replace("[pit, ctx-stft-i3-m]", "[fork-pit, pit, fork-pit-aa]")
    )
    assert jobs(folder)["train"] == 3
    assert jobs(folder)["end"] == 1
    code, printed = snakemake(folder)
    assert code == 0, printed
    return folder


def made_in(folder, pattern):
    """What stands under the only such name in the results of tiny."""
    (path,) = (folder / "results" / "tiny").glob(pattern)
    return path


def test_a_run_and_its_forks_are_one_workflow(forked_scale):
    assert jobs(forked_scale) == {}
    code, printed = call(forked_scale, "apit", "status", "--scale", "tiny")
    assert code == 0, printed
    end = made_in(forked_scale, "weights/pit-s0/*.end.pt")
    parent = made_in(forked_scale, "runs/pit-s0/*")
    assert end.name == f"{parent.name}.end.pt"
    weights = {
        name: made_in(forked_scale, f"weights/{name}-s0/*.safetensors").read_bytes()
        for name in ("pit", "fork-pit", "fork-pit-aa")
    }
    assert len(set(weights.values())) == 3
    code, printed = call(forked_scale, "apit", "trace", "results/tiny/tables/ablations.csv")
    assert code == 0, printed
    assert printed.count(f"start: results/tiny/runs/pit-s0/{parent.name}") == 2
    said = "forked from the end of pit, to whose steps theirs are added: fork-pit, fork-pit-aa"
    assert said in (forked_scale / "results" / "tiny" / "tables" / "ablations.md").read_text()


def test_a_fork_of_a_run_whose_last_checkpoint_is_gone_trains_that_again_and_changes_nothing_of_it(
    forked_scale, tmp_path
):
    folder = shutil.copytree(forked_scale, tmp_path / "repository", symlinks=True)
    end, aa = (made_in(folder, p) for p in ("weights/pit-s0/*.end.pt", "runs/fork-pit-aa-s0/*"))
    kept = made_in(folder, "runs/pit-s0/*/record.json")
    record, history = kept.read_bytes(), (aa / "history.csv").read_bytes()
    shutil.rmtree(folder / "work")
    end.unlink()
    assert jobs(folder) == {}  # for want of that alone, nothing is to be done
    shutil.rmtree(aa)
    assert jobs(folder, "tiny", "runs") == {"end": 1, "train": 1}
    code, printed = snakemake(folder, "runs")
    assert code == 0, printed
    assert kept.read_bytes() == record
    assert (aa / "history.csv").read_bytes() == history
    assert not list((folder / "work" / "tiny").glob("*-again"))


def test_a_clone_that_has_no_weights_trains_neither_a_run_nor_its_forks(forked_scale, tmp_path):
    folder = shutil.copytree(forked_scale, tmp_path / "repository", symlinks=True)
    for name in ("work", "data", "results/tiny/weights", "results/tiny/estimates", ".snakemake"):
        shutil.rmtree(folder / name)
    assert not {"train", "end", "evaluate", "mix"} & jobs(folder).keys()
    code, printed = call(folder, "snakemake", "-n", "--config", "train_absent=true")
    assert code == 0, printed
    for rule, count in {"train": 3, "end": 1, "evaluate": 8}.items():
        assert re.search(rf"^{rule} +{count}$", printed, re.MULTILINE)
    shutil.rmtree(folder / "results" / "tiny" / "runs" / "fork-pit-aa-s0")
    planned = jobs(folder, "tiny", "runs")
    assert (planned["train"], planned["end"], planned["mix"]) == (1, 1, 1)


def test_a_scale_that_lacks_a_forks_parent_is_refused(forked_scale):
    code, printed = call(
        forked_scale, "snakemake", "-n", "--config", "set='experiments=[fork-pit]'"
    )
    assert code != 0
    assert "fork-pit-s0 starts from the end of pit-s0, which is no run of tiny: list pit" in printed
