import json

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import pyplot as plt

from apit.config import IDEAL
from apit.layers import experiment_names, load_reported
from apit.measure.showcase import Showcase, View, Zoom
from apit.measure.spread import Spread
from apit.present import figures
from apit.present.gallery import Gallery
from apit.present.looks import ALONE, SEVERAL, looks
from apit.present.spectrograms import _edges, spectrograms


@pytest.fixture
def gallery(tiny, tmp_path):
    """A gallery of runs of some experiments, each with some seeds."""

    def make(experiments, seeds=(0,)):
        records = [
            {
                "run": json.loads(tiny(name, seed=seed).model_dump_json()),
                "commit": "0123456789abcdef",
                "best_step": 20,
            }
            for name in experiments
            for seed in seeds
        ]
        return Gallery(tmp_path, records, "What this scale is.")

    return make


def draw_all(gallery, systems):
    """Draw every figure from numbers that follow from their places alone."""
    histories = []
    for record in gallery.records:
        kinds = [f"accuracy/ctx-stft-i1/{kind}/full" for kind in ("real", "fake", "replaced")]
        history = pd.DataFrame({"step": [10, 20, 30], "loss/pit": [-1.0, -2.0, np.nan]})
        history["validation/si_snri_all"] = [np.nan, 2.0, 1.0]
        if record["run"]["discriminators"]:
            history[kinds] = 0.6
        histories.append(history)
    numbered = list(enumerate(systems))
    interval = {"lower": -1.0, "upper": 1.0, "n": 7}
    figures.training(gallery, histories)
    rows = [
        {"experiment": name, "aggregate": "si_snri_all/2-4", "mean": 0.1 * n} | interval
        for n, name in numbered
    ]
    columns = ["experiment", "aggregate", "mean", *interval]
    figures.improvement(gallery, pd.DataFrame(rows, columns=columns))
    values = np.array([-80.0, 1.0, 2.0, 5.0])
    figures.per_mixture(gallery, {name: Spread(values + n, 1, 1.5, 2) for n, name in numbered})
    rows = [
        {"experiment": name, "seed": seed, "mean": 0.1 * n} | interval
        for n, name in numbered
        for seed in ("all", "0", "1")
    ]
    columns = ["experiment", "seed", "mean", *interval]
    figures.differences(gallery, pd.DataFrame(rows, columns=columns), "pit", [])
    rows = [
        {"experiment": name, "depth_db": depth, "mean": 0.5 / depth} | interval
        for name in systems
        for depth in (10.0, 20.0)
    ]
    columns = ["experiment", "depth_db", "mean", *interval]
    figures.holes(gallery, pd.DataFrame(rows, columns=columns))
    rows = [
        {"domain": "stft", "replace": n, "experiment": name, "mean": 0.1 * n} | interval
        for n, name in numbered[:3]
    ]
    columns = ["domain", "replace", "experiment", "mean", *interval]
    figures.replacement(gallery, pd.DataFrame(rows, columns=columns))


def showcase():
    decibels = torch.linspace(-90, 0, 9 * 12).reshape(9, 12)
    views = [View("mixture", decibels), View("target 1", decibels)]
    views += [View(name, decibels, decibels < -60) for name in ("pit-s0", "ctx-stft-i1-s0")]
    return Showcase("example7", [views] * 2, 1.0, 4.0, Zoom(1, slice(2, 4), slice(3, 6)))


def test_figures_have_fonts_that_journals_take_and_the_widths_of_a_page(gallery):
    made = gallery(["pit", "ctx-stft-i1", "multi-ctx-i1"], seeds=(0, 1))
    draw_all(made, ["mixture", "pit", "ctx-stft-i1", "multi-ctx-i1", "ideal-ratio-mask"])
    spectrograms(made, showcase())
    names = {"training", "improvement", "per_mixture", "differences", "replacement", "holes"}
    names |= {"spectrograms"}
    assert set(made.captions) == names
    written = {path.name for path in made.output.iterdir()}
    assert written == {f"{name}.{suffix}" for name in names for suffix in ("pdf", "png")}
    for name in names:
        pdf = (made.output / f"{name}.pdf").read_bytes()
        assert b"/FontFile2" in pdf  # TrueType, embedded
        assert b"/Type3" not in pdf
        width = 72 * (7.0 if name in ("training", "holes", "spectrograms") else 3.4)
        assert f"/MediaBox [ 0 0 {width:g} ".encode() in pdf
        assert made.captions[name].endswith("What this scale is.")
    assert "Evaluation mixture example7" in made.captions["spectrograms"]


