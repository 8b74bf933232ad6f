import itertools
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from numpy.testing import assert_array_equal

from apit.config import ORACLES, Slots
from apit.config import Scoring as ScoringConfig
from apit.data import fuss
from apit.data.batches import Batch
from apit.data.examples import open_examples
from apit.errors import UserError
from apit.layers import load_scale, load_scoring
from apit.measure.estimates import read_estimates
from apit.measure.score import (
    Measures,
    SeparatedMixture,
    System,
    evaluate,
    score_estimates,
    score_example,
)
from apit.measure.statistics import summarise
from apit.measure.systems import oracle
from apit.measure.table import read_scores, write_scores
from apit.models.stft import make_stft


@pytest.fixture(scope="module")
def scale(configs):
    return load_scale("tiny", configs=configs)


@pytest.fixture(scope="module")
def config(scale):
    return ScoringConfig(
        audio=Slots(sources=scale.audio.sources), stft=scale.stft, evaluation=scale.evaluation
    )


@pytest.fixture(scope="module")
def scored(scale, config, mixtures, tmp_path_factory):
    """Scores of all oracles on the tiny evaluation split, and their estimates, in one folder."""
    folder = tmp_path_factory.mktemp("scores")
    stft = make_stft(scale.stft, scale.audio.sample_rate)
    for name in ORACLES:
        (folder / name).mkdir()
        scores = evaluate(
            System("tiny", name, 0, oracle(name, stft)),
            open_examples(mixtures, "eval", scale.audio),
            Measures(config, spectral_holes=True),
            folder / name,
        )
        write_scores(scores, folder / f"{name}.csv")
    return folder


def test_oracles_bound_the_table(scored):
    summary = summarise(read_scores(sorted(scored.glob("*.csv"))), 50)
    means = summary.set_index(["experiment", "aggregate"])["mean"]
    assert means["mixture", "si_snri_all/2-4"] == pytest.approx(0, abs=1e-6)
    assert means["mixture-over-k", "si_snri_all/2-4"] == pytest.approx(0, abs=1e-6)
    assert means["mixture", "over_separation"] > means["mixture", "equal_separation"]
    # Silence is never counted: what gives up on separating looks like no loss at all ...
    assert means["mixture-in-one-slot", "si_snri/2-4"] == pytest.approx(0, abs=1e-6)
    assert means["mixture-in-one-slot", "under_separation"] > 0.5
    # ... and is what MSi(all) exposes, and the paper's SI-SNR rewards.
    assert means["mixture-in-one-slot", "si_snri_all/2-4"] < -30
    assert means["mixture-in-one-slot", "si_snr_i"] > 1
    assert means["mixture-in-one-slot", "buried"] > 0.3
    assert means["mixture", "si_snr_i"] == pytest.approx(0, abs=1e-6)
    assert means["mixture", "buried"] == 0
    for ideal in ("ideal-ratio-mask", "ideal-binary-mask"):
        assert means[ideal, "si_snri_all/2-4"] > 3
        assert means[ideal, "si_snr_i"] > 3
        assert means[ideal, "si_snr/1"] > 60
    assert means["ideal-binary-mask", "hole_rate"] > 3 * means["ideal-ratio-mask", "hole_rate"]
    assert means["mixture", "excess_rate"] > means["ideal-ratio-mask", "excess_rate"]


def test_the_same_scores_give_the_same_bytes_in_any_number_of_processes(
    scored, scale, config, mixtures, tmp_path
):
    name = "ideal-ratio-mask"
    again = tmp_path / f"{name}.csv"
    system = System("tiny", name, 0, oracle(name, make_stft(scale.stft, scale.audio.sample_rate)))
    measures = Measures(config, spectral_holes=True)
    examples = open_examples(mixtures, "eval", scale.audio)
    write_scores(evaluate(system, examples, measures, jobs=2), again)
    assert again.read_bytes() == (scored / again.name).read_bytes()


