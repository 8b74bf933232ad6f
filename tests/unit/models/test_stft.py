import torch

from apit.models.stft import STFT


def test_magnitudes_are_those_of_the_analysis_without_gradient(generator):
    stft = STFT(128, 64)
    signals = torch.randn(2, 3, 1000, generator=generator, requires_grad=True)
    found = stft.magnitude(signals)
    torch.testing.assert_close(found, stft.analyse(signals).abs().detach())
    assert not found.requires_grad
