import json
import os
import re
from urllib.parse import unquote_to_bytes

import numpy as np
import pytest
import torch
from PIL import Image
from ruamel.yaml import YAML
from scipy.io import wavfile

from apit.cli import main
from apit.data.credits import Credit
from apit.identity import FILE
from apit.layers import load_scale
from apit.measure.audition import Scene, Stimulus
from apit.measure.selection import Chosen
from apit.present import listening
from apit.training.train import train

ABOUT = listening.About("tiny", "A caption with </script> in it.", "The rule.", "beeps")


def clip(name, samples=4000, **numbers):
    decibels = torch.tensor([[0.0, -10.4, -59.0], [-61.0, -200.0, -30.0]])  # [bin, frame]
    holes = None if name in ("mixture", "target") else torch.tensor([[1, 0, 0], [0, 0, 1]]).bool()
    tone = (1000 * np.sin(np.arange(samples))).astype(np.int16)
    return Stimulus(name, tone, 1.5, decibels, holes, **numbers)


def scene(example, sources, systems=("pit-s0", "ideal-ratio-mask")):
    names = ["mixture", "target", *systems]
    numbers = {"si_snr": 1.0, "si_snri": 2.25, "hole_rate": 0.125, "missing_rate": 0.25}
    clips = [clip(name, **(numbers if name in systems else {})) for name in names]
    return Scene(Chosen(example, ("best",), 0.5), [(slot, clips) for slot in sources])


@pytest.fixture
def written(tmp_path, configs):
    audio = load_scale("tiny", configs=configs).audio
    scenes = [scene("example00001", [0, 2]), scene("example00007", [0])]
    credits = {"example00001": [Credit("birds/<b>crow</b>.ogg", "CC0-1.0")] * 3}
    listening.write(tmp_path, scenes, ABOUT, audio, credits)
    return tmp_path


def data_of(folder):
    text = (folder / "index.html").read_text()
    page = re.search(r'<script type="application/json" id="page">(.*?)</script>', text, re.DOTALL)
    return json.loads(page[1])


def test_all_files_that_the_page_names_are_there_and_no_others(written):
    named = {
        row[kind]
        for mixture in data_of(written)["mixtures"]
        for source in mixture["sources"]
        for row in source["rows"]
        for kind in ("audio", "picture", "holes")
        if row[kind]
    }
    there = {str(p.relative_to(written)) for p in written.rglob("*") if p.is_file()}
    assert there == named | {"index.html", "webmushra.yaml"}
    assert len(named) == 3 * (4 + 4 + 2)


@pytest.mark.parametrize(
    "example", ["why? #1 100%25", os.fsdecode(b"caf\xe9"), "n\u00e9", "x" * 250]
)
def test_any_name_is_found_at_the_address_that_the_page_has(tmp_path, configs, example):
    audio = load_scale("tiny", configs=configs).audio
    credits = {example: [Credit(os.fsdecode(b"\xff.wav"), "CC0-1.0")]}
    listening.write(tmp_path, [scene(example, [0])], ABOUT, audio, credits)
    text = (tmp_path / "index.html").read_text(errors="surrogateescape")
    page = re.search(r'id="page">(.*?)</script>', text, re.DOTALL)
    rows = json.loads(page[1])["mixtures"][0]["sources"][0]["rows"]
    test = YAML(typ="safe").load((tmp_path / "webmushra.yaml").read_text(errors="replace"))
    trial = test["pages"][0][1]
    addresses = [row["audio"] for row in rows]
    assert [f"listen/{address}" for address in addresses] == [
        trial["stimuli"]["mixture"], trial["reference"], *list(trial["stimuli"].values())[1:]
    ]  # fmt: skip
    for address in (a for row in rows for a in (row["audio"], row["picture"], row["holes"]) if a):
        assert not set(address) & set("?# ")
        assert (tmp_path / os.fsdecode(unquote_to_bytes(address))).is_file()


def test_the_page_needs_no_network(written):
    text = (written / "index.html").read_text()
    assert "http:" not in text
    assert "https:" not in text
    assert re.findall(r'(?:src|href)="([^"]*)"', text) == ["data:,", "webmushra.yaml"]
    assert listening.MARK not in text


def test_numbers_words_and_credits_stand_in_the_page_as_they_came(written):
    page = data_of(written)
    assert page["caption"] == ABOUT.caption
    assert page["rules"][0] == "The rule."
    first, second = page["mixtures"]
    assert (first["example"], first["reasons"], first["value"]) == ("example00001", ["best"], 0.5)
    assert first["credits"][2] == {"clip": "birds/<b>crow</b>.ogg", "licence": "CC0-1.0"}
    assert second["credits"] == []
    rows = first["sources"][1]["rows"]
    assert [row["kind"] for row in rows] == ["mixture", "target", "estimate", "estimate"]
    assert (rows[2]["si_snr"], rows[2]["si_snri"], rows[2]["hole_rate"]) == (1.0, 2.25, 0.125)
    assert (rows[2]["missing_rate"], rows[2]["gain_db"]) == (0.25, 1.5)


