import pandas as pd
import pytest
import torch

from apit.cli import main
from apit.models.complexity import complexities, step_macs
from apit.training.bench import COLUMNS, Bench, by_size, parts_by_size


def test_steps_are_timed_with_and_without_their_data(tiny, mixtures):
    runs = [tiny("pit"), tiny("fork-ctx-stft-i3-m"), tiny("ctx-all")]
    bench = Bench(runs, mixtures, 2, torch.device("cpu"))
    table = bench.table().set_index("experiment")
    assert list(table.reset_index().columns) == COLUMNS
    assert table.loc["pit", "relative"] == 1
    assert (table["relative"][1:] > 1).all()
    assert (table["of_peak"] > 0).all()
    assert ((table["waiting"] >= 0) & (table["waiting"] < 1)).all()
    assert (table["parameters_m"].diff()[1:] > 0).all()
    assert all(times.keys() == {"step", "loop", "waiting"} for times in bench.times.values())


def test_hours_are_of_all_steps_with_their_data_where_there_is_any(tiny):
    runs = [tiny("pit"), tiny("ctx-all", "training.batch_size=4")]
    bench = Bench(runs, None, 1, torch.device("cpu"))
    bench.__dict__["times"] = {"pit": {"loop": 0.5, "step": 0.4}, "ctx-all": {"step": 1.0}}
    assert bench.hours(runs[0]) == pytest.approx(0.5 * 4 / 3600)
    assert bench.hours(runs[1]) == pytest.approx(1.0 * 4 / 3600)
    # One that was not timed: as many multiply-accumulates a second as those with its separator.
    untimed = tiny("inst-wave")
    macs = [step_macs(run, run.discriminators) for run in (*runs, untimed)]
    seconds = macs.pop() * 1.5 / sum(macs)
    assert bench.hours(untimed) == pytest.approx(seconds * 4 / 3600)
    assert torch.tensor(bench.hours(tiny("pit-tdcnpp"))).isnan()


def test_the_command_says_what_a_scale_would_take(configs, tmp_path, capsys):
    arguments = ["bench", "--scale", "tiny", "--configs", str(configs), "--rounds", "1"]
    arguments += ["--set", "experiments=[pit, ctx-stft-i3-m, pit-tdcnpp]"]
    output = tmp_path / "cost.csv"
    assert main([*arguments, "--experiments", "pit", "--output", str(output)]) == 0
    said = capsys.readouterr().out
    assert "step_ms" in said
    assert "but for 1 that were not measured" in said
    written = pd.read_csv(output)
    assert [*written.columns] == [*COLUMNS, "device", "threads", "rounds"]
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
    parts = parts_by_size(runs).set_index("part")["gmac"]
    assert parts.sum() == pytest.approx(sizes["gmac"].iloc[-1])
    assert list(parts.index) == ["separator (unet)", "ctx-stft-i3-m"]
