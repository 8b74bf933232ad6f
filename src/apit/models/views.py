"""What discriminators see: sets of K sources, real and estimated, in three domains."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor
from torch.nn.functional import pad

from apit.config import Adversary, Domain, SpectralCritic
from apit.models.separators import Separator, ratio_masks

AUDIBLE = 1e-6  # of the mixture's maximum: bins below it are zero in masks


@dataclass(frozen=True)
class View:
    """One domain of a batch: the mixture [batch, …], and sets of sources [batch, source, …].

    In wave … is time, in stft and mask bin and frame. `real` are targets, `fake` estimates, in
    the separator's order.
    """

    mixture: Tensor
    real: Tensor
    fake: Tensor


@dataclass(eq=False)
class Views:
    """The views of one batch. A domain is computed when it is first asked for, and once.

    Signals are divided by the mixture's RMS. Fakes are those that the separator's masks give
    straight away: no estimate is transformed for stft and mask, and none is synthesised unless
    `estimates` is called. Of a separator without masks they are its estimates' magnitudes, and
    ratio masks of those.
    """

    separator: Separator
    adversary: Adversary
    mixture: Tensor
    references: Tensor
    masks: Tensor | None
    estimates: Callable[[], Tensor]
    shift: tuple[int, int] = (0, 0)

    def view(self, domain: Domain) -> View:
        """The batch in one domain."""
        made: View = getattr(self, domain)
        return made

    @cached_property
    def gain(self) -> Tensor:
        """What signals are multiplied by [batch]."""
        return 1 / self.mixture.square().mean(-1).sqrt().clamp_min(1e-8)

    @cached_property
    def wave(self) -> View:
        """Waveforms."""
        gain = self.gain[:, None]
        real, fake = gain[..., None] * self.references, gain[..., None] * self.estimates()
        return View(gain * self.mixture, real, fake)

    @cached_property
    def _magnitudes(self) -> tuple[Tensor, Tensor]:
        """|M| [batch, bin, frame] and |S_k| [batch, source, bin, frame]."""
        gain, magnitude = self.gain[:, None, None], self.separator.stft.magnitude
        mixture = gain * magnitude(self.mixture)[..., :-1, :-1]
        return mixture, gain[..., None] * magnitude(self.references)[..., :-1, :-1]

    @cached_property
    def _fake_magnitudes(self) -> Tensor:
        """|M| ⊙ R̂_k [batch, source, bin, frame]; or |Ŝ_k|."""
        if self.masks is not None:
            return self.masks * self._magnitudes[0][:, None]
        return self.gain[:, None, None, None] * self.separator.spectrum(self.estimates()).abs()

    @cached_property
    def stft(self) -> View:
        """Magnitudes."""
        (mixture, real), critic = self._magnitudes, self.adversary.stft
        if critic.real_magnitudes == "masked":
            real = ratio_masks(real) * mixture[:, None]
        fake = self._fake_magnitudes
        if (floor := _floor(mixture, critic)) is not None:
            real, fake = real + floor, fake + floor
        mixture, real, fake = (_power(one, critic.compression) for one in (mixture, real, fake))
        return View(self._moved(mixture), self._moved(real), self._moved(fake))

    @cached_property
    def mask(self) -> View:
        """Masks: shares of the magnitudes; the mixture beside them is a magnitude."""
        (mixture, targets), critic = self._magnitudes, self.adversary.mask
        real = ratio_masks(targets)
        fake = ratio_masks(self._fake_magnitudes) if self.masks is None else self.masks
        if (floor := _floor(mixture, critic)) is not None:
            sources = targets.shape[1]
            real = (targets + floor) / (targets.sum(1, keepdim=True) + sources * floor)
            floored = fake * mixture[:, None] + floor
            fake = floored / floored.sum(1, keepdim=True)
        loudest = mixture.amax((-2, -1), keepdim=True)
        audible = (mixture >= AUDIBLE * loudest)[:, None]
        mixture = _power(mixture, critic.compression)
        return View(self._moved(mixture), self._moved(real * audible), self._moved(fake * audible))

    def _moved(self, spectra: Tensor) -> Tensor:
        """By `shift` bins up and frames later; what comes in is zero, what goes out is cut."""
        bins, frames = self.shift
        if not bins and not frames:
            return spectra
        end = (spectra.shape[-2] - bins, spectra.shape[-1] - frames)
        return pad(spectra[..., : end[0], : end[1]], (frames, 0, bins, 0))


def _floor(mixture: Tensor, critic: SpectralCritic) -> Tensor | None:
    """δ of the mixture's maximum [batch, 1, 1, 1]."""
    if critic.floor_db is None:
        return None
    return 10 ** (critic.floor_db / 20) * mixture.amax((-2, -1))[:, None, None, None]


def _power(magnitudes: Tensor, power: float) -> Tensor:
    """With a finite gradient at zero, and zero there; for real and fake alike."""
    if power == 1:
        return magnitudes
    raised: Tensor = (magnitudes + 1e-6).pow(power) - 1e-6**power
    return raised


def near_zero(view: View, near: float = 1e-3) -> tuple[Tensor, Tensor]:
    """Share of values near zero in every source [batch, source], of real and of fake.

    Near means below `near` of the largest of an example's set. Targets are exact zeros in many
    bins, and estimates are not: how well that share alone tells them apart is logged.
    """

    def shares(signals: Tensor) -> Tensor:
        values = signals.abs().flatten(2)  # [batch, source, place]
        return (values < near * values.amax((1, 2), keepdim=True)).float().mean(-1)

    return shares(view.real), shares(view.fake.detach())


def auc(real: Tensor, fake: Tensor) -> Tensor:
    """Probability that a value of `real` exceeds one of `fake`; ties count half."""
    difference = real.flatten()[:, None] - fake.flatten()[None]
    return ((difference > 0).float() + 0.5 * (difference == 0).float()).mean()
