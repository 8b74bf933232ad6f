"""A separator of one's own is trained, scored, resumed and used like ours."""

import json
import sys
import tarfile

import numpy as np
import pytest
import soundfile
import torch
from steps import CPU, batches_of

import apit
from apit.cli import main
from apit.errors import UserError
from apit.layers import load_run
from apit.models.complexity import complexities
from apit.models.separators import make_separator
from apit.models.views import Views
from apit.separate.model import Model
from apit.training.identities import of_run
from apit.training.record import check_start, load_separator
from apit.training.state import TrainState
from apit.training.step import train_step
from apit.training.train import train

NETWORK = """
from torch import nn

class Split(nn.Module):
    def __init__(self, sources, sample_rate, width=2):
        super().__init__()
        assert (sources, sample_rate) == (4, 8000)
        self.layers = nn.Conv1d(1, width, 3, padding=1), nn.Conv1d(width, sources, 1)
        self.layers = nn.Sequential(self.layers[0], nn.Tanh(), self.layers[1])

    def forward(self, mixture):
        return self.layers(mixture[:, None])

class Masking(Split):
    def forward(self, mixture):
        estimates = super().forward(mixture)
        frames = -(-mixture.shape[-1] // 128)
        masks = estimates[..., :frames, None].mT.expand(-1, -1, 128, -1).softmax(1)
        return estimates, masks

class Short(Split):
    def forward(self, mixture):
        return super().forward(mixture)[..., 1:]

class Numbers(Split):
    def forward(self, mixture):
        assert isinstance(mixture.mean().item(), float)  # which a tensor without values has not
        return super().forward(mixture)

class Fixed(nn.Module):
    def __init__(self, sources, sample_rate):
        super().__init__()

def function(sources, sample_rate):
    return lambda mixture: mixture[:, None].expand(-1, sources, -1)

number = 3
"""
SPLIT, MASKING = "own_networks:Split", "own_networks:Masking"


@pytest.fixture(autouse=True)
def own_networks(tmp_path, monkeypatch):
    (tmp_path / "own_networks.py").write_text(NETWORK)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / "own_networks.py"
    sys.modules.pop("own_networks", None)


def own(name, *options):
    return f"separator.architecture={name}", *options


def separator_of(run):
    return make_separator(run.separator, run.stft, run.audio)


@pytest.mark.parametrize("name", [SPLIT, MASKING])
@pytest.mark.parametrize("experiment", ["pit", "ctx-wave-i3-m", "six", "pit-ctx-all"])
def test_every_loss_trains_it(tiny, mixtures, name, experiment):
    run = tiny(experiment, *own(name))
    state = TrainState(run, CPU)
    before = state.separator.network.layers[0].weight.clone()
    for batch in batches_of(run, mixtures):
        assert train_step(state, batch).finite
    assert not torch.equal(before, state.separator.network.layers[0].weight)


def test_without_masks_discriminators_see_magnitudes_of_estimates_and_their_shares(tiny, mixtures):
    run = tiny("ctx-all", *own(SPLIT))
    (batch,) = batches_of(run, mixtures, 1)
    separator = separator_of(run)
    estimates = separator(batch.mixture).estimates
    views = Views(
        separator, run.adversary, batch.mixture, batch.references, None, lambda: estimates
    )
    rms = batch.mixture.square().mean(-1).sqrt()[:, None, None, None]
    magnitudes = separator.stft.analyse(estimates)[..., :-1, :-1].abs() / rms
    torch.testing.assert_close(views.stft.fake, magnitudes)
    audible = views.mask.fake.sum(1) > 0
    shares = magnitudes / magnitudes.sum(1, keepdim=True)
    every = audible[:, None].expand_as(shares)
    torch.testing.assert_close(views.mask.fake[every], shares[every])
    # a louder estimate is seen by those of spectra, and all of them louder by none of masks
    louder = Views(
        separator, run.adversary, batch.mixture, batch.references, None, lambda: 2 * estimates
    )
    torch.testing.assert_close(louder.stft.fake, 2 * views.stft.fake)
    torch.testing.assert_close(louder.mask.fake, views.mask.fake)


def test_masks_that_it_gives_are_what_discriminators_see(tiny, mixtures):
    run = tiny("ctx-all", *own(MASKING))
    (batch,) = batches_of(run, mixtures, 1)
    separator = separator_of(run)
    estimates, masks = separator(batch.mixture)
    views = Views(
        separator, run.adversary, batch.mixture, batch.references, masks, lambda: estimates
    )
    torch.testing.assert_close(views.stft.fake, masks * views.stft.mixture[:, None])
    audible = views.mask.fake > 0
    assert audible.any()
    torch.testing.assert_close(views.mask.fake[audible], masks[audible])


