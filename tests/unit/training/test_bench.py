from math import isnan

import pandas as pd
import pytest
import torch

from apit.cli import main
from apit.models.complexity import complexities, step_macs
from apit.training.bench import by_size, costs, reckoned, timed


@pytest.mark.parametrize("reading", [False, True])
def test_steps_are_timed_with_and_without_their_data(tiny, mixtures, reading):
    runs = [tiny("pit"), tiny("fork-ctx-stft-i3-m"), tiny("ctx-all")]
    seconds = timed(runs, mixtures if reading else None, 2, torch.device("cpu"))
    assert list(seconds) == ["pit", "fork-ctx-stft-i3-m", "ctx-all"]
    table = costs(runs, list(seconds.values())).set_index("experiment")
    assert table.loc["pit", "relative"] == 1
    assert table.loc["ctx-all", "step_ms"] == 1e3 * seconds["ctx-all"]
    assert table.loc["ctx-all", "relative"] > 1
    assert (table["parameters_m"].diff()[1:] > 0).all()


def test_one_that_was_not_timed_is_as_fast_as_those_with_its_separator(tiny):
    some = [tiny("pit"), tiny("ctx-all", "training.batch_size=4")]
    runs = [*some, tiny("inst-wave"), tiny("pit-tdcnpp")]
    steps = reckoned(runs, some, {"pit": 0.5, "ctx-all": 1.0})
    assert steps[:2] == [0.5, 1.0]
    macs = [step_macs(run) for run in runs]
    assert steps[2] == pytest.approx(macs[2] * 1.5 / (macs[0] + macs[1]))
    assert isnan(steps[3])
    assert costs(runs[:1], [0.5])["hours"].item() == pytest.approx(0.5 * 4 / 3600)


def test_the_command_says_what_a_scale_would_take(configs, tmp_path, capsys):
    arguments = ["bench", "--scale", "tiny", "--configs", str(configs), "--rounds", "1"]
    arguments += ["--set", "experiments=[pit, ctx-stft-i3-m, pit-tdcnpp]"]
    output = tmp_path / "cost.csv"
    assert main([*arguments, "--experiments", "pit", "--output", str(output)]) == 0
    said = capsys.readouterr().out
    assert "step_ms" in said
    assert "but for 1 that were not measured" in said
    written = pd.read_csv(output)
    assert [*written.columns[-4:]] == ["hours", "device", "threads", "rounds"]
    assert written["experiment"].tolist() == ["pit"]


def test_without_a_device_hours_follow_from_multiply_accumulates(tiny, configs, capsys):
    runs = [tiny("pit"), tiny("ctx-stft-i3-m")]
    sizes = by_size(runs, 1e9)
    for run, row in zip(runs, sizes.to_dict("records"), strict=True):
        forward = {name: c.multiply_accumulates for name, c in complexities(run).items()}
        # forward and back through the separator; a discriminator on real, fake, and fake again
        a_second = 3 * forward.pop("separator") + 8 * sum(forward.values())
        gmac = a_second * run.training.crop_seconds * run.training.batch_size / 1e9
        assert row["gmac"] == pytest.approx(gmac)
        assert row["hours"] == pytest.approx(gmac * run.training.steps / 3600)
    assert main(["bench", "--scale", "tiny", "--configs", str(configs), "--at", "0.001"]) == 0
    said = capsys.readouterr().out
    assert "nothing was timed" in said
    assert "all experiments, one seed" in said
    assert "fits" in said
