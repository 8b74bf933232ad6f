import pytest
import torch

from apit.models.stft import STFT


@pytest.mark.parametrize(
    ("window", "hop", "samples"),
    [(128, 64, 1000), (128, 32, 1001), (129, 40, 400), (100, 30, 333)],
)
def test_the_magnitudes_own_gradient_is_autograds(generator, window, hop, samples):
    stft = STFT(window, hop).double()
    signals = torch.randn(2, 3, samples, generator=generator, dtype=torch.float64)
    signals[0, 1] = 0
    signals.requires_grad_()
    expected = stft.analyse(signals).abs()
    found = stft.magnitude(signals)
    torch.testing.assert_close(found, expected)
    upstream = torch.randn(found.shape, generator=generator, dtype=torch.float64)
    (one,) = torch.autograd.grad((expected * upstream).sum(), signals)
    (other,) = torch.autograd.grad((found * upstream).sum(), signals)
    torch.testing.assert_close(one, other)
    assert not other[0, 1].any()  # silence has no direction