def test_long_signals_give_the_same_bytes_in_any_number_of_processes(tmp_path):
    (tmp_path / "sources").mkdir()
    lines = []
    for number in range(3):
        paths = [f"sources/{number}-{slot}.wav" for slot in range(2)]
        folder = tmp_path / "estimates" / f"e{number}"
        folder.mkdir(parents=True)
        sources = 0.1 * noise(2, 80_000, seed=number)
        for slot, path in enumerate(paths):
            soundfile.write(tmp_path / path, sources[slot], 8000)
            soundfile.write(folder / f"source{slot}.wav", sources[slot] + 0.1 * sources[1 - slot],
                            8000, subtype="FLOAT")  # fmt: skip
        lines.append("\t".join([f"e{number}.wav", *paths]) + "\n")
    (tmp_path / "list.txt").write_text("".join(lines))
    measures = Measures(load_scoring(), spectral_holes=True, bss_eval=True)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for jobs in (1, 2):
            score_estimates(tmp_path / "list.txt", tmp_path / "estimates", measures,
                            tmp_path / f"{jobs}.csv", jobs)  # fmt: skip
    finally:
        torch.set_num_threads(threads)
    assert (tmp_path / "1.csv").read_bytes() == (tmp_path / "2.csv").read_bytes()
    summaries = [(tmp_path / f"{jobs}.summary.json").read_bytes() for jobs in (1, 2)]
    assert summaries[0] == summaries[1]


def test_kept_estimates_are_those_that_were_scored(scored, scale):
    folders = sorted((scored / "mixture").glob("example*"))
    assert [f.name for f in folders] == [f"example{i:05d}" for i in range(8)]
    estimates = read_estimates(folders[0], scale.audio)
    assert estimates.shape == (4, 4000)
    assert torch.equal(estimates[0], estimates[3])


PLAIN = Measures(load_scoring())


def rows_of(references, estimates, measures=PLAIN, listed=None, rate=8000):
    example = SeparatedMixture("e", rate, listed or len(references), references, estimates)
    rows = score_example(measures, example)
    return pd.DataFrame(rows, columns=["example", "source", "metric", "value", "note"])


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_silent_examples_are_skipped_and_silent_targets_named():
    references = np.zeros((2, 512), np.float32)
    (skipped,) = rows_of(references, noise(2, 512)).itertuples()
    assert (skipped.source, skipped.metric, skipped.note) == (
        -1,
        "skipped",
        "all sources are silent",
    )
    references[1] = noise(512)
    table = rows_of(references, references)
    assert table[table["metric"] == "si_snr"]["source"].tolist() == [1]
    (silent,) = table[table["source"] == 0].itertuples()
    assert (silent.metric, silent.value, silent.note) == ("counted", 0, "the target is silent")
    padded = rows_of(references[::-1].copy(), references, listed=1)
    assert set(padded["source"]) == {-1, 0}  # a slot without a file is no target


def test_a_silent_estimate_scores_minus_eighty_and_is_said_not_to_count():
    references = noise(2, 4000)
    config = load_scoring(["evaluation.bss_eval={window: 0.1, hop: 0.1}"])
    measures = Measures(config, spectral_holes=True, bss_eval=True)
    table = rows_of(references, np.stack([references[0], 0 * references[0]]), measures)
    table = table.set_index(["source", "metric"])
    assert table.loc[(1, "si_snr"), "value"] == pytest.approx(-80)
    assert table.loc[(1, "counted"), "value"] == 0
    assert "20 dB below" in table.loc[(1, "counted"), "note"]
    assert table.loc[(1, "missing_rate"), "value"] == 1
    assert np.isnan(table.loc[(1, "hole_rate_15"), "value"])
    assert "the target is missing" in table.loc[(1, "hole_rate_15"), "note"]
    assert table.loc[(0, "hole_rate_15"), "value"] == 0
    assert np.isnan(table.loc[(0, "sdr"), "value"])
    assert "silent" in table.loc[(0, "sdr"), "note"]


def test_the_papers_si_snr_is_a_row_of_the_mixture_and_beside_it_one_of_each_target():
    references = np.zeros((3, 4000), np.float32)
    references[:2] = noise(2, 4000)
    estimates = np.stack([references[0], 0 * references[0], 0 * references[0]])
    table = rows_of(references, estimates).set_index(["source", "metric"])["value"]
    improvements = [table[source, "si_snri_standard"] for source in (0, 1)]
    assert table[-1, "si_snr_i"] == pytest.approx(np.mean(improvements))
    assert (-1, "si_snr_s") not in table.index
    assert table[1, "si_snr_standard"] == pytest.approx(0)  # silence
    assert [table[source, "buried"] for source in (0, 1)] == [0, 1]
    assert (2, "si_snr_standard") not in table.index  # the target is silent
    alone = rows_of(references * [[1], [0], [0]], estimates).set_index(["source", "metric"])[
        "value"
    ]
    assert alone[-1, "si_snr_s"] == alone[0, "si_snr_standard"] > 60
    assert (-1, "si_snr_i") not in alone.index


def test_every_undefined_value_has_a_reason(scored):
    scores = read_scores([scored / "mixture-in-one-slot.csv"])
    undefined = scores[scores["value"].isna()]
    assert len(undefined)
    assert (undefined["note"] != "").all()