def test_a_run_is_scored_resumed_and_separates(tiny, packed, tmp_path, configs, own_networks):
    run = tiny("ctx-wave-i3-m", *own(SPLIT, "separator.options={width: 3}"))
    longer = tiny("ctx-wave-i3-m", *own(SPLIT, "separator.options={width: 3}"), "training.steps=6")
    train(run, packed, tmp_path / "run", work=tmp_path / "work")
    train(longer, packed, tmp_path / "resumed", work=tmp_path / "work")
    train(longer, packed, tmp_path / "whole")
    (_, one), (_, other) = (load_separator(tmp_path / name) for name in ("resumed", "whole"))
    assert one.network.layers[0].out_channels == 3
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    record = json.loads((tmp_path / "whole/record.json").read_text())
    assert record["run"]["separator"]["options"] == {"width": 3}
    assert record["networks"]["separator"]["multiply_accumulates"] == 8000 * (3 * 3 + 3 * 4)

    sound = np.random.default_rng(0).normal(0, 0.1, (2, 12000)).astype(np.float32)
    separated = Model.load(tmp_path / "whole").separate(sound, 16000, silent=True)
    assert separated.shape == (4, 2, 12000)
    np.testing.assert_allclose(separated.sum(0), sound, atol=1e-5)
    scale = ["--scale", "tiny", "--configs", str(configs), "--data", str(packed)]
    run, scores = ("--run", str(tmp_path / "whole")), ("--output", str(tmp_path / "scores"))
    assert main(["evaluate", *scale, *run, *scores]) == 0
    assert (tmp_path / "scores/scores.csv").exists()
    soundfile.write(tmp_path / "street.wav", sound.T, 16000)
    model, output = ("--model", str(tmp_path / "whole")), ("--output", str(tmp_path / "out"))
    assert main(["separate", str(tmp_path / "street.wav"), *model, *output]) == 0


def test_weights_of_a_file_that_has_changed_since_are_refused(
    tiny, packed, tmp_path, own_networks, capsys
):
    train(tiny("pit", *own(SPLIT)), packed, tmp_path / "run")
    assert (
        main(["release", "--runs", str(tmp_path / "run"), "--output", str(tmp_path / "a.tar")]) == 0
    )
    with tarfile.open(tmp_path / "a.tar") as tar:
        tar.extractall(tmp_path / "released", filter="data")
    fork = tiny("fork-pit", *own(SPLIT))
    for folder in (tmp_path / "run", tmp_path / "released/pit-s0"):
        apit.load(folder)
    check_start(fork, tmp_path / "run")
    own_networks.write_text(NETWORK.replace("Tanh", "ReLU"))
    for folder in (tmp_path / "run", tmp_path / "released/pit-s0"):
        with pytest.raises(UserError, match=r"own_networks.py: has changed since .* was trained"):
            apit.load(folder)
    with pytest.raises(UserError, match="bring the file back as it was, or train again"):
        check_start(fork, tmp_path / "run")


def test_it_may_look_at_values(tiny):
    counts = complexities(tiny("pit", *own("own_networks:Numbers")))["separator"]
    assert counts == complexities(tiny("pit", *own(SPLIT)))["separator"]


def test_its_file_and_options_count_as_the_runs(tiny, packed, own_networks):
    from apit.identity import stamp_of

    data = stamp_of(packed)
    before = of_run(tiny("pit", *own(SPLIT)), data)
    wider = of_run(tiny("pit", *own(SPLIT, "separator.options={width: 3}")), data)
    own_networks.write_text(NETWORK.replace("Tanh", "ReLU"))
    changed = of_run(tiny("pit", *own(SPLIT)), data)
    assert len({before.id, wider.id, changed.id}) == 3
    assert "options" not in before.configuration["separator"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (own("resnet"), "architecture: 'resnet' is none of unet, tdcnpp and package.mod"),
        (own("unet", "separator.options={width: 3}"), "options: unet has none"),
    ],
)
def test_a_configuration_that_cannot_be_meant_is_refused(configs, settings, said):
    with pytest.raises(UserError, match=said):
        load_run("tiny", "pit", 0, settings, configs)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (own("no_such_module:Net"), "separator.architecture: no_such_module:Net cannot be importe"),
        (own("own_networks:Missing"), "own_networks:Missing cannot be imported"),
        (own("own_networks:number"), "own_networks:number is not a function or class"),
        (own(SPLIT, "separator.options={depth: 3}"), "own_networks:Split: .*'depth'"),
        (own("own_networks:function"), "own_networks:function: is no torch.nn.Module with weights"),
        (own("own_networks:Fixed"), "own_networks:Fixed: is no torch.nn.Module with weights to be"),
    ],
)
def test_a_class_that_cannot_be_made_is_told(tiny, settings, said):
    with pytest.raises(UserError, match=said):
        separator_of(tiny("pit", *settings))


def test_estimates_of_a_wrong_shape_are_told(tiny):
    separator = separator_of(tiny("pit", *own("own_networks:Short")))
    with pytest.raises(UserError, match=r"gave \[\(2, 4, 3999\)\].*\(2, 4, 4000\) were due"):
        separator.outputs(torch.zeros(2, 4000))
