import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest
from repositories import REPOSITORY, commit, git

from apit.artefacts import Artefacts
from apit.cli import COMMANDS, app, main
from apit.data import packing
from apit.identity import Identity
from apit.progress import bar
from apit.training.train import train


def run(*arguments):
    return main([*map(str, arguments)])


def test_help_tells_of_every_command_in_the_order_of_the_data(capsys):
    assert run("--help") == 0
    said = capsys.readouterr().out
    assert re.findall(r"^  (\w+)  ", said, re.MULTILINE) == [name for _, name, _ in COMMANDS]
    assert max(map(len, said.splitlines())) <= 80
    assert run() == 0
    assert capsys.readouterr().out == said


def test_it_tells_its_version(capsys):
    assert run("--version") == 0
    assert capsys.readouterr().out == f"{version('apit')}\n"


@pytest.mark.parametrize("command", [name for _, name, _ in COMMANDS])
def test_help_tells_of_every_option(command, capsys):
    assert run(command, "--help") == 0
    said = capsys.readouterr().out
    described = app[command].assemble_argument_collection(parse_docstring=True)
    for argument in described.filter_by(show=True):
        assert argument.name in said
        assert argument.parameter.help
    assert "\x1b" not in said
    assert ("Example:" in said) == (command in ("train", "score", "separate"))


def test_help_imports_nothing_large():
    code = "import sys; from apit.cli import main; main(['--help']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    large = {"torch", "numpy", "pandas", "scipy", "matplotlib", "pydantic"}
    assert not large.intersection(done.stdout.split())


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
@pytest.mark.parametrize(("asked", "code"), [("--help", 0), ("nothing", 2)])
def test_what_is_closed_hears_nothing(closed, asked, code):
    command = f"{sys.executable} -m apit {asked} {closed}"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.returncode == code
    assert bool(done.stdout) == (closed == "2>&-" and code == 0)
    assert bool(done.stderr) == (closed == ">&-" and code == 2)


def test_a_bar_without_standard_error_is_hidden(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    assert list(bar([1, 2])) == [1, 2]


def commands_that_are_shown():
    pages = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
    text = "\n".join(page.read_text() for page in pages)
    return re.findall(r"(?:`|^ {4}(?:\w+=\S+ )?|-m )apit ([a-z]+ [^`\n]+)", text, re.MULTILINE)


@pytest.mark.parametrize("command", commands_that_are_shown())
def test_every_command_that_is_shown_can_be_given(command):
    arguments = shlex.split(command, comments=True)
    called, _, _ = app.parse_args(arguments, exit_on_error=False, print_error=False)
    assert called.__name__ == arguments[0]


def test_many_values_follow_one_option_and_settings_are_repeated():
    arguments = "tables --scale s --set a=1 --scores x y --set b=2 --runs r --output t --runs q"
    _, bound, _ = app.parse_args(arguments, exit_on_error=False)
    assert [*map(str, bound.arguments["scores"])] == ["x", "y"]
    assert [*map(str, bound.arguments["runs"])] == ["r", "q"]
    assert bound.arguments["options"].settings == ("a=1", "b=2")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("trian", 'Did you mean "train"?'),
        ("pack a --output b --outptu c", "Did you mean --output?"),
        ("pack --output b", "SOURCE requires an argument"),
        ("separate --model a --output b", "FILES requires an argument"),
        ("release --runs --output b", "--runs requires at least 1"),
        ("evaluate --data a --output b", "Exactly 1 of {--run, --oracle}"),
        ("evaluate --data a --output b --run c --oracle mixture", "Exactly 1 of"),
        ("evaluate --data a --output b --oracle mixtur", 'Did you mean "mixture"?'),
    ],
)
def test_a_command_that_cannot_be_understood_is_told_in_one_line(arguments, said, capsys):
    assert run(*arguments.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"apit {arguments.split()[0]}: ")
    assert said in err
    assert err.count("\n") == 1


def full_disk(*_):
    raise OSError(28, "No space left on device")


def no_scratch_folder(*_):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/none"])
        patched.setattr(tempfile, "tempdir", None)
        tempfile.gettempdir()


@pytest.mark.parametrize(
    ("ends", "code", "said"),
    [
        (lambda *_: signal.raise_signal(signal.SIGTERM), 143, "stopped"),
        (lambda *_: signal.raise_signal(signal.SIGINT), 130, "interrupted"),
        (full_disk, 2, "here: No space left on device"),
        (no_scratch_folder, 2, "TMPDIR: No usable temporary directory found in ['/none']"),
    ],
)
def test_how_a_command_ended_is_told(ends, code, said, capsys, monkeypatch):
    monkeypatch.setattr(packing, "pack", ends)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    try:
        assert run("pack", "there", "--output", "here") == code
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err == f"apit pack: {said}\n"


