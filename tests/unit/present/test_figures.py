import json
import os
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import pyplot as plt

from apit.config import IDEAL
from apit.layers import experiment_names
from apit.measure.showcase import Showcase, View, Zoom
from apit.measure.spread import Spread
from apit.present import figures
from apit.present.gallery import Gallery
from apit.present.looks import ALONE, FORKS, SEVERAL, looks
from apit.present.spectrograms import _edges, spectrograms


@pytest.fixture
def gallery(tiny, tmp_path):
    """A gallery of runs of some experiments, each with some seeds."""

    def make(experiments, seeds=(0,)):
        records = [
            {
                "run": json.loads(tiny(name, seed=seed).model_dump_json()),
                "commit": "0123456789abcdef",
                "steps": 4,
                "best_step": 20,
            }
            for name in experiments
            for seed in seeds
        ]
        return Gallery(tmp_path, records, "What this scale is.")

    return make


COMPARED = ("si_snr_i", "si_snri_all/2-4")


def draw_all(gallery, systems):
    """Draw every figure from numbers that follow from their places alone."""
    histories = []
    for record in gallery.records:
        history = pd.DataFrame({"step": [10, 20, 30]})
        for name in ("si_snri_all", "si_snr_i", "si_snr_s"):
            history[f"validation/{name}"] = [np.nan, 2.0, 1.0]
        for judge in record["run"]["discriminators"]:
            history[[f"accuracy/x-{judge['domain']}/{kind}" for kind in ("real", "fake")]] = 0.6
            history[f"shortcut/{judge['domain']}"] = 0.9
        histories.append(history)
    numbered = list(enumerate(systems))
    interval = {"lower": -1.0, "upper": 1.0, "n": 7}
    figures.training(gallery, histories)
    figures.contexts(gallery, histories)
    rows = [
        {"experiment": name, "aggregate": aggregate, "mean": 0.1 * n} | interval
        for n, name in numbered
        for aggregate in COMPARED
    ]
    columns = ["experiment", "aggregate", "mean", *interval]
    figures.improvement(gallery, pd.DataFrame(rows, columns=columns))
    values = np.array([-80.0, 1.0, 2.0, 5.0])
    figures.per_mixture(gallery, {name: Spread(values + n, 1, 1.5, 2) for n, name in numbered})
    rows = [
        {"experiment": name, "aggregate": aggregate, "seed": seed, "mean": 0.1 * n} | interval
        for n, name in numbered
        for aggregate in COMPARED
        for seed in ("all", "0", "1")
    ]
    columns = ["experiment", "aggregate", "seed", "mean", *interval]
    figures.differences(gallery, pd.DataFrame(rows, columns=columns), "pit", {})
    rows = [
        {"experiment": name, "depth_db": depth, "mean": 0.5 / depth} | interval
        for name in systems
        for depth in (10.0, 20.0)
    ]
    columns = ["experiment", "depth_db", "mean", *interval]
    figures.holes(gallery, pd.DataFrame(rows, columns=columns))
    rows = [
        {"domain": "stft", "replace": n, "mixture": seen, "experiment": name, "mean": 0.1 * n}
        | {"aggregate": aggregate}
        | interval
        for n, name in numbered[:3]
        for seen in (False, True)
        for aggregate in ("si_snr_s", "si_snr_i")
    ]
    columns = ["domain", "replace", "mixture", "experiment", "aggregate", "mean", *interval]
    bound = {"domain": "", "mixture": False, "experiment": "mixture", "aggregate": "si_snr_i"}
    table = pd.DataFrame([*rows, bound], columns=columns).astype({"replace": "Int64"})
    figures.replacement(gallery, table)


def showcase():
    decibels = torch.linspace(-90, 0, 9 * 12).reshape(9, 12)
    views = [View("mixture", decibels), View("target 1", decibels)]
    views += [View(name, decibels, decibels < -60) for name in ("pit-s0", "ctx-stft-i3-m-s0")]
    return Showcase("example7", views, 1.0, 4.0, Zoom(1, slice(2, 4), slice(3, 6)))


def test_figures_have_fonts_that_journals_take_and_the_widths_of_a_page(gallery):
    made = gallery(["pit", "ctx-stft-i3-m", "pit-six"], seeds=(0, 1))
    draw_all(made, ["mixture", "pit", "ctx-stft-i3-m", "pit-six", "ideal-ratio-mask"])
    spectrograms(made, showcase())
    names = {"training", "improvement", "per_mixture", "differences", "replacement", "holes"}
    names |= {"spectrograms", "contexts"}
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