def test_sounds_are_written_bit_for_bit(written):
    rate, samples = wavfile.read(written / "audio" / "example00001-source2-pit-s0.wav")
    assert rate == 8000
    assert np.array_equal(samples, clip("pit-s0").samples)


def test_a_picture_has_one_colour_a_decibel_and_low_frequencies_at_the_bottom(written):
    name = "pictures/example00001-source0-pit-s0"
    levels = np.asarray(Image.open(written / f"{name}.png"))
    assert levels.tolist() == [[19, 0, 50], [80, 70, 21]]
    palette = Image.open(written / f"{name}.png").convert("RGB")
    assert palette.getpixel((0, 1)) == (252, 253, 191)  # magma's brightest
    assert palette.getpixel((1, 0)) == (0, 0, 4)
    holes = Image.open(written / f"{name}-holes.png").convert("RGBA")
    opaque = np.asarray(holes)[..., 3] > 0
    assert opaque.tolist() == [[False, False, True], [True, False, False]]
    assert holes.getpixel((0, 1)) == (0x7F, 0xDB, 0xFF, 255)


def test_the_listening_test_has_a_trial_for_each_target_and_its_target_is_the_reference(written):
    test = YAML(typ="safe").load(written / "webmushra.yaml")
    (order, *trials), finish = test["pages"]
    assert (order, finish["type"]) == ("random", "finish")
    assert [trial["id"] for trial in trials] == [
        "example00001-source0", "example00001-source2", "example00007-source0",
    ]  # fmt: skip
    trial = trials[1]
    assert trial["type"] == "mushra"
    assert trial["reference"] == "listen/audio/example00001-source2-target.wav"
    assert list(trial["stimuli"]) == ["mixture", "pit-s0", "ideal-ratio-mask"]
    for path in [t["reference"] for t in trials] + list(trial["stimuli"].values()):
        assert (written / path.removeprefix("listen/")).exists()


@pytest.mark.parametrize(("systems", "strict"), [(11, True), (12, False)])
def test_more_conditions_than_the_recommendation_has_are_not_called_strict(
    tmp_path, configs, systems, strict
):
    names = [f"system{number}" for number in range(systems)]
    audio = load_scale("tiny", configs=configs).audio
    listening.write(tmp_path, [scene("one", [0], names)], ABOUT, audio, {})
    trial = YAML(typ="safe").load(tmp_path / "webmushra.yaml")["pages"][0][1]
    assert len(trial["stimuli"]) == systems + 1
    assert trial["strict"] is strict


def test_the_command_makes_the_page_of_runs_and_refuses_scores_of_others(
    configs, packed, tiny, tmp_path, capsys
):
    place = ["--scale", "tiny", "--configs", str(configs), "--data", str(packed)]

    def evaluate(*system, to):
        folder = tmp_path / to
        command = ["evaluate", *place, *system, "--jobs", "1", "--output", str(folder)]
        assert main(command) == 0
        return str(folder)

    runs, scores = [], [evaluate("--oracle", "ideal-ratio-mask", to="ideal")]
    for name in ("pit", "ctx-stft-i1"):
        train(tiny(name, "training.steps=2"), packed, tmp_path / name)
        runs.append(str(tmp_path / name))
        scores.append(evaluate("--run", runs[-1], to=f"{name}-scores"))
    output = tmp_path / "listen"
    command = ["listen", *place, "--output", str(output), "--runs", *runs, "--scores", *scores]
    assert main(command) == 0
    page = data_of(output)
    assert "ctx-stft-i1-s0 (of the adversarial runs here" in page["rules"][0]
    assert [row["name"] for row in page["mixtures"][0]["sources"][0]["rows"]] == [
        "mixture", "target", "pit-s0", "ctx-stft-i1-s0", "ideal-ratio-mask",
    ]  # fmt: skip
    assert len({mixture["example"] for mixture in page["mixtures"]}) == len(page["mixtures"]) >= 3
    assert page["mixtures"][0]["credits"][0]["licence"] == "computed, not recorded"
    capsys.readouterr()
    assert main(["trace", str(output / "index.html")]) == 0
    traced = capsys.readouterr().out
    for name in ("pit-s0", "ctx-stft-i1-s0"):
        assert f"  run {name}, in " in traced
    assert "IS ANOTHER" not in traced
    first = {str(p): p.read_bytes() for p in output.rglob("*") if p.is_file()}
    assert main(command) == 0
    assert first == {str(p): p.read_bytes() for p in output.rglob("*") if p.is_file()}
    assert (output / FILE).exists()

    capsys.readouterr()
    assert main([name for name in command if name != scores[0]]) == 2
    assert "ideal-ratio-mask: --scores hold no" in capsys.readouterr().err
    (tmp_path / "pit" / "model.safetensors").unlink()
    assert main(command) == 2
    assert "model.safetensors: the weights are not here" in capsys.readouterr().err
    assert first == {str(p): p.read_bytes() for p in output.rglob("*") if p.is_file()}
