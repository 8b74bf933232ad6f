"""BSS Eval v4 by museval's metric functions: SDR, ISR, SIR and SAR of aligned, active sources.

Vincent et al. 2006; version 4 as in the Signal Separation Evaluation Campaign of 2018 (Stöter et
al. 2018): one distortion filter of 512 taps for the whole signal, ratios window by window.
"""

import warnings
from dataclasses import dataclass
from functools import cache
from importlib import util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from apit.measure.table import BSS_EVAL

TAPS = 512
LARGEST_DB = 144.0  # of float32 signals, which have 24 bits; what is beyond is their rounding

Floats = NDArray[np.float64]


@cache
def museval_metrics() -> ModuleType:
    """museval's `metrics` alone: the package itself cannot be imported without ffmpeg."""
    package = util.find_spec("museval")
    assert package is not None
    assert package.origin is not None, "museval is a dependency"
    spec = util.spec_from_file_location(
        "museval_metrics", Path(package.origin).with_name("metrics.py")
    )
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True)
class BSSEval:
    """Ratios in dB, [source]: medians over windows, and of the whole signal; or why there are none.

    The SIR of a single source is undefined (museval: infinite, up to rounding). Beyond 144 dB a
    ratio is infinite: nothing interferes where estimates are perfect, or references alike.
    """

    windows: dict[str, Floats]
    whole: dict[str, Floats]
    windows_note: str = ""
    whole_note: str = ""


def bss_eval(
    *, references: NDArray[Any], estimates: NDArray[Any], window: int, hop: int
) -> BSSEval:
    """BSS Eval of sources [source, time] in the given order, windows in samples.

    Equal to museval's `bss_eval` without a permutation search, for windows and for the whole
    signal, which share the filters. A window in which any signal is all zero is left out, as
    museval does; an example with an estimate that is all zero has no ratio at all.
    """
    if not references.any(1).all() or not estimates.any(1).all():
        nothing = _named(np.full((len(BSS_EVAL), len(references)), np.nan))
        note = "an estimate is silent: BSS Eval has no value"
        return BSSEval(nothing, nothing, note, note)
    with np.errstate(divide="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ill-conditioned solves, as in museval itself
        return _bss_eval(
            references.astype(np.float64)[..., None],
            estimates.astype(np.float64)[..., None],
            window,
            hop,
        )


def _bss_eval(references: Floats, estimates: Floats, window: int, hop: int) -> BSSEval:
    museval = museval_metrics()
    sources, samples = references.shape[:2]
    correlations, _ = museval._compute_reference_correlations(references, TAPS)
    cross = _cross_correlations(references[..., 0], estimates[..., 0])
    joint = _filters(museval._reshape_G(correlations), cross.reshape(-1, sources))
    own = [
        _filters(correlations[s, s, 0, 0], cross[s, :, s : s + 1]) for s in range(sources)
    ]  # each estimate on its own reference

    def ratios(part: slice) -> Floats:
        """[metric, source] in one window."""
        here, there = references[:, part], estimates[:, part]
        if not here.any(1).all() or not there.any(1).all():
            return np.full((len(BSS_EVAL), sources), np.nan)
        values = [
            museval._bss_crit(
                *museval._bss_decomp_mtifilt(here, there[s], s, joint[s], own[s][0, 0]), False
            )
            for s in range(sources)
        ]
        by_metric = np.array(values).T
        if sources == 1:
            by_metric[BSS_EVAL.index("sir")] = np.nan
        by_metric[by_metric > LARGEST_DB] = np.inf
        by_metric[by_metric < -LARGEST_DB] = -np.inf
        return by_metric

    every = np.stack([ratios(part) for part in museval.Framing(window, hop, samples)])
    whole = ratios(slice(0, samples))
    sounding = every[~np.isnan(every).all((1, 2))]
    if not len(sounding):
        median = np.full_like(whole, np.nan)
        note = "no window in which all sources and estimates sound"
    else:
        median, note = np.median(sounding, axis=0), ""
    return BSSEval(_named(median), _named(whole), note)


def _cross_correlations(references: Floats, estimates: Floats) -> Floats:
    """Inner products of delayed references with estimates → [source, tap, estimate].

    museval's own, one estimate at a time, factorises the same large matrix for each of them.
    """
    length = fft.next_fast_len(references.shape[1] + TAPS - 1, real=True)
    spectra = fft.rfft(references, length), fft.rfft(estimates, length)
    products = spectra[0].conj()[:, None] * spectra[1][None]
    cross = fft.irfft(products, length)[..., :TAPS]  # [source, estimate, tap]
    return np.asarray(np.moveaxis(cross, 1, 2))


def _filters(correlations: Floats, cross: Floats) -> Floats:
    """Least-squares filters [estimate, source, 1, tap, 1], as museval's projections take them."""
    regular = correlations + np.finfo(float).eps * np.eye(len(correlations))
    try:
        solved = np.linalg.solve(regular, cross)  # [source × tap, estimate]
    except np.linalg.LinAlgError:  # museval's own fall-back, which names what numpy 2 has not
        solved = np.linalg.lstsq(correlations, cross)[0]
    return np.asarray(solved.T.reshape(cross.shape[1], -1, 1, TAPS, 1))


def _named(values: Floats) -> dict[str, Floats]:
    return dict(zip(BSS_EVAL, values, strict=True))
