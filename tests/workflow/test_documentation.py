"""Every command that README and docs show, run as it is written, in one clone at a tiny scale.

The scales of the clone have their own names and sounds, and the sizes of `tiny`.
"""

import re
import shlex
import shutil
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from archives import archive_of, served
from repositories import REPOSITORY, call, commit, git
from ruamel.yaml import YAML

from apit.layers import load_scale
from apit.provenance import file_digest

pytestmark = pytest.mark.slow

PROGRAMS = ("apit", "cat", "dvc", "git", "make", "pdflatex", "pre-commit", "python", "rm",
            "snakemake", "torchrun")  # fmt: skip
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "REPRODUCIBILITY.md",
             *(str(path.relative_to(REPOSITORY)) for folder in ("docs", "paper", "results")
               for path in sorted((REPOSITORY / folder).glob("*.md"))))  # fmt: skip
# What stands for something of the reader's, and what of the clone's it is here.
PLACEHOLDERS = {
    "PYTHONPATH=.": "PYTHONPATH=.:src",  # of this clone, not of the environment
    "COMMAND": "train",
    "make bench": "make bench BRIEF=--brief",
    "eval_example_list.txt --estimates DIR": "data/smoke/mixtures/*/eval_example_list.txt"
    " --estimates $(ls -d results/smoke/estimates/pit-s0/* | head -1)",
}
ELSEWHERE = {
    "make test": "CI's last step",
    "make check": "CI's first step",
    "make lock": "resolves the whole environment anew",
    "snakemake --profile profiles/slurm --config scale=paper": "test_slurm.py, on a Slurm",
}
EXPERIMENTS = ["pit", "ctx-wave-i0-m", "ctx-wave-i3-m", "ctx-stft-i0-m", "ctx-stft-i3-m"]
FEWER = ["pit", "ctx-wave-i3-m"]  # of scales whose single runs are not named
PACKAGES = load_scale("mini").data.sounds.packages


def commands(document):
    """Lines of indented and fenced blocks, and code within sentences, that start with a program."""
    text = (REPOSITORY / document).read_text()
    for fence, body in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        if fence in ("", "sh", "bash", "console"):
            yield from filter(is_command, map(str.strip, body.splitlines()))
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    for block, span in re.findall(r"^    +(.*)$|`([^`\n]+)`", text, re.MULTILINE):
        line = re.sub(r"\s+# .*", "", block).strip()
        if is_command(line) or (is_command(span) and not re.fullmatch(r"(apit|dvc) \w+", span)):
            yield line or span


def is_command(line):
    words = [word for word in line.split() if not re.fullmatch(r"[A-Z_]+=\S*", word)]
    return len(words) > 1 and words[0] in PROGRAMS and not words[1].startswith("=")


def test_commands_are_found_in_every_form():
    shown = [line for document in DOCUMENTS for line in commands(document)]
    assert "make reproduce" in shown  # in a block, with a comment
    assert "apit bank --scale smoke --output work/bank" in shown  # in a table
    assert any(line.startswith("PYTHONPATH=. apit train") for line in shown)
    assert "snakemake tables figures" in shown  # in a sentence
    assert not any("#" in line or "`" in line for line in shown)
    assert set(ELSEWHERE) <= {*shown}


def test_the_reference_has_every_key_of_the_configuration():
    page = (REPOSITORY / "docs" / "reference" / "configuration.md").read_text()
    for key, values in {
        "data.recipe.rooms.gain_db": "number",
        "data.sounds.packages[].name": "text",
        "tuning.grid": "for each name: list: integer > 0 or number > 0",
        "adversary.stft.floor_db": "number < 0 or `null`",
        "discriminators[].weight": "number > 0; left out: `1.0`",
    }.items():
        assert f"| `{key}` | {values} |" in page


def blocks(language):
    """What documents show in a language: the file that a first comment names, or none, and text."""
    for document in DOCUMENTS:
        text = (REPOSITORY / document).read_text()
        for block in re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            name = re.match(r"# ([\w/]+\.\w+)\n", block)
            yield name and name[1], block


def noise(path, seconds, rate=8000):
    path.parent.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(len(str(path)) + round(1000 * seconds))
    soundfile.write(path, generator.uniform(-0.3, 0.3, round(seconds * rate)), rate)


def recordings(folder, suffix):
    for family in "abcdef":
        for number in range(2):
            noise(folder / f"{family}_{number}.{suffix}", 0.6 + 0.01 * number + 0.001 * ord(family))


def tools_of_debian(folder):
    """An apt-get and a dpkg-deb that know the packages of `mini` alone, which hold noise."""
    folder.mkdir()
    for package in PACKAGES:
        recordings(folder / package.name / package.folder, "ogg")
        with tarfile.open(folder / f"{package.name}_1.0_all.deb", "w") as tar:
            tar.add(folder / package.name, "")
    for name, script in {
        "apt-get": f'cp {folder}/"$2"_1.0_all.deb .',
        "dpkg-deb": 'mkdir -p "$3" && tar -xf "$2" -C "$3"',
    }.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    return folder


