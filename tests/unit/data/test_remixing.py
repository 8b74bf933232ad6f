import itertools

import numpy as np
import pytest
import torch
from scipy.signal import fftconvolve
from scipy.stats import chisquare, ks_2samp

from apit.data.bank import make_bank, open_stock
from apit.data.batches import Prefetched
from apit.data.examples import open_examples
from apit.data.mixtures import make_example, mix
from apit.data.remixing import (
    RemixedClips,
    RemixedSources,
    fitted,
    padded,
    reverberated,
    training_batches,
)
from apit.errors import UserError
from apit.layers import load_scale
from apit.provenance import array_generator
from apit.training.train import train

CPU = torch.device("cpu")
ROOMS = (
    "data.recipe.rooms={kind: box, at_most: 4, length: [3, 6], width: [3, 5], height: [2.4, 3], "
    "margin: 0.5, walls: [brickwork], floors: [carpet_thin], ceilings: [ceiling_fissured_tile], "
    "reflections: 3}"
)


@pytest.fixture(scope="module")
def scale(configs):
    return load_scale("tiny", [ROOMS, "data.recipe.examples.train=400"], configs)


@pytest.fixture(scope="module")
def stock(scale, tmp_path_factory):
    folder = tmp_path_factory.mktemp("rooms") / "bank"
    make_bank(scale, folder, jobs=1)
    return open_stock(folder, "train", scale.audio, scale.data)


def of_clips(scale, stock, length=4000, batch_size=2, seed=0, share=(0, 1)):
    return RemixedClips(stock, scale.audio, scale.data.recipe, CPU, length, batch_size, seed, share)


def of_sources(packed, audio, length=4000, batch_size=2, seed=0, share=(0, 1)):
    return RemixedSources(open_examples(packed, "train", audio), length, batch_size, seed, share)


def test_a_remix_is_the_example_that_would_be_written(scale, stock, monkeypatch):
    seed = scale.data.recipe.seed
    monkeypatch.setattr(
        "apit.data.remixing.array_generator",
        lambda _, __, number: array_generator("example", seed, "train", number),
    )
    batches = of_clips(scale, stock)
    for index in range(0, 10, 2):
        batch = next(batches)
        for number, references in enumerate(batch.references):
            written = make_example(scale, stock, index + number).sources
            found = (references * 32768).numpy()
            assert np.abs(found[: len(written)] - written).max() <= 1  # rounded from float32
            assert (found[: len(written)] != written).mean() < 1e-2
            assert not found[len(written) :].any()


def statistics(examples):
    """Numbers of sources, levels in dB, and shares of samples where two or more sound."""
    counts, levels, overlaps = [], [], []
    for sources in examples:
        active = sources[np.abs(sources).max(1) > 0]
        counts.append(len(active))
        levels += (10 * np.log10(np.mean(active.astype(float) ** 2, axis=1))).tolist()
        overlaps.append(float(np.mean((np.abs(active) > 1e-3).sum(0) >= 2)))
    return counts, levels, overlaps


def assert_alike(one, other):
    (counts, *rest), (other_counts, *other_rest) = statistics(one), statistics(other)
    expected = np.bincount(other_counts, minlength=5)[1:]
    found = np.bincount(counts, minlength=5)[1:]
    assert (expected > 20).all()
    assert chisquare(found, expected * found.sum() / expected.sum()).pvalue > 0.01
    for values, others in zip(rest, other_rest, strict=True):
        assert ks_2samp(values, others).pvalue > 0.01


def test_remixed_clips_are_distributed_as_the_mixtures_on_disk(scale, stock):
    written = [make_example(scale, stock, index).sources / 32768 for index in range(400)]
    batches = itertools.islice(of_clips(scale, stock, batch_size=4, seed=1), 100)
    assert_alike([one for batch in batches for one in batch.references.numpy()], written)


def test_remixed_sources_are_distributed_as_the_mixtures_on_disk(scale, stock, tmp_path):
    mix(scale, stock._made_of[0], tmp_path / "mixtures", jobs=1)
    examples = open_examples(tmp_path / "mixtures", "train", scale.audio)
    batches = itertools.islice(of_sources(tmp_path / "mixtures", scale.audio, batch_size=4), 100)
    found = [one for batch in batches for one in batch.references.numpy()]
    assert_alike(found, [examples.read(number) for number in range(400)])


