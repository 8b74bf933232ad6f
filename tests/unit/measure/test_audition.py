import numpy as np
import pytest
import torch

from apit.config import Scoring, Slots
from apit.data.examples import open_examples
from apit.errors import UserError
from apit.layers import load_scale
from apit.measure.audition import PEAK, audition, level_matched
from apit.measure.score import Measures, System, evaluate
from apit.measure.selection import Chosen
from apit.measure.si_snr import si_snr
from apit.measure.systems import oracle
from apit.measure.table import read_scores, write_scores
from apit.models.separators import make_separator
from apit.models.stft import make_stft


def test_levels_are_matched_exactly_and_silence_stays_silent(generator):
    noise = torch.randn(4, 8000, generator=generator)
    signals = noise * torch.tensor([1.0, 1e-4, 30.0, 0.0])[:, None]
    matched, gains = level_matched(signals)
    rms = matched.square().mean(-1).sqrt().tolist()
    assert rms[:3] == pytest.approx([10 ** (-26 / 20)] * 3, rel=1e-12)
    assert (rms[3], gains[3]) == (0, 0)
    assert torch.equal(matched, gains[:, None] * signals.double())


def test_the_highest_peak_bounds_the_level_of_all(generator):
    signals = torch.randn(2, 8000, generator=generator)
    signals[1, 1:] = 0  # a click, which would be 13 dB above full scale
    matched, _ = level_matched(signals)
    assert float(matched.abs().max()) == pytest.approx(PEAK, rel=1e-12)
    first, second = matched.square().mean(-1).sqrt().tolist()
    assert first == pytest.approx(second, rel=1e-12)


def test_nothing_but_silence_is_silence():
    matched, gains = level_matched(torch.zeros(3, 100))
    assert not matched.any()
    assert not gains.any()


@pytest.fixture(scope="module")
def scale(configs):
    return load_scale("tiny", configs=configs)


@pytest.fixture(scope="module")
def systems(scale, tiny):
    """A separator as it is initialised, and an oracle."""
    torch.manual_seed(3)
    run = tiny("pit")
    separator = make_separator(run.separator, run.stft, run.audio).eval()
    ideal = oracle("ideal-ratio-mask", make_stft(scale.stft, scale.audio.sample_rate))
    return [
        System("tiny", "pit", 0, lambda batch: separator(batch.mixture).estimates),
        System("tiny", "ideal-ratio-mask", 0, ideal),
    ]


@pytest.fixture(scope="module")
def scores(scale, systems, packed, tmp_path_factory):
    """Of both, by `evaluate`."""
    folder = tmp_path_factory.mktemp("scores")
    config = Scoring(audio=Slots(sources=4), stft=scale.stft, evaluation=scale.evaluation)
    measures = Measures(config, spectral_holes=True)
    examples = open_examples(packed, "eval", scale.audio)
    files = [folder / f"{system.experiment}.csv" for system in systems]
    for system, file in zip(systems, files, strict=True):
        write_scores(evaluate(system, examples, measures), file)
    return read_scores(files)


def of_all(scale, packed, systems, scores):
    examples = open_examples(packed, "eval", scale.audio)
    chosen = [Chosen(name, (), None) for name in examples.names]
    stft = make_stft(scale.stft, scale.audio.sample_rate)
    return list(audition(examples, chosen, systems, scores, stft))


def test_numbers_are_those_of_the_table_and_sounds_are_what_was_scored(
    scale, packed, systems, scores
):
    values = scores.set_index(["experiment", "example", "source", "metric"])["value"].sort_index()
    single = several = 0
    for scene in of_all(scale, packed, systems, scores):
        name = scene.chosen.example
        assert len(scene.sources) == values["pit", name, -1, "active_targets"]
        for slot, (mixture, target, *estimates) in scene.sources:
            assert [mixture.name, target.name] == ["mixture", "target"]
            assert [clip.name for clip in estimates] == ["pit-s0", "ideal-ratio-mask"]
            for clip in estimates:
                experiment = clip.name.removesuffix("-s0")
                own = values[experiment, name, slot]
                assert clip.si_snr == own["si_snr"]
                alone = len(scene.sources) == 1
                for number, metric in ((clip.hole_rate, "hole_rate_15"),
                                       (clip.missing_rate, "missing_rate")):  # fmt: skip
                    assert own[metric] == number or (np.isnan(own[metric]) and number is None)
                assert (clip.missing_rate is None) >= alone
                sound, wanted = (torch.from_numpy(c.samples).double() for c in (clip, target))
                heard = si_snr(reference=wanted, estimate=sound)
                scored = min(60.0, own["si_snr"])  # 16 bits reach little more
                assert min(60.0, float(heard)) == pytest.approx(scored, abs=0.05)
                assert float(sound.norm() / wanted.norm()) == pytest.approx(1, abs=1e-3)
                assert bool(clip.holes.any()) == bool(clip.hole_rate)
                if alone:
                    assert clip.si_snri is None
                    single += 1
                else:
                    assert clip.si_snri == own["si_snri"]
                    several += 1
    assert single
    assert several


def test_scores_of_other_weights_are_refused(scale, packed, systems, scores):
    other = scores.copy()
    other.loc[other["metric"] == "si_snr", "value"] += 1
    with pytest.raises(UserError, match=r"pit-s0: SI-SNR of source 0 .* evaluate it anew"):
        of_all(scale, packed, systems, other)


def test_scores_without_holes_or_of_other_mixtures_are_refused(scale, packed, systems, scores):
    plain = scores[scores["metric"] != "hole_rate_15"]
    with pytest.raises(UserError, match=r"no hole_rate_15 of source 0 .* --spectral-holes"):
        of_all(scale, packed, systems, plain)
    examples = open_examples(packed, "eval", scale.audio)
    stft = make_stft(scale.stft, scale.audio.sample_rate)
    with pytest.raises(UserError, match="elsewhere: is in the scores, but not in"):
        next(audition(examples, [Chosen("elsewhere", (), None)], systems, scores, stft))