def tiny_scales(configs, archive, address):
    """Give the shipped scales the sizes of `tiny`; their sounds stay what they are."""
    yaml = YAML(typ="safe")
    tiny = yaml.load(REPOSITORY / "tests" / "tiny.yaml") | {"experiments": EXPERIMENTS}
    fuss = {"kind": "fuss", "name": "reverberant FUSS", "bytes": archive.stat().st_size,
            "address": f"{address}/{archive.name}", "sha256": file_digest(archive)}  # fmt: skip
    mini, own = yaml.load(configs / "mini.yaml"), yaml.load(configs / "fuss-recipe.yaml")
    examples = tiny["data"]["recipe"]["examples"]
    scales = {
        "smoke": tiny,
        "mini": {
            "like": "smoke",
            "data": {
                "sounds": mini["data"]["sounds"],
                "recipe": {
                    "held_out": mini["data"]["recipe"]["held_out"],
                    "examples": examples | {"out_of_domain": 4},
                },
            },
        },
        "paper": {"like": "smoke", "data": {"sounds": fuss}},
        "smoke-all": {"like": "smoke", "tuning": yaml.load(configs / "smoke-all.yaml")["tuning"]},
        "fuss-recipe": own | {"like": "smoke"},
    }
    own["data"]["recipe"] |= {"examples": examples}
    own["data"]["recipe"] |= {"background_min_seconds": 0.5, "foreground_max_seconds": 2.0}
    for name, scale in scales.items():
        scale.get("tuning", {})["steps"] = 2
        if name != "smoke":  # a claim can be planned at mini
            scale["experiments"] = [*FEWER, *(["ctx-wave-i0-m"] if name == "mini" else [])]
        yaml.dump(scale, configs / f"{name}.yaml")


@pytest.fixture(scope="module")
def clone(tmp_path_factory, mixtures):
    """A clone of what git tracks here, with all that a reader brings; and its environment."""
    parent = tmp_path_factory.mktemp("documentation")
    folder = parent / "apit"
    tracked = git(REPOSITORY, "ls-files", "-z").split("\0")
    for name in tracked:
        if name and not re.match(r"results/[^/]+/|dvc\.lock", name):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, folder / name)
    archive = archive_of(mixtures, folder / "mine.tar.gz")
    noise(folder / "street.wav", 1.3, 44100)
    noise(folder / "kitchen.mp3", 0.9, 16000)
    recordings(folder / "path" / "to" / "recordings", "wav")
    for split in ("train", "validation", "eval"):
        recordings(folder / "fsd_data" / split, "wav")
        for name in ("background0", *(f"foreground{n}" for n in range(3))):
            noise(folder / "rir_data" / split / "room" / f"{name}.wav", 0.1)
    for name, text in blocks("python"):
        if name:
            (folder / name).write_text(text)
    with served(folder) as (address, _):
        tiny_scales(folder / "configs", archive, address)
        for name, text in dict.fromkeys(blocks("yaml")):  # README and a page may show the same
            with (folder / (name or "configs/experiments.yaml")).open("a") as file:
                file.write(f"\n{text}")
        git(folder, "init", "--quiet")
        with (folder / ".git" / "info" / "exclude").open("a") as file:
            file.write("\n".join(["*.mp3", "*.wav", "*.tar*", "*_data/", "path/", "my_*.py",
                                  "separated/", "/scores.*"]))  # fmt: skip
        commit(folder)
        call(folder, "dvc", "remote", "add", "--default", "store", str(parent / "remote"))
        commit(folder)
        (folder / ".venv").mkdir()
        (folder / ".venv" / "ready").touch()
        tools = tools_of_debian(parent / "debian")
        yield folder, {"PATH": f"{tools}:{Path(sys.executable).parent}:/usr/bin:/bin"}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_that_is_shown_does_what_it_is_to_do(clone, document):
    folder, environment = clone
    before = DOCUMENTS[: DOCUMENTS.index(document)]
    done = {line for earlier in before for line in commands(earlier)}
    for line in dict.fromkeys(commands(document)):
        if line in ELSEWHERE or line in done:
            continue
        if line.startswith("dvc exp run -S"):  # works on what git and DVC know
            said = (folder / "params.yaml").read_text()
            (folder / "params.yaml").write_text(line.split()[-1].replace("=", ": ") + "\n")
            call(folder, "dvc", "commit", "--force", **environment)
            (folder / "params.yaml").write_text(said)
            commit(folder)
        if line == "make restore":  # brings nothing over what was not saved
            call(folder, "dvc", "commit", "--force", **environment)
        command = line
        for placeholder, meant in PLACEHOLDERS.items():
            command = command.replace(placeholder, meant)
        began = time.monotonic()
        code, printed = call(folder, "bash", "-c", command, **environment)
        print(f"{time.monotonic() - began:6.1f} s  {line}")
        assert code == 0, f"{document}: {line}\n{shlex.quote(command)}\n{printed[-5000:]}"
        if line.startswith("dvc exp run -S"):  # and back again, as README says
            git(folder, "checkout", "params.yaml")
            call(folder, "dvc", "checkout", **environment)