@pytest.mark.parametrize("arguments", ["--help", "plan --scale smoke", "trian"])
def test_a_command_ends_quietly_where_nobody_reads_what_it_prints(arguments):
    read, write = os.pipe()
    os.close(read)
    of_errors = write if arguments == "trian" else subprocess.PIPE
    command = [sys.executable, "-m", "apit", *arguments.split()]
    done = subprocess.run(command, cwd=REPOSITORY, stdout=write, stderr=of_errors, check=False)
    os.close(write)
    assert done.returncode == 128 + signal.SIGPIPE
    assert not done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "--scale", "smok", "--experiment", "pit"], "did you mean smoke?"),
        (["train", "--scale", "tiny", "--experiment", "ptt"], "did you mean pit?"),
        (
            [
                "train",
                "--scale",
                "tiny",
                "--experiment",
                "pit",
                "--set",
                "experiment.reconstruction=none",
            ],
            "leaves nothing to learn from",
        ),
        (
            ["train", "--scale", "tiny", "--experiment", "pit", "--set", "training.stepz=1"],
            "steps?",
        ),
        (["train", "--experiment", "pit"], "--scale is missing"),
        (["evaluate", "--oracle", "mixture", "--jobs", "-1"], "Must be >= 0"),
        (["train", "--scale", "tiny", "--experiment", "pit"], "no such example list"),
    ],
)
def test_bad_input_gives_one_message_and_code_two(arguments, said, configs, tmp_path, capsys):
    places = ["--configs", configs, "--data", tmp_path, "--output", tmp_path / "run"]
    assert run(*arguments, *places) == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_corrupt_wav_stops_training_and_leaves_nothing(configs, mixtures, tmp_path, capsys):
    data = shutil.copytree(mixtures, tmp_path / "data")
    for wav in data.glob("train/*_sources/*.wav"):
        wav.write_bytes(wav.read_bytes()[:1000])
    code = main(
        ["train", "--scale", "tiny", "--experiment", "pit", "--configs", str(configs)]
        + ["--data", str(data), "--output", str(tmp_path / "out" / "run")]
    )
    assert code == 2
    assert "_sound.wav: " in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir() if (tmp_path / "out").exists() else []) == []


def test_evaluating_what_is_no_run_is_refused(configs, mixtures, tmp_path, capsys):
    code = main(
        ["evaluate", "--run", str(tmp_path), "--data", str(mixtures)]
        + ["--output", str(tmp_path / "scores")]
    )
    assert code == 2
    assert "is it a finished run" in capsys.readouterr().err


def test_there_is_nothing_to_fetch_for_procedural_sounds(configs, tmp_path, capsys):
    code = main(
        ["fetch", "--scale", "tiny", "--configs", str(configs), "--output", str(tmp_path / "clips")]
    )
    assert code == 2
    assert "nothing to fetch" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "text"),
    [("record.json", "{}"), ("record.json", "not JSON"), ("model.safetensors", "no weights")],
)
def test_a_damaged_run_is_told_to_be_trained_again(mixtures, tiny, tmp_path, capsys, name, text):
    train(tiny("pit", "training.steps=1"), mixtures, tmp_path / "run")
    (tmp_path / "run" / name).write_text(text)
    code = main(
        ["evaluate", "--run", str(tmp_path / "run"), "--data", str(mixtures)]
        + ["--output", str(tmp_path / "scores")]
    )
    assert code == 2
    assert "train it again" in capsys.readouterr().err
    assert not (tmp_path / "scores").exists()


def test_scores_are_a_folder_and_tables_and_figures_are_made_of_such(
    mixtures, tiny, configs, tmp_path, capsys
):
    folder, kept = tmp_path / "scores", tmp_path / "estimates"
    train(tiny("pit", "training.steps=1"), mixtures, tmp_path / "run")
    scored = ["evaluate", "--configs", configs, "--data", mixtures, "--jobs", 1]
    assert run(*scored, "--run", tmp_path / "run", "--output", folder, "--estimates", kept) == 0
    assert sorted(path.name for path in folder.iterdir()) == [
        *("bss_eval.csv", "identity.json", "scores.csv")
    ]
    assert len(list(kept.glob("example*/source0.wav"))) == 8
    assert Identity.read(folder) == Identity.read(kept)
    assert list(Identity.read(folder).inputs) == ["data", "run"]
    oracle = tmp_path / "oracle"
    of_oracle = ["--oracle", "mixture", "--scale", "tiny", "--first", 2]
    assert run(*scored, *of_oracle, "--output", oracle) == 0
    assert Identity.read(oracle).configuration["first"] == 2
    shown = [
        "--scale",
        "tiny",
        "--configs",
        configs,
        "--scores",
        folder,
        "--runs",
        tmp_path / "run",
    ]
    assert run("tables", *shown, "--output", tmp_path / "tables") == 0
    assert run("figures", *shown, "--output", tmp_path / "figures") == 0
    commands = [
        [*map(str, command)]
        for command in (
            ["tables", *shown, "--output", tmp_path / "narrow"],
            ["trace", tmp_path / "narrow" / "ablations.md"],
            ["--help"],
        )
    ]
    code = f"from apit.cli import main; print([main(c) for c in {commands!r}])"
    narrow = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | narrow | {"PYTHONIOENCODING": "latin-1"},
        capture_output=True,
        encoding="latin-1",
        check=False,
    )
    assert done.stdout.endswith("[0, 0, 0]\n"), done.stderr
    for name in ("ablations.md", "ablations.tex", "seeds.csv"):
        one, other = (tmp_path / folder / name for folder in ("tables", "narrow"))
        assert one.read_bytes() == other.read_bytes()
    for name in ("tables/ablations.csv", "tables/bss_eval.csv", "tables/seeds.csv"):
        assert (tmp_path / name).exists()
    assert (tmp_path / "figures" / "holes.pdf").exists()
    capsys.readouterr()
    assert run("trace", tmp_path / "tables" / "ablations.csv") == 0
    assert f"{folder / 'scores.csv'}  sha256 " in capsys.readouterr().out


