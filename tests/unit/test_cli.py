import shutil

import pytest

from apit.cli import main
from apit.training.train import train


def run(*arguments):
    """Exit code, also where the arguments alone ended the command."""
    try:
        return main([*map(str, arguments)])
    except SystemExit as ended:
        return ended.code or 0


def test_help_tells_of_every_command(capsys):
    assert run("--help") == 0
    said = capsys.readouterr().out
    for command in ("fetch", "mix", "train", "evaluate", "tables", "figures"):
        assert f"\n  {command}" in said
        assert run(command, "--help") == 0


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
        (["evaluate", "--oracle", "mixture", "--jobs", "-1"], "is not a whole number"),
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
