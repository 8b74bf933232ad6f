"""The one analysis and synthesis pair."""

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from apit.config import Transform


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
        """|STFT| [..., time] → [..., bin, frame], without gradient."""
        with torch.no_grad():
            spectra = self.analyse(signals)
            # abs() guards against overflow, at four times the cost.
            return spectra.real.square().addcmul_(spectra.imag, spectra.imag).sqrt_()

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


def make_stft(transform: Transform, rate: int) -> STFT:
    """The STFT of a configuration, at a sampling rate in Hz."""
    return STFT(round(transform.window * rate), round(transform.hop * rate))
