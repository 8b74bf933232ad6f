import re
import shlex
import shutil
import signal
import subprocess
import sys

import pytest
from repositories import REPOSITORY

from apit.cli import COMMANDS, app, main
from apit.data import packing
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


def commands_of_the_readme():
    text = (REPOSITORY / "README.md").read_text()
    return re.findall(r"(?:`|^ {4}(?:\w+=\S+ )?|-m )apit ([a-z]+ [^`\n]+)", text, re.MULTILINE)


@pytest.mark.parametrize("command", commands_of_the_readme())
def test_every_command_of_the_readme_can_be_given(command):
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


@pytest.mark.parametrize(
    ("ends", "code", "said"),
    [
        (lambda *_: signal.raise_signal(signal.SIGTERM), 143, "stopped"),
        (lambda *_: signal.raise_signal(signal.SIGINT), 130, "interrupted"),
        (full_disk, 2, "here: No space left on device"),
    ],
)
def test_how_a_command_ended_is_told(ends, code, said, capsys, monkeypatch):
    monkeypatch.setattr(packing, "pack", ends)
    assert run("pack", "there", "--output", "here") == code
    assert capsys.readouterr().err == f"apit pack: {said}\n"


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
        + ["--output", str(tmp_path / "scores.csv")]
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
        + ["--output", str(tmp_path / "scores.csv")]
    )
    assert code == 2
    assert "train it again" in capsys.readouterr().err
    assert not (tmp_path / "scores.csv").exists()