def test_remixed_sources_are_sources_of_other_examples_in_their_roles(packed, tiny):
    audio = tiny("pit").audio
    examples = open_examples(packed, "train", audio)
    known = [
        {
            examples.read(number)[slot].tobytes()
            for number, count in enumerate(examples.counts)
            if count > slot
        }
        for slot in range(4)
    ]
    together = set()
    for batch in itertools.islice(of_sources(packed, audio), 20):
        for references in batch.references.numpy():
            sounding = [source for source in references if source.any()]
            for slot, source in enumerate(sounding):
                if np.abs(references).max() < 0.9:  # the joint gain left it as it was
                    scaled = np.round(source * 2**15 * 2**15 / 32767) / 2**15
                    assert any(
                        np.abs(np.frombuffer(k, np.float32) - scaled).max() <= 2**-14
                        for k in known[slot]
                    )
            together.add(len(sounding))
    assert len(together) > 2


@pytest.mark.parametrize("kind", ["clips", "sources"])
def test_batches_depend_on_the_seed_and_their_number_alone(scale, stock, packed, kind):
    def made(**options):
        if kind == "clips":
            return of_clips(scale, stock, batch_size=4, **options)
        return of_sources(packed, scale.audio, batch_size=4, **options)

    whole = [next(batches) for batches in [made()] for _ in range(3)]
    again = made()
    next(again)
    later = made()
    later.load_state_dict(again.state_dict())
    for expected, batch in zip(whole[1:], later, strict=False):
        assert torch.equal(batch.references, expected.references)
        assert batch.names == expected.names
    parts = [next(made(share=(part, 2))) for part in range(2)]
    assert torch.equal(torch.cat([p.references for p in parts]), whole[0].references)
    assert not torch.equal(next(made(seed=1)).references, whole[0].references)
    assert len({one.references.numpy().tobytes() for one in whole}) == 3
    crop = next(made(length=1000))
    assert crop.references.shape == (4, 4, 1000)
    assert torch.equal(crop.mixture, crop.references.sum(1))


def test_rooms_are_applied_as_by_direct_convolution(stock):
    generator = np.random.default_rng(0)
    sources = generator.normal(0, 1, (2, 3, 900)).astype(np.float32)
    responses = [stock.responses[0][:3], stock.responses[1][:2]]
    found = reverberated(torch.from_numpy(sources), padded(responses, 3)).numpy()
    for b, room in enumerate(responses):
        for s, response in enumerate(room):
            expected = fftconvolve(sources[b, s].astype(float), response)[:900]
            np.testing.assert_allclose(found[b, s], expected, atol=1e-4)
    assert np.abs(found[1, 2]).max() == 0


def test_the_sum_of_loud_sources_is_fitted_into_16_bits():
    sources = torch.tensor([[[0.9, 0.1], [0.9, -0.1]], [[0.3, 0.1], [0.2, 0.0]]])
    found = fitted(sources) * 32768
    assert torch.equal(found, found.round())
    assert 32700 < found[0].sum(0).abs().max() <= 32767
    torch.testing.assert_close(found[1], (sources[1] * 32767).round())


def test_training_remixes_and_goes_on_to_the_same_bits(
    tiny, mixtures, bank, tmp_path, monkeypatch, configs
):
    for remix in ("sources", "clips"):
        run = tiny("pit-ctx-stft", f"training.remix={remix}", "training.steps=6")
        half = tiny("pit-ctx-stft", f"training.remix={remix}", "training.steps=3")
        folder = tmp_path / remix
        train(run, mixtures, folder / "whole", bank=bank, work=folder / "work1")
        train(half, mixtures, folder / "halves", bank=bank, work=folder / "work2")
        train(run, mixtures, folder / "halves", bank=bank, work=folder / "work2")
        weights = [(folder / n / "model.safetensors").read_bytes() for n in ("whole", "halves")]
        assert weights[0] == weights[1]
    with pytest.raises(UserError, match="give the bank that `apit bank` made"):
        train(run, mixtures, tmp_path / "none")
    make_bank(load_scale("tiny", ["data.recipe.seed=1"], configs), tmp_path / "bank", jobs=1)
    said = r"bank: was made for another configuration \(data\.recipe\.seed is 0 and was 1\)"
    with pytest.raises(UserError, match=said):
        train(run, mixtures, tmp_path / "none", bank=tmp_path / "bank")


def test_what_is_made_ahead_does_not_count(scale, stock):
    plain, ahead = of_clips(scale, stock), Prefetched(of_clips(scale, stock))
    for _ in range(3):
        assert ahead.state_dict() == plain.state_dict()
        assert torch.equal(next(ahead).references, next(plain).references)


def test_a_run_takes_the_batches_that_it_asks_for(tiny, packed, bank):
    for remix, kind in (("none", "RandomCrops"), ("sources", "RemixedSources"),
                        ("clips", "RemixedClips")):  # fmt: skip
        run = tiny("pit", f"training.remix={remix}")
        examples = open_examples(packed, "train", run.audio)
        batches = training_batches(run, examples, bank, CPU)
        assert type(batches).__name__ == kind
        assert next(batches).references.shape == (2, 4, 4000)