def test_a_figure_is_the_same_bytes_twice(gallery):
    made = gallery(["pit"])
    drawn = []
    for _ in range(2):
        figures.per_mixture(made, {"pit": Spread(np.arange(9.0), 2, 4, 6)})
        spectrograms(made, showcase())
        drawn.append({path.name: path.read_bytes() for path in made.output.iterdir()})
    assert drawn[0] == drawn[1]
    assert len(drawn[0]) == 4


@pytest.fixture
def laid_out(monkeypatch):
    """Figures are laid out, and kept, instead of written: name → figure and what it says."""
    kept = {}

    def write(self, figure, name, says):
        figure.draw_without_rendering()
        kept[name] = figure, says
        plt.close(figure)

    monkeypatch.setattr(Gallery, "write", write)
    return kept


@pytest.mark.parametrize(
    ("experiments", "seeds"),
    [
        (["pit"], [0]),
        (["ctx-stft"], [0]),
        pytest.param(experiment_names(), [0, 1, 2], marks=pytest.mark.slow),
    ],
)
def test_every_selection_can_be_drawn(gallery, laid_out, experiments, seeds):
    draw_all(gallery(experiments, seeds), experiments)
    assert len(laid_out) == 6
    rows = [label.get_text() for label in laid_out["improvement"][0].axes[0].get_yticklabels()]
    assert rows == experiments


def test_what_there_is_nothing_of_is_said(gallery, laid_out):
    draw_all(gallery(["pit"]), [])
    for name in ("improvement", "per_mixture", "differences", "holes"):
        assert "nothing was" in laid_out[name][0].axes[0].texts[0].get_text()


def test_the_forest_plot_says_what_its_published_line_is(gallery, laid_out):
    rows = [["ctx-stft", seed, 0.5, 0.1, 0.9, 7] for seed in ("all", "0")]
    table = pd.DataFrame(rows, columns=["experiment", "seed", "mean", "lower", "upper", "n"])
    for reported in (load_reported(), []):
        figures.differences(gallery(["ctx-stft"]), table, "pit", reported)
        figure, says = laid_out["differences"]
        dashed = [line for line in figure.axes[0].lines if line.get_linestyle() == "--"]
        assert [line.get_xdata()[0] for line in dashed] == ([1.4] if reported else [])
        shown = " ".join(text.get_text() for text in figure.legends[0].get_texts())
        for text in (says, shown.replace("\n", " ")):
            published = "+1.40 dB, published: " in text and "data: reverberant FUSS" in text
            assert published == bool(reported)


def test_a_picture_says_of_itself_what_it_is_of(gallery):
    made = gallery(["pit"], seeds=(0, 1))
    assert made.mark.startswith("scale tiny: ")
    assert made.mark.endswith(" steps, 2 seeds; commit 0123456")


def test_every_shipped_experiment_has_a_look_of_its_own_even_in_grey(gallery):
    made = gallery(experiment_names())
    shown = [*experiment_names(), *IDEAL]
    found = [made.looks[name] for name in shown]
    assert len({(own.panel, own.line, own.marker, own.filled) for own in found}) == len(shown)
    panels = made.panels(shown)
    assert list(panels) == ["wave", "stft", "mask", SEVERAL]
    assert all(own[:2] == ["pit", "pit-long"] for own in panels.values())
    assert sorted({*panels["stft"]} - {*panels["wave"]}) == [
        "ctx-stft", "ctx-stft-i1", "ctx-stft-i1-mix", "ctx-stft-i2", "ctx-stft-i3",
        "frozen-ctx-stft-i1", "inst-stft",
    ]  # fmt: skip
    assert made.panels(["pit"]) == {ALONE: ["pit"]}


def test_a_look_is_of_what_an_entry_says_and_not_of_its_name(tiny):
    run = json.loads(tiny("ctx-stft-i1").model_dump_json())
    found = looks([run, run | {"experiment": "mine"}])
    assert found["mine"] == found["ctx-stft-i1"]


def test_holes_are_outlined_bin_by_bin():
    holes = np.zeros((3, 4), bool)
    holes[1, 2:] = True  # one bin high, two frames wide, up to the end
    edges = {tuple(map(tuple, edge)) for edge in _edges(holes).tolist()}
    assert edges == {
        ((2, 1), (3, 1)), ((3, 1), (4, 1)), ((2, 2), (3, 2)), ((3, 2), (4, 2)),
        ((2, 1), (2, 2)), ((4, 1), (4, 2)),
    }  # fmt: skip