@pytest.fixture
def estimates(scored, tmp_path):
    """Estimates of the tiny evaluation split that a test may damage."""
    return shutil.copytree(scored / "ideal-ratio-mask", tmp_path / "estimates")


def score_all(mixtures, estimates, tmp_path, jobs=1):
    return score_estimates(
        fuss.list_path(mixtures, "eval"), estimates, PLAIN, tmp_path / "scores.csv", jobs,
    )  # fmt: skip


def test_estimates_of_any_program_get_the_scores_of_evaluate(scored, mixtures, estimates, tmp_path):
    summary = score_all(mixtures, estimates, tmp_path, jobs=2)
    ours = pd.read_csv(scored / "ideal-ratio-mask.csv")
    found = pd.read_csv(tmp_path / "scores.csv")
    metrics = [name for name in found if name not in ("example", "source", "note")]
    assert list(found.columns) == ["example", "source", *metrics, "note"]
    assert {"si_snri_standard", "si_snr", "counted", "si_snr_i"} <= set(metrics)
    merged = found.merge(ours, on=["example", "source"], validate="one_to_one")
    assert len(merged) == len(found) == len(ours)
    for name in metrics:
        np.testing.assert_allclose(merged[f"{name}_x"], merged[f"{name}_y"], atol=1e-5)
    notes = (merged[f"note_{which}"].astype(object).fillna("") for which in "xy")
    for mine, with_holes in zip(*notes, strict=True):
        assert set(filter(None, mine.split(" | "))) <= set(with_holes.split(" | "))
    assert summary == json.loads((tmp_path / "scores.summary.json").read_text())
    assert (summary["examples_scored"], summary["examples_skipped"]) == (8, 0)
    assert summary["missing_slots"] == 0
    assert set(summary["si_snri/2-4"]) == {"mean", "lower", "upper", "n"}
    for name in ("si_snri_all/2-4", "si_snr_i"):
        assert set(summary[name]) == {"mean", "lower", "upper", "n", "median"}
    assert summary["under_separation"]["n"] == 8


@pytest.mark.parametrize(
    ("listed", "folder"),
    [(b"caf\xe9", b"caf\xe9"), ("n\u00e9".encode(), "ne\u0301".encode()), (b"x" * 246, b"x" * 246)],
)
def test_examples_of_any_name_are_scored(mixtures, estimates, tmp_path, listed, folder):
    before = score_all(mixtures, estimates, tmp_path)["si_snri/2-4"]["mean"]
    copied = shutil.copytree(mixtures, tmp_path / "copied")
    path = fuss.list_path(copied, "eval")
    path.write_bytes(
        path.read_bytes().replace(b"eval/example00001.wav", b"eval/" + listed + b".wav")
    )
    (estimates / "example00001").rename(estimates / os.fsdecode(folder))
    after = score_all(copied, estimates, tmp_path)["si_snri/2-4"]["mean"]
    assert after == pytest.approx(before)  # bootstrap draws in the order of names
    assert listed in (tmp_path / "scores.csv").read_bytes()


def test_a_missing_slot_is_silence_and_counted(mixtures, estimates, tmp_path):
    for path in estimates.glob("example*/source3.wav"):
        path.unlink()
    for path in (estimates / "example00000").iterdir():
        path.unlink()
    assert score_all(mixtures, estimates, tmp_path)["missing_slots"] == 8 + 3


def test_float_estimates_are_neither_clipped_nor_rescaled(mixtures, estimates, tmp_path):
    before = score_all(mixtures, estimates, tmp_path)["si_snri_all/2-4"]["mean"]
    for path in estimates.glob("example*/*.wav"):
        samples, rate = soundfile.read(path, dtype="float32")
        soundfile.write(path, 100 * samples, rate, subtype="FLOAT")
    after = score_all(mixtures, estimates, tmp_path)["si_snri_all/2-4"]["mean"]
    assert after == pytest.approx(before, abs=1e-3)


def test_integer_estimates_are_read_at_full_scale_one(tmp_path):
    path = tmp_path / "x.wav"
    for subtype in ("PCM_16", "PCM_24"):
        soundfile.write(path, np.array([0.5, -1.0]), 8000, subtype=subtype)
        into = np.zeros(2, np.float32)
        fuss.read_wav(path, fuss.Format(8000, 1, 2), "", into)
        assert_array_equal(into, np.float32([0.5, -1.0]))


