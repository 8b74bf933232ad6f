"""Jobs that need a copy of the repository of their own: faults, refactors, sounds and sizes."""

import json
import re
import shutil

import pandas as pd
import pytest
from archives import archive_of, served
from repositories import call, copy_of_the_repository, jobs, planned, snakemake
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
    code, printed = snakemake(folder, "tables")
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


@pytest.mark.slow
def test_seeds_are_added_until_claims_are_decided(tmp_path):
    """Two claims: one that no number of seeds decides here, and one that is decided at once."""
    folder = copy_of_the_repository(tmp_path)
    config = folder / "configs" / "tiny.yaml"
    config.write_text(
        config.read_text()
        .replace("[pit, ctx-stft-i3-m]", "[ctx-stft-i3-m, ctx-wave-i3-m]")
        .replace("seeds: [0]", "seeds: until decided")
    )
    contrast = "measure: si_snr_i, margin: {}, contrasts: [{{experiment: {}, baseline: mixture}}]"
    (folder / "configs" / "claims.yaml").write_text(
        f"- {{claim: unclear, {contrast.format(0.001, 'ctx-stft-i3-m')}}}\n"
        f"- {{claim: clear, test: noninferior, {contrast.format(90, 'ctx-wave-i3-m')}}}\n"
    )
    code, printed = planned(folder, "--cores", "2", "--config", "scale=tiny")
    assert code == 0, printed
    assert re.search(r"^train +6$", printed, re.MULTILINE)  # three seeds of each, and then a look
    code, printed = snakemake(folder, "tables")
    assert code == 0, printed
    results = folder / "results" / "tiny"
    seeds = {run.name for run in (results / "scores").iterdir()}
    assert {"ctx-stft-i3-m-s5", "ctx-wave-i3-m-s2"} <= seeds
    assert "ctx-wave-i3-m-s3" not in seeds
    (look,) = (results / "look").glob("*/look.json")
    assert json.loads(look.read_text()) == {"undecided": ["ctx-stft-i3-m"]}
    decided = pd.read_csv(results / "tables" / "verdicts.csv", keep_default_na=False)
    rows = decided.set_index("claim")
    assert (rows.loc["clear", "verdict"], rows.loc["clear", "look"]) == ("reproduced", "1")
    assert (rows.loc["unclear", "seeds"], rows.loc["unclear", "look"]) == ("6", "2")
    ablations = pd.read_csv(results / "tables" / "seeds.csv")
    assert ablations[ablations["experiment"] == "ctx-stft-i3-m"]["seed"].nunique() == 6
    code, printed = snakemake(folder, "tables")
    assert "Nothing to be done" in printed
    shutil.rmtree(results / "weights")  # as in a clone
    assert jobs(folder, "tiny", "tables") == {}


@pytest.fixture(scope="module")
def with_forks(tmp_path_factory):
    """A repository with the runs of a scale that has a fork, and the same on other batches."""
    folder = copy_of_the_repository(tmp_path_factory.mktemp("forks") / "repository")
    config = folder / "configs" / "tiny.yaml"
    listed = "[fork-pit, pit, fork-pit-aa]"
    config.write_text(config.read_text().replace("[pit, ctx-stft-i3-m]", listed))
    code, printed = snakemake(folder, "runs")
    assert code == 0, printed
    return folder


def made_in(folder, pattern):
    """What alone stands under such a name in the results of tiny."""
    (path,) = (folder / "results" / "tiny").glob(pattern)
    return path


def test_a_run_and_its_forks_are_made_in_one_workflow(with_forks):
    assert jobs(with_forks, "tiny", "runs") == {}
    parent = made_in(with_forks, "runs/pit-s0/*")
    assert made_in(with_forks, "weights/*/*.end.pt").name == f"{parent.name}.end.pt"
    names = ("pit", "fork-pit", "fork-pit-aa")
    weights = [made_in(with_forks, f"weights/{name}-s0/*.safetensors") for name in names]
    assert len({path.read_bytes() for path in weights}) == 3
    for name in names[1:]:
        record = json.loads((made_in(with_forks, f"runs/{name}-s0/*") / "record.json").read_text())
        assert record["start"] == str(parent.relative_to(with_forks))


def test_a_run_is_trained_again_for_the_sake_of_a_new_fork_and_stays_what_it_was(
    with_forks, tmp_path
):
    folder = shutil.copytree(with_forks, tmp_path / "repository", symlinks=True)
    record, fork = (made_in(folder, f"runs/{p}-s0/*") for p in ("pit", "fork-pit-aa"))
    kept, history = (record / "record.json").read_bytes(), (fork / "history.csv").read_bytes()
    made_in(folder, "weights/*/*.end.pt").unlink()
    shutil.rmtree(folder / "work")
    assert jobs(folder, "tiny", "runs") == {}  # nothing needs its last checkpoint
    shutil.rmtree(fork)
    assert jobs(folder, "tiny", "runs") == {"end": 1, "train": 1}
    code, printed = snakemake(folder, "runs")
    assert code == 0, printed
    assert (record / "record.json").read_bytes() == kept
    assert (fork / "history.csv").read_bytes() == history
    assert not list((folder / "work" / "tiny").glob("*-again"))


def test_in_a_clone_without_weights_neither_a_run_nor_its_forks_are_trained(with_forks, tmp_path):
    folder = shutil.copytree(with_forks, tmp_path / "repository", symlinks=True)
    for name in ("work", "data", "results/tiny/weights", ".snakemake"):
        shutil.rmtree(folder / name)
    assert jobs(folder, "tiny", "runs") == {}
    anew = {"bank": 1, "mix": 1, "pack": 1, "end": 1}
    code, printed = planned(folder, "runs", "--config", "scale=tiny", "train_absent=true")
    assert code == 0, printed
    for rule, count in (anew | {"train": 3}).items():
        assert re.search(rf"^{rule} +{count}$", printed, re.MULTILINE)
    shutil.rmtree(folder / "results" / "tiny" / "runs" / "fork-pit-aa-s0")
    assert jobs(folder, "tiny", "runs") == anew | {"train": 1}


def test_a_fork_without_its_parent_is_refused(with_forks):
    code, printed = planned(with_forks, "--config", "scale=tiny", "set='experiments=[fork-pit]'")
    assert code != 0
    assert "fork-pit-s0 starts from the end of pit-s0, which is no run of tiny: list pit" in printed
