"""The one analysis and synthesis pair."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

from apit.config import Transform

TINY = 1e-18  # below it, squares vanish in float32


class STFT(nn.Module):
    """Short-time Fourier transform with a Hann window, centred frames and zero padding.

    Zeros rather than reflection, because the gradient of CUDA's reflection is not deterministic.
    """

    window: Tensor

    def __init__(self, window_samples: int, hop_samples: int):
        super().__init__()
        self.hop = hop_samples
        self.register_buffer("window", torch.hann_window(window_samples), persistent=False)

    @property
    def bins(self) -> int:
        """Number of frequencies."""
        return len(self.window) // 2 + 1

    def analyse(self, signals: Tensor) -> Tensor:
        """[..., time] → complex [..., bin, frame].

        The signal is filled up with zeros to whole hops: a last frame that covers the end with
        its flank alone would blow up whatever a mask leaves there.
        """
        filled = pad(signals, (0, -signals.shape[-1] % self.hop))
        spectra = torch.stft(
            filled.reshape(-1, filled.shape[-1]),
            len(self.window),
            self.hop,
            window=self.window,
            pad_mode="constant",
            return_complex=True,
        )
        return spectra.reshape(*signals.shape[:-1], *spectra.shape[-2:])

    def magnitude(self, signals: Tensor) -> Tensor:
        """|STFT| [..., time] → [..., bin, frame], with a gradient of its own where one is due.

        autograd's of a real transform goes through a complex one of twice the length.
        """
        found: Tensor = _Magnitude.apply(signals, self)  # type: ignore[no-untyped-call]
        return found

    def _adjoint(self, spectra: Tensor, samples: int) -> Tensor:
        """The transpose of `analyse` as a real map: complex [..., bin, frame] → [..., time]."""
        window, hop = len(self.window), self.hop
        # irfft counts all bins twice that have a mirror image, and divides by the length.
        halves = torch.full((self.bins,), window / 2, device=spectra.device)
        halves[0] = window
        if window % 2 == 0:
            halves[-1] = window
        frames = torch.fft.irfft(spectra.mT * halves, window) * self.window  # [..., frame, sample]
        count, pieces = frames.shape[-2], -(-window // hop)
        frames = pad(frames, (0, pieces * hop - window))
        filled = frames.new_zeros(*frames.shape[:-2], count + pieces - 1, hop)
        for piece in range(pieces):
            filled[..., piece : piece + count, :] += frames[..., piece * hop : (piece + 1) * hop]
        return filled.flatten(-2)[..., window // 2 : window // 2 + samples]

    def synthesise(self, spectra: Tensor, samples: int) -> Tensor:
        """Complex [..., bin, frame] → [..., time]."""
        signals = torch.istft(
            spectra.reshape(-1, *spectra.shape[-2:]),
            len(self.window),
            self.hop,
            window=self.window,
            length=samples,
        )
        return signals.reshape(*spectra.shape[:-2], samples)


class _Magnitude(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, signals: Tensor, stft: STFT) -> Tensor:
        spectra = stft.analyse(signals)
        # abs() guards against overflow, at four times the cost.
        magnitude = spectra.real.square().addcmul_(spectra.imag, spectra.imag).sqrt_()
        ctx.save_for_backward(spectra, magnitude)
        ctx.stft, ctx.samples = stft, signals.shape[-1]
        return magnitude

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        spectra, magnitude = ctx.saved_tensors
        direction = spectra * (gradient / magnitude.clamp_min(TINY))  # none where it is zero
        return ctx.stft._adjoint(direction, ctx.samples), None


def make_stft(transform: Transform, rate: int) -> STFT:
    """The STFT of a configuration, at a sampling rate in Hz."""
    return STFT(round(transform.window * rate), round(transform.hop * rate))