@pytest.fixture
def older(configs, tmp_path, monkeypatch):
    """A run of other code at the scale tiny, in a working folder of its own; and its options."""
    monkeypatch.chdir(tmp_path)
    path = "results/tiny/runs/pit-s0"
    identity = replace(Artefacts("tiny", (), configs).identities[path], code="0123")
    folder = Path(path, identity.id)
    folder.mkdir(parents=True)
    identity.write(folder)
    return folder, ["--scale", "tiny", "--configs", configs]


def test_what_is_of_other_code_is_told_and_can_be_accepted_or_removed(older, configs, capsys):
    folder, scale = older
    now = Path(Artefacts("tiny", (), configs).at("results/tiny/runs/pit-s0"))
    assert run("status", *scale) == 2
    said = capsys.readouterr().err
    assert re.search(rf"{folder}: is not today's: code is '\w+' and was '0123'", said)
    assert "apit accept --help" in said
    assert run("accept", "run", *scale) == 2
    assert "--why" in capsys.readouterr().err
    assert run("accept", "run", *scale, "--why", "a name was changed") == 0
    assert capsys.readouterr().out.splitlines() == [
        str(now), "1 results were of other code alone, and are today's now",
    ]  # fmt: skip
    (note,) = Identity.read(now).accepted
    assert (note["code"], note["why"]) == ("0123", "a name was changed")
    assert {"by", "date", "id"} < note.keys()
    assert run("status", *scale) == 0
    assert "tiny: all that is here is of today's" in capsys.readouterr().out
    assert run("status", "--configs", configs) == 0  # of all that have results
    changed = ["--set", "training.steps=3"]
    assert run("status", *scale, *changed) == 2
    assert f"{now}: is not today's: training.steps is 3 and was 4" in capsys.readouterr().err
    assert run("accept", "run", *scale, *changed, "--why", "it is about the same") == 0
    assert "0 results were" in capsys.readouterr().out
    assert run("status", "--remove", *scale, *changed) == 0
    assert f"{now}: removed (training.steps is 3 and was 4)" in capsys.readouterr().out
    assert not now.exists()


def test_tables_are_compared_with_those_that_git_has(configs, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    scale = ["--scale", "tiny", "--configs", configs]
    table = tmp_path / "results" / "tiny" / "tables" / "seeds.csv"
    assert run("compare", *scale) == 2
    assert "seeds.csv: is not here; `snakemake tables` makes it" in capsys.readouterr().err
    table.parent.mkdir(parents=True)
    lines = "experiment,seed,aggregate,mean\npit,0,si_snr_i,8\npit,1,si_snr_i,9\n"
    table.write_text(lines + "mixture,0,si_snr_i,0\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "commit", "--quiet", "--allow-empty", "--message", "…")
    assert run("compare", *scale) == 0
    assert "git has no results/tiny/tables/seeds.csv" in capsys.readouterr().out
    commit(tmp_path)
    assert run("compare", *scale) == 0
    assert capsys.readouterr().out.endswith("2 the same\n")
    table.write_text(lines.replace(",9", ",9.5") + "mixture,0,si_snr_i,1\n")
    assert run("compare", *scale) == 2
    out, err = capsys.readouterr()
    assert "1 within the noise between seeds" in out
    assert re.search(r"pit +si_snr_i +8\.50 +8\.75 +[\d.]+ within the noise", out)
    assert "1 of 2 lines differ from those of HEAD" in err
    assert run("compare", *scale, "--since", "HEAD~1") == 0
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "seeds.csv").write_text(lines + "mixture,0,si_snr_i,0\n")
    assert run("compare", *scale, "--tables", elsewhere) == 0
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "true")  # a clone of another user
    capsys.readouterr()
    assert run("compare", *scale) == 2
    assert "safe.directory" in capsys.readouterr().err