def test_a_figure_is_the_same_bytes_twice_whatever_a_machine_prefers(gallery):
    drawn = []
    for preferred in ({}, {}, {"savefig.bbox": "tight", "figure.dpi": 50, "text.usetex": True}):
        mpl.rcParams.update(preferred)
        made = gallery(["pit"])
        figures.per_mixture(made, {"pit": Spread(np.arange(9.0), 2, 4, 6)})
        spectrograms(made, showcase())
        drawn.append({path.name: path.read_bytes() for path in made.output.iterdir()})
    assert all(files == drawn[0] for files in drawn)
    assert len(drawn[0]) == 4


def test_a_backend_of_a_notebook_and_settings_of_somebody_are_of_no_matter(tmp_path):
    (tmp_path / "rc").write_bytes(b"# Schriftgr\xf6\xdfe\n")
    backend, settings = "module://matplotlib_inline.backend_inline", str(tmp_path / "rc")
    code = "from apit.present import figures; print(figures.plt.get_backend())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"MPLBACKEND": backend, "MATPLOTLIBRC": settings},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.lower() == "agg\n", done.stderr


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
        (["ctx-stft-i0"], [0]),
        pytest.param(experiment_names(), [0, 1, 2], marks=pytest.mark.slow),
    ],
)
def test_every_selection_can_be_drawn(gallery, laid_out, experiments, seeds):
    draw_all(gallery(experiments, seeds), experiments)
    assert len(laid_out) == 7
    rows = [label.get_text() for label in laid_out["improvement"][0].axes[0].get_yticklabels()]
    assert rows == experiments


def test_what_there_is_nothing_of_is_said(gallery, laid_out):
    draw_all(gallery(["pit"]), [])
    assert laid_out["contexts"][0].axes[0].get_legend().get_title().get_text() == "none was run"
    for name in ("improvement", "per_mixture", "differences", "holes"):
        assert "nothing was" in laid_out[name][0].axes[0].texts[0].get_text()


def dashed_in(axes):
    return [line.get_xdata()[0] for line in axes.lines if not isinstance(line.get_linestyle(), str)
            or line.get_linestyle() == "--"]  # fmt: skip


def test_curves_of_contexts_have_a_column_for_each_domain_and_a_line_for_each_seed(
    gallery, laid_out
):
    names = ["pit", "ctx-wave-i0-m", "ctx-wave-i3-m", "ctx-wave-i3", "ctx-stft-i3-m", "six"]
    draw_all(gallery(names, seeds=(0, 1)), names)
    wave, stft, *_ = laid_out["contexts"][0].axes
    labels = [text.get_text() for text in wave.get_legend().get_texts()]
    assert labels == ["pit", "ctx-wave-i0-m", "ctx-wave-i3-m", "ctx-wave-i3"]
    assert [text.get_text() for text in stft.get_legend().get_texts()] == ["pit", "ctx-stft-i3-m"]
    drawn = [line for line in wave.lines if len(line.get_xdata()) == 2 and line.get_alpha()]
    assert len(drawn) == 2 * len(labels)
    styles = {line.get_label(): line.get_linestyle() for line in wave.lines}
    assert (styles["ctx-wave-i3-m"], styles["ctx-wave-i3"]) == ("-", "--")


def test_the_forest_plot_has_published_differences_of_the_papers_metric_alone(gallery, laid_out):
    rows = [
        ["six", aggregate, seed, 0.5, 0.1, 0.9, 7]
        for aggregate in COMPARED
        for seed in ("all", "0")
    ]
    columns = ["experiment", "aggregate", "seed", "mean", "lower", "upper", "n"]
    table = pd.DataFrame(rows, columns=columns)
    for published in ({"six": 0.5, "pit-six": 1.4}, {"pit-six": 1.4}, {}):
        figures.differences(gallery(["six"]), table, "pit", published)
        figure, says = laid_out["differences"]
        of_paper, of_evaluator = map(dashed_in, figure.axes)
        assert of_paper == ([0.5] if "six" in published else [])
        assert of_evaluator == []  # MSi(all) is the other metric
        assert ("Dashed: published, of the same data: six +0.50 dB." in says) == bool(of_paper)
        assert len(figure.legends) == len(of_paper)


def test_what_lies_far_below_is_a_number_and_no_point(gallery, laid_out):
    rows = [["pit", 5.0], ["mixture-in-one-slot", -60.0], ["mixture-over-k", 0.0]]
    summary = pd.DataFrame(
        [[name, aggregate, mean, mean - 1, mean + 1, 7] for name, mean in rows
         for aggregate in COMPARED],
        columns=["experiment", "aggregate", "mean", "lower", "upper", "n"],
    )  # fmt: skip
    figures.improvement(gallery(["pit"]), summary)
    figure, _ = laid_out["improvement"]
    for axes in figure.axes:
        assert [text.get_text() for text in axes.texts] == ["+5.00", "−60.00"]
        assert axes.get_xlim()[0] > -10
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["pit", "mixture-in-one-slot"]


