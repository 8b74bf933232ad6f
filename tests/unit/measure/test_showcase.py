import json
from pathlib import Path

import pytest
import torch

from apit.data.examples import open_examples
from apit.errors import UserError
from apit.layers import load_scale
from apit.losses.reconstruction import is_silent
from apit.measure.estimates import write_estimates
from apit.measure.showcase import Zoom, above_median, most_holes, showcase
from apit.models.stft import make_stft


def test_the_passage_with_most_holes_is_found_and_of_two_alike_the_first():
    holes = torch.zeros(2, 8, 12, dtype=torch.bool)
    holes[1, 4:6, 6:9] = True
    assert most_holes(holes, (4, 4)) == Zoom(1, slice(4, 6), slice(6, 9))
    holes[0, 5:7, 9:12] = True
    assert most_holes(holes, (4, 4)) == Zoom(0, slice(5, 7), slice(9, 12))
    assert most_holes(torch.zeros(1, 3, 3, dtype=torch.bool), (4, 4)) == Zoom(
        0, slice(0, 1), slice(0, 1)
    )


@pytest.mark.parametrize(
    ("values", "chosen"),
    [
        ([[1, 2, 3, 4], [10, 40, 20, 30]], [3]),
        ([[1, 2, 3], [1, 2, 3]], [2]),
        ([[1, 2, 3, 4], [4, 3, 2, 1]], [1]),  # none is above both: the better of the worst
        ([[5]], [0]),
    ],
)
def test_present_is_what_lies_above_the_median_of_every_system(values, chosen):
    assert above_median(torch.tensor(values, dtype=torch.float)) == chosen


@pytest.fixture
def shown(packed, configs, tiny, tmp_path):
    """Three runs, whose estimates are the targets but for a band of the best separated ones."""
    scale = load_scale("tiny", configs=configs)
    stft = make_stft(scale.stft, scale.audio.sample_rate)
    examples = open_examples(packed, "eval", scale.audio)
    runs, kept = {}, {}
    for number, name in enumerate(("ctx-stft-i3-m", "pit-tdcnpp", "pit")):
        folder = tmp_path / name
        runs[folder] = {
            "run": json.loads(tiny(name).model_dump_json()),
            "validation": {"si_snri_all": float(number)},
        }
        kept[folder] = tmp_path / "estimates" / name
        kept[folder].mkdir(parents=True)
        for place, example in enumerate(examples.names):
            references = torch.from_numpy(examples.read(place))
            spectra = stft.analyse(references)
            spectra[:, 20:40] *= 0.01 if name == "pit" else 0.5
            estimates = stft.synthesise(spectra, references.shape[-1])
            write_estimates(kept[folder] / example, estimates, scale.audio.sample_rate)
    return runs, packed, kept, scale.audio, stft


def test_the_baselines_and_the_best_adversarial_run_stand_side_by_side(shown):
    _, data, _, audio, _ = shown
    made = showcase(*shown)
    titles = [view.title for view in made.views]
    assert titles[0] == "mixture"
    assert titles[2:] == ["pit-s0", "pit-tdcnpp-s0", "ctx-stft-i3-m-s0"]
    assert {view.decibels.shape for view in made.views} == {made.views[0].decibels.shape}
    assert float(made.views[1].decibels.max()) == pytest.approx(0, abs=1e-5)  # of the target
    pit, *others = (view.holes for view in made.views[2:])
    assert pit[made.zoom.bins, made.zoom.frames].any()
    assert pit[18:42].sum() == pit.sum()
    assert not any(holes.any() for holes in others)  # a band at −6 dB is none
    examples = open_examples(data, "eval", audio)
    references = torch.from_numpy(examples.read(examples.names.index(made.example)))
    assert (~is_silent(references)).sum() > 1


def test_runs_that_kept_nothing_of_the_split_are_said(shown):
    runs, data, kept, audio, stft = shown
    empty = {folder: Path(place.parent / "none") for folder, place in kept.items()}
    with pytest.raises(UserError, match=r"none: holds no estimate of .*'s eval split"):
        showcase(runs, data, empty, audio, stft)