@pytest.mark.parametrize("size", [0, 0x7FFFF000, 0xFFFFFFFF])
def test_wavs_of_unsaid_length_score_the_same(mixtures, estimates, tmp_path, size):
    before = score_all(mixtures, estimates, tmp_path)
    copied = shutil.copytree(mixtures, tmp_path / "copied")
    for path in [*estimates.glob("*/*.wav"), *copied.glob("eval/*_sources/*.wav")]:
        content = path.read_bytes()
        place = content.index(b"data") + 4
        path.write_bytes(content[:place] + size.to_bytes(4, "little") + content[place + 4 :])
    assert score_all(copied, estimates, tmp_path) == before


def test_references_that_are_cut_are_refused_though_all_agree(mixtures, estimates, tmp_path):
    copied = shutil.copytree(mixtures, tmp_path / "copied")
    for path in copied.glob("eval/*_sources/*.wav"):
        path.write_bytes(path.read_bytes()[:-2000])
    for path in estimates.glob("*/*.wav"):
        samples, rate = soundfile.read(path, dtype="float32")
        soundfile.write(path, samples[:-1000], rate, subtype="FLOAT")
    with pytest.raises(UserError, match="is cut: it lacks 2000 bytes"):
        score_all(copied, estimates, tmp_path)


def rewrite(change):
    def damage(folder):
        path = folder / "example00002" / "source1.wav"
        samples, rate = soundfile.read(path, dtype="float32")
        samples, rate = change(samples, rate)
        soundfile.write(path, samples, rate, subtype="FLOAT")

    return damage


def not_a_number(samples, rate):
    samples[7] = np.nan
    return samples, rate


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (rewrite(lambda x, r: (x[:-1], r)), r"example00002/source1.wav: .*3999 samples.*asks for"),
        (rewrite(lambda x, r: (x, 16000)), r"example00002/source1.wav: 16000 Hz"),
        (rewrite(lambda x, r: (np.stack([x, x], 1), r)), r"source1.wav: .*2 channel"),
        (rewrite(not_a_number), r"example00002/source1.wav: holds samples that are not finite"),
        (lambda f: (f / "example00002" / "source1.wav").write_bytes(b"x"), "cannot be read"),
        (lambda f: (f / "example00099").mkdir(), r"example00099 is not in .*eval_example_list"),
        (lambda f: (f / "example00001").rename(f.parent / "x"), r"example00001: no such folder"),
        (lambda f: (f / "example00001/source3.wav").rename(f / "example00001/source4.wav"),
         r"source4.wav: is none of source0.wav to source3.wav"),
        (lambda f: [p.rename(p.with_name(p.name.replace("source", "est")))
                    for p in f.glob("example00001/*.wav")],
         r"est0.wav: is none of source0.wav"),
        (lambda f: (f / "example00001/source3.wav").rename(f / "example00001/source3.WAV"),
         r"source3.WAV: is none of source0.wav"),
        (lambda f: (f / "example00001/more").mkdir(), r"example00001/more: is none of"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("jobs", [1, 2])
def test_bad_estimates_are_refused_by_name(mixtures, estimates, tmp_path, damage, said, jobs):
    damage(estimates)
    with pytest.raises(UserError, match=said):
        score_all(mixtures, estimates, tmp_path, jobs)
    assert not (tmp_path / "scores.csv").exists()


def test_only_the_first_examples_are_scored(scale, config, mixtures, tmp_path):
    output = tmp_path / "bss_eval.csv"
    stft = make_stft(scale.stft, scale.audio.sample_rate)
    system = System("tiny", "irm", 0, oracle("ideal-ratio-mask", stft))
    measures = Measures(config, bss_eval=True)
    examples = open_examples(mixtures, "eval", scale.audio)
    write_scores(evaluate(system, examples, measures, first=3), output)
    scores = read_scores([output])
    assert scores["example"].unique().tolist() == [f"example{i:05d}" for i in range(3)]
    alone = scores[scores["note"].str.contains("single source")]
    assert set(alone["metric"]) == {"sir", "sir_whole"}
    metrics = {"sdr", "isr", "sir", "sar", "sdr_whole", "log_spectral_distance"}
    assert metrics <= set(scores["metric"])
    assert not scores["metric"].str.startswith("hole").any()


def test_perfect_estimates_have_infinite_ratios_and_a_summary(mixtures, estimates, tmp_path):
    for path in estimates.glob("example*/*.wav"):
        path.unlink()
    entries = fuss.read_list(fuss.list_path(mixtures, "eval"), 4)
    for entry in entries:
        for slot, source in enumerate(entry.sources):
            shutil.copy(mixtures / source, estimates / entry.name / f"source{slot}.wav")
    config = load_scoring(["evaluation.bss_eval={window: 0.1, hop: 0.1}"])
    measures = Measures(config, spectral_holes=True, bss_eval=True)
    output = tmp_path / "scores.csv"
    references = fuss.list_path(mixtures, "eval")
    summary = score_estimates(references, estimates, measures, output, 1)
    assert summary["si_snri_all/2-4"]["mean"] > 50
    assert summary["hole_rate"]["mean"] == 0
    scores = pd.read_csv(output, keep_default_na=False)
    reasons = [
        (row, part.split(": ", 1)[0].split())
        for row in scores.to_dict("records")
        for part in row["note"].split(" | ")
        if ": infinite" in part
    ]
    assert reasons
    ratios = {m + w for m in ("sdr", "isr", "sir", "sar") for w in ("", "_whole")}
    for row, metrics in reasons:
        assert set(metrics) <= ratios
        assert {row[metric] for metric in metrics} == {""}


@pytest.mark.parametrize("kind", ["perfect", "repeated", "leaking"])
def test_ratios_that_are_rounding_are_no_numbers_and_say_so(kind):
    references, estimates = noise(2, 4000), noise(2, 4000)
    metrics = ["sir"]
    if kind == "repeated":  # an estimate of two references that are the same
        references[1] = references[0]
        estimates = references + 0.1 * noise(2, 4000, seed=1)
    if kind == "leaking":  # each beside the other alone: artefacts are float32's rounding
        estimates = references + np.float32(0.1) * references[::-1]
        metrics = ["sar"]
    config = load_scoring(["evaluation.bss_eval={window: 0.1, hop: 0.1}"])
    rows = rows_of(references, estimates, Measures(config, bss_eval=True))
    rows = rows.set_index(["source", "metric"])
    names = [*metrics, *(f"{metric}_whole" for metric in metrics)]
    for source, metric in itertools.product((0, 1), names):
        value, note = rows.loc[(source, metric), ["value", "note"]]
        assert np.isnan(value)
        assert note.startswith("infinite")


@pytest.mark.parametrize("gain", [1e-12, 1e15])
def test_no_gain_of_an_estimate_is_a_hole(gain):
    references = noise(2, 4000)
    measures = Measures(load_scoring(), spectral_holes=True)
    estimates = (gain * references.astype(np.float64)).astype(np.float32)
    table = rows_of(references, estimates, measures).set_index(["source", "metric"])["value"]
    for source in (0, 1):
        assert table[source, "hole_rate_15"] == 0


def test_where_scores_cannot_be_written_is_said_before_any_work(mixtures, estimates, tmp_path):
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "file").write_text("")
    for output, said in (("folder.csv", "is a folder"), ("file/scores.csv", "cannot be written")):
        with pytest.raises(UserError, match=said):
            score_estimates(Path("no list"), estimates, PLAIN, tmp_path / output, 1)