def test_the_heat_map_has_a_row_for_each_domain_without_and_with_the_mixture(gallery, laid_out):
    draw_all(gallery(["pit"]), ["pit"])
    axes = laid_out["replacement"][0].axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "wave", "wave, m", "stft", "stft, m", "mask", "mask, m",
    ]  # fmt: skip
    assert len(axes.texts) == 2


def test_a_picture_says_of_itself_what_it_is_of(gallery):
    made = gallery(["pit"], seeds=(0, 1))
    assert made.mark.startswith("scale tiny: ")
    assert made.mark.endswith(" steps, 2 seeds; commit 0123456")


def test_every_shipped_experiment_has_a_look_of_its_own_even_in_grey(gallery):
    made = gallery(experiment_names())
    shown = [*experiment_names(), *IDEAL]
    own_looks = [made.looks[name] for name in shown]
    assert len({(own.panel, own.line, own.marker, own.filled) for own in own_looks}) == len(shown)
    panels = made.panels(shown)
    assert list(panels) == ["wave", "stft", "mask", SEVERAL, FORKS]
    assert all(own[:3] == ["pit", "pit-tdcnpp", "pit-long"] for own in panels.values())
    assert panels[SEVERAL][3:-2] == [
        "inst-all", "ctx-all", "six", "pit-ctx-all", "pit-inst-all", "pit-six", "pit-random",
    ]  # fmt: skip
    assert panels[FORKS][3:-2] == [name for name in shown if name.startswith("fork-")]
    assert made.panels(["pit"]) == {ALONE: ["pit"]}


def test_lines_tell_what_is_in_the_loss(gallery):
    by_name = gallery(experiment_names()).looks
    lines = {"-": {"pit", "pit-six"}, "--": {"six", "ctx-wave-i0", "inst-mask"},
             ":": {"pit-tdcnpp"}, "-.": {"pit-long", "pit-random", "fork-pit-aa"}}  # fmt: skip
    assert all(by_name[name].line == line for line, names in lines.items() for name in names)


def test_a_look_is_of_what_an_entry_says_and_not_of_its_name(tiny):
    run = json.loads(tiny("ctx-stft-i1").model_dump_json())
    by_name = looks([run, run | {"experiment": "mine"}])
    assert by_name["mine"] == by_name["ctx-stft-i1"]
    assert looks([run | {"reconstruction": "si_snr"}])["ctx-stft-i1"].line == "-."


def test_holes_are_outlined_bin_by_bin():
    holes = np.zeros((3, 4), bool)
    holes[1, 2:] = True  # one bin high, two frames wide, up to the end
    edges = {tuple(map(tuple, edge)) for edge in _edges(holes).tolist()}
    assert edges == {
        ((2, 1), (3, 1)), ((3, 1), (4, 1)), ((2, 2), (3, 2)), ((3, 2), (4, 2)),
        ((2, 1), (2, 2)), ((4, 1), (4, 2)),
    }  # fmt: skip


def test_an_axis_of_few_steps_counts_them_one_by_one(gallery, laid_out):
    histories = [
        pd.DataFrame({"step": [150, last], **dict.fromkeys(figures.OF_CONTEXTS, 1.0)})
        for last in (600, 500_000)
    ]
    for history, label, end in zip(
        histories, ("step", "step (thousands)"), (600, 500), strict=True
    ):
        figures.contexts(gallery(["ctx-wave-i3-m"]), [history])
        axes = laid_out["contexts"][0].axes[-1]
        assert axes.get_xlabel() == label
        assert axes.lines[0].get_xdata()[-1] == end


def test_systems_stand_in_the_order_of_the_configuration(gallery, laid_out):
    names = ["ctx-wave-i3-m", "ideal-ratio-mask", "mixture", "mixture-in-one-slot", "pit"]
    spread = Spread(np.array([1.0, 2.0, 3.0]), 1.5, 2.0, 2.5)
    figures.per_mixture(gallery(["pit", "ctx-wave-i3-m"]), dict.fromkeys(names, spread))
    labels = [label.get_text() for label in laid_out["per_mixture"][0].axes[0].get_yticklabels()]
    assert labels == ["mixture-in-one-slot", "pit", "ctx-wave-i3-m", "ideal-ratio-mask"]
