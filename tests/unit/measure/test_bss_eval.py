import sys

import numpy as np
import pytest

from apit.measure.bss_eval import bss_eval, museval_metrics
from apit.measure.table import BSS_EVAL


def sources(count, samples=6000, seed=0):
    return np.random.default_rng(seed).normal(size=(count, samples)).astype(np.float32)


def estimates_of(references, seed=1):
    leak = 0.3 * np.roll(references, 1, axis=0) if len(references) > 1 else 0
    return references + leak + 0.2 * sources(*references.shape, seed=seed)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_equals_musevals_own_evaluation(count):
    references = sources(count)
    references[0, :1500] = 0  # silent in the first window alone
    estimates = estimates_of(references)
    ratios = bss_eval(references=references, estimates=estimates, window=1500, hop=1000)
    museval = museval_metrics()
    for window, hop, ours in ((1500, 1000, ratios.windows), (np.inf, np.inf, ratios.whole)):
        theirs = museval.bss_eval(references, estimates, window=window, hop=hop)
        for metric, values in zip(BSS_EVAL, theirs[:4], strict=True):
            if (count, metric) == (1, "sir"):
                assert np.isnan(ours[metric]).all()  # museval: infinite, up to rounding
                continue
            expected = np.nanmedian(values, axis=1)
            np.testing.assert_allclose(ours[metric], expected, atol=1e-9)


def test_ratios_by_construction():
    # Interference at −20 dB and noise at −30 dB of independent white signals.
    references = sources(2, 80_000)
    noise = sources(2, 80_000, seed=5)
    estimates = references + 0.1 * references[::-1] + 10**-1.5 * noise
    whole = bss_eval(references=references, estimates=estimates, window=80_000, hop=80_000).whole
    # 512 taps per source fit 512 of 80,000 samples' noise too: a hundredth, which moves 0.1 dB.
    np.testing.assert_allclose(whole["sir"], 20, atol=0.3)
    np.testing.assert_allclose(whole["sar"], 30, atol=0.3)
    np.testing.assert_allclose(whole["sdr"], -10 * np.log10(1e-2 + 1e-3), atol=0.3)


def test_silence_and_dependent_references_have_no_value_and_say_so():
    references = sources(2)
    ratios = bss_eval(
        references=references, estimates=references * [[1], [0]], window=1000, hop=1000
    )
    assert np.isnan(ratios.windows["sdr"]).all()
    assert "silent" in ratios.windows_note
    assert "silent" in ratios.whole_note
    alternating = references.copy()
    alternating[0, :3000] = 0
    alternating[1, 3000:] = 0
    ratios = bss_eval(references=alternating, estimates=alternating + 0.01, window=1000, hop=1000)
    assert np.isnan(ratios.windows["sdr"]).all()
    assert "no window" in ratios.windows_note
    assert np.isfinite(ratios.whole["sdr"]).all()


def test_a_singular_system_is_solved_by_least_squares(monkeypatch):
    references, estimates = sources(2), estimates_of(sources(2))
    usual = bss_eval(references=references, estimates=estimates, window=6000, hop=6000)

    def solve(*arguments):
        raise np.linalg.LinAlgError("Singular matrix")

    monkeypatch.setattr(np.linalg, "solve", solve)
    ratios = bss_eval(references=references, estimates=estimates, window=6000, hop=6000)
    np.testing.assert_allclose(ratios.whole["sdr"], usual.whole["sdr"], atol=1e-6)


def test_museval_is_used_without_ffmpeg():
    museval_metrics()
    assert "museval" not in sys.modules
    assert "stempeg" not in sys.modules