def test_references_must_be_mono_and_fast_enough_for_the_stft(tmp_path):
    (tmp_path / "estimates" / "m").mkdir(parents=True)
    listed = tmp_path / "list.txt"
    listed.write_text("m.wav\ts.wav\n")
    for samples, rate, said in (
        (noise(100, 2), 8000, "s.wav: .*references must be mono"),
        (noise(100), 40, "at 40 Hz, stft.hop of 0.008 s is less than a sample"),
    ):
        soundfile.write(tmp_path / "s.wav", samples, rate, subtype="FLOAT")
        measures = Measures(load_scoring(), spectral_holes=True)
        with pytest.raises(UserError, match=said):
            score_estimates(listed, tmp_path / "estimates", measures, tmp_path / "s.csv", 1)


def test_ideal_masks_by_hand():
    stft = make_stft(load_scale("smoke").stft, 8000)
    low, high = (np.sin(2 * np.pi * f * np.arange(4000) / 8000) for f in (300, 2500))
    references = torch.tensor(np.stack([low, high]), dtype=torch.float32)[None]
    batch = Batch(references, ("e",))
    for name in ("ideal-ratio-mask", "ideal-binary-mask"):
        estimates = oracle(name, stft)(batch)
        torch.testing.assert_close(estimates[..., 200:-200], references[..., 200:-200], atol=0.02,
                                   rtol=0)  # fmt: skip
    binary = oracle("ideal-binary-mask", stft)(batch)
    torch.testing.assert_close(binary.sum(1), batch.mixture, atol=1e-5, rtol=0)
    over = oracle("mixture-over-k", stft)(batch)
    torch.testing.assert_close(over.sum(1), batch.mixture)
    alone = oracle("mixture-in-one-slot", stft)(batch)
    assert torch.equal(alone[:, 0], batch.mixture)
    assert not alone[:, 1:].any()
