"""Claims and verdicts: contrasts of experiments over seeds, their intervals, Holm, and one rule.

The unit is the seed. Intervals over mixtures alone say nothing of what another seed would give, and
never decide (in a simulation without any effect, tests over mixtures were wrong seven times as
often as they said). The rule is that of `configs/claims.yaml`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pandas as pd

from apit.config import ORACLES, Claim, Contrast
from apit.errors import UserError
from apit.measure.contrasts import ALPHA, Evidence, Finding, Verdict, power_of
from apit.measure.statistics import (
    AGGREGATES,
    by_pair,
    probability_of_improvement,
)
from apit.measure.variance import (
    FEWEST_SEEDS,
    Kind,
    Sample,
    deviations,
    difference,
    of_mixtures,
    of_runs,
    seeds_needed,
)

MEANS = [name for name, one in AGGREGATES.items() if one.centre == "mean"]  # what claims are on
SILENCE = "si_snri_all/2-4"  # must agree with SI-SNR_I, under which silence is an improvement
COLUMNS = ["claim", "of", "experiment", "baseline", "measure", "test", "looks", "look", "seeds",
           "differences", "mean", "lower", "upper", "p", "p_holm", "detectable", "seeds_needed",
           "improved", "improved_lower", "improved_upper", "verdict", "note"]  # fmt: skip
TEXTS = ("of", "experiment", "baseline", "measure", "seeds", "differences", "verdict", "note")


def holm(values: Sequence[float]) -> list[float]:
    """p-values adjusted by Holm's step-down; an undefined one stays so, and is none of them.

    Holm 1979: the i-th smallest of m (from 0) is multiplied by m − i, and none may be below a
    smaller one's.
    """
    p = np.asarray(values, dtype=float)
    adjusted = np.full(len(p), np.nan)
    tested = np.flatnonzero(~np.isnan(p))
    largest = 0.0
    for rank, place in enumerate(tested[np.argsort(p[tested])]):
        largest = max(largest, min(1.0, (len(tested) - rank) * p[place]))
        adjusted[place] = largest
    return adjusted.tolist()


def decide(
    claims: Sequence[Claim],
    scores: pd.DataFrame,
    kinds: Mapping[str, Kind],
    resamples: int,
    looks: Sequence[Sequence[int]] = ((),),
    *,
    first_alone: bool = False,
) -> pd.DataFrame:
    """Judge every claim: a row for each contrast, and before them one for claims of several.

    `looks` are the seeds of each look, of which each gets its share of the error; contrasts that a
    look decides the next one does not look at again, but for Holm's count of them. Of a single look
    it is all seeds; `first_alone` stops after the first of several.

    Below are rows of experiments against themselves, one half of their seeds against the other,
    which must come out as nothing, and of the deviation between runs of each kind. Columns as in
    `COLUMNS`; `differences` holds `seed: experiment − baseline` for every seed that both have.
    Raises UserError where the two were not scored on the same mixtures, or a measure is unknown.
    """
    contrasts = [contrast for claim in claims for contrast in claim.contrasts]
    table = by_pair(scores)
    _check(contrasts, table)
    alpha = ALPHA / len(looks)
    rows: dict[int, dict[str, object]] = {}
    for look, seeds in enumerate(looks[:1] if first_alone else looks, 1):
        later = {*looks[-1]} - {*seeds}
        seen = _Evidences(table[~table["seed"].isin(later)], kinds)
        pending = {
            number: found
            for number, contrast in enumerate(contrasts)
            if rows.get(number, {}).get("verdict") in (None, "undecided")
            and (found := _finding(contrast, seen, alpha)) is not None
            and _counts(found.seeds) != rows.get(number, {}).get("seeds")  # nothing new to be seen
        }
        values = [one.p if min(one.seeds) >= FEWEST_SEEDS else np.nan for one in pending.values()]
        refuted = sum(row["verdict"] == "not reproduced" for row in rows.values())
        adjusted = holm([*values, *[1.0] * refuted])
        for (number, found), p_holm in zip(pending.items(), adjusted, strict=False):
            rows[number] = {"look": look} | _row(found, p_holm, seen, resamples)
    run, whole = {*table["experiment"]}, []
    numbers = iter(range(len(contrasts)))
    for claim in claims:
        parts = [
            {"claim": claim.claim, **_named(contrast)} | rows.get(number, _absent(contrast, run))
            for contrast, number in zip(claim.contrasts, numbers, strict=False)
        ]
        whole += ([_statement(claim, parts)] if len(parts) > 1 else []) + parts
    measures = dict.fromkeys(contrast.measure for contrast in contrasts)
    seen = _Evidences(table, kinds)
    for measure in measures:
        whole += _against_itself(seen[measure], measure, alpha)
    for measure in measures:
        whole += _noise(seen[measure], measure)
    decided = pd.DataFrame(whole, columns=COLUMNS).assign(looks=len(looks))
    decided[[*TEXTS]] = decided[[*TEXTS]].astype(object).fillna("")
    return decided


def undecided(decisions: pd.DataFrame) -> list[str]:
    """Experiments of contrasts that are not decided, and that more seeds may decide."""
    contrasts = decisions[decisions["look"].notna() & (decisions["verdict"] == "undecided")]
    fewest = contrasts["seeds"].str.split(", ").map(lambda counts: min(map(int, counts)))
    contrasts = contrasts[fewest >= FEWEST_SEEDS]  # seeds of their own, and too few
    return sorted({*contrasts["experiment"], *contrasts["baseline"]} - {*ORACLES})


class _Evidences(dict[str, Evidence]):
    """Evidence by measure, made when it is asked for."""

    def __init__(self, table: pd.DataFrame, kinds: Mapping[str, Kind]):
        self.table, self.kinds = table, kinds

    def __missing__(self, measure: str) -> Evidence:
        self[measure] = Evidence(self.table, self.kinds, measure)
        return self[measure]


def _named(contrast: Contrast) -> dict[str, object]:
    return contrast.model_dump(include={"of", "experiment", "baseline", "measure", "test"})


def _finding(contrast: Contrast, seen: _Evidences, alpha: float) -> Finding | None:
    """What is found of a contrast; None where it was not run, or not measured."""
    evidence = seen[contrast.measure]
    pair = evidence.pair(contrast.experiment, contrast.baseline)
    apart = evidence.difference(contrast.experiment, contrast.baseline)
    if pair is None or apart is None:
        return None
    margin = contrast.margin
    if contrast.relative:
        margin *= float(pair[1].means.mean())
    if contrast.better == "lower":
        apart = replace(apart, mean=-apart.mean)
    counts = tuple(len(sample.seeds) for sample in pair if not sample.is_oracle)
    return Finding(contrast, apart, margin, counts, alpha)


def _row(found: Finding, p_holm: float, seen: _Evidences, resamples: int) -> dict[str, object]:
    contrast, evidence = found.contrast, seen[found.contrast.measure]
    pair = evidence.pair(contrast.experiment, contrast.baseline)
    assert pair is not None
    sign = -1 if contrast.better == "lower" else 1
    verdict, notes = found.verdict(p_holm), []
    if min(found.seeds) < FEWEST_SEEDS:
        notes.append(f"fewer than {FEWEST_SEEDS} seeds")
    if objections := _objections(found, verdict, seen):
        verdict, notes = "undecided", [*notes, *objections]
    gain = found.gain
    bounds = sorted(sign * bound for bound in gain.interval(found.alpha))
    improved = probability_of_improvement(*pair, contrast.better, resamples)
    needed = seeds_needed(
        evidence.arms(contrast), of_mixtures(*pair), evidence.mixtures, found.margin, found.alpha,
        power_of(contrast),
    )  # fmt: skip
    return {
        "seeds": _counts(found.seeds), "differences": _listed(*pair),
        "mean": sign * gain.mean, "lower": bounds[0], "upper": bounds[1], "p": found.p,
        "p_holm": p_holm, "detectable": found.detectable, "seeds_needed": needed,
        "improved": improved["mean"], "improved_lower": improved["lower"],
        "improved_upper": improved["upper"], "verdict": verdict, "note": "; ".join(notes),
    }  # fmt: skip


def _objections(found: Finding, verdict: Verdict, seen: _Evidences) -> list[str]:
    """Why a verdict does not hold: what the claim is provided by, and MSi(all) beside SI-SNR_I."""
    contrast = found.contrast
    names = contrast.experiment, contrast.baseline
    objections = []
    if contrast.measure == "si_snr_i" and verdict != "undecided":
        other = seen[SILENCE].difference(*names)
        if other is None:
            objections.append("MSi(all) not measured")
        elif found.contradicts(other.mean):
            objections.append(f"MSi(all) differs in sign: {other.mean:+.2g} dB")
    if verdict == "reproduced":
        for guard in contrast.provided:
            change = seen[guard.measure].difference(*names)
            if change is None:
                objections.append(f"{guard.measure} not measured")
                continue
            lower, upper = change.interval(found.alpha)
            if guard.rises_less_than is not None and not upper < guard.rises_less_than:
                objections.append(f"{guard.measure} may rise by {upper:.3g}")
            if guard.falls_less_than is not None and not -lower < guard.falls_less_than:
                objections.append(f"{guard.measure} may fall by {-lower:.3g}")
    return objections


def _statement(claim: Claim, parts: Sequence[Mapping[str, object]]) -> dict[str, object]:
    """A claim of several contrasts, judged by those that were run with seeds enough."""
    fewest = [  # 0: not measured, which leaves the claim open; −1: not run
        min(map(int, str(part["seeds"]).split(", "))) if part["seeds"] else -1 for part in parts
    ]
    verdicts = [
        part["verdict"]
        for part, count in zip(parts, fewest, strict=True)
        if count == 0 or count >= FEWEST_SEEDS
    ]
    verdict = "undecided"
    if "not reproduced" in verdicts:
        verdict = "not reproduced"
    elif verdicts and {*verdicts} == {"reproduced"}:
        verdict = "reproduced"
    notes = [f"{verdicts.count('reproduced')} of {len(parts)} contrasts reproduced"]
    if few := sum(0 < n < FEWEST_SEEDS for n in fewest):
        notes.append(f"{few} with fewer than {FEWEST_SEEDS} seeds")
    if absent := fewest.count(-1):
        notes.append(f"{absent} not run")
    note = "; ".join(notes if verdicts else notes[1:])
    seeds = ", ".join(dict.fromkeys(str(part["seeds"]) for part in parts if part["seeds"]))
    return {"claim": claim.claim, "test": "claim", "seeds": seeds, "verdict": verdict, "note": note}


def _against_itself(evidence: Evidence, measure: str, alpha: float) -> list[dict[str, object]]:
    """Experiments of six seeds or more: the first half of them against the second."""
    rows: list[dict[str, object]] = []
    for name, sample in evidence.samples.items():
        half = len(sample.seeds) // 2
        kind = evidence.kinds.get(name)
        if kind is None or kind.parent is not None or half < FEWEST_SEEDS:
            continue
        pair = sample.of(sample.seeds[:half]), sample.of(sample.seeds[half : 2 * half])
        # As of two experiments: a shift between the halves is no deviation between runs.
        samples = {n: s for n, s in evidence.samples.items() if n != name and not s.is_oracle}
        samples |= {"first": pair[0], "second": pair[1]}
        pooled = deviations(samples, {**evidence.kinds, "first": kind, "second": kind})[kind]
        apart = difference(
            *pair,
            (of_runs("first", pair[0].means, pooled), of_runs("second", pair[1].means, pooled)),
        )
        lower, upper = apart.interval(alpha)
        found = "nothing, as it must be" if lower < 0 < upper else "a difference where none can be"
        rows.append(
            {"claim": f"A/A: {name} against itself", "experiment": name, "baseline": name,
             "measure": measure, "test": "A/A", "seeds": str(half), "mean": apart.mean,
             "lower": lower, "upper": upper, "p": apart.p(), "verdict": found,
             "detectable": apart.detectable(alpha),
             "note": " against ".join(" ".join(map(str, s.seeds)) for s in pair)}
        )  # fmt: skip
    return rows


def _noise(evidence: Evidence, measure: str) -> list[dict[str, object]]:
    """How far runs of a kind lie apart: `mean` is their standard deviation."""
    return [
        {"claim": f"deviation between runs: {kind.name}", "measure": measure, "test": "noise",
         "seeds": "", "mean": float(np.sqrt(one.variance)),
         "note": f"{one.freedom:.0f} degrees of freedom"}
        for kind, one in evidence.deviations.items()
    ]  # fmt: skip


def _check(contrasts: Sequence[Contrast], table: pd.DataFrame) -> None:
    for contrast in contrasts:
        for measure in (contrast.measure, *(guard.measure for guard in contrast.provided)):
            if measure not in MEANS:
                raise UserError(
                    f"{contrast.experiment} − {contrast.baseline}: {measure!r} is no measure of "
                    f"claims; there are {', '.join(MEANS)}"
                )
    first: tuple[object, set[tuple[str, int, float]]] | None = None
    for run, own in table.groupby(["experiment", "seed"], sort=False):
        mixtures = _mixtures(own)
        first = first or (run, mixtures)
        if odd := sorted(example for example, *_ in first[1] ^ mixtures):
            raise UserError(
                "{}, seed {}, and {}, seed {}, ".format(*cast(Any, first[0]), *cast(Any, run))
                + f"were not scored on the same mixtures ({odd[0]} differs, or is in one of them "
                "only); evaluate both on the same data"
            )


def _mixtures(run: pd.DataFrame) -> set[tuple[str, int, float]]:
    """Examples and sources, each with its SI-SNR before separation, which only data decide."""
    before = run["si_snr_mixture"] if "si_snr_mixture" in run else pd.Series(0.0, run.index)
    return set(zip(run["example"], run["source"], before.fillna(0).round(3), strict=True))


def _absent(contrast: Contrast, run: Collection[str]) -> dict[str, object]:
    """A row of what was not run, or not measured."""
    absent = [n for n in (contrast.experiment, contrast.baseline) if n not in run]
    if absent:
        return {"seeds": "", "verdict": "undecided", "note": f"{' and '.join(absent)} not run"}
    note = f"{contrast.measure} not measured"
    return {"seeds": "0", "verdict": "undecided", "note": note}


def _counts(seeds: Sequence[int]) -> str:
    return ", ".join(dict.fromkeys(map(str, seeds)))


def _listed(experiment: Sample, baseline: Sample) -> str:
    """Differences of the seeds that both have; of all where the baseline has none."""
    theirs = dict(zip(baseline.seeds, baseline.means, strict=True))
    return "; ".join(
        f"{seed}: {mean - (baseline.means[0] if baseline.is_oracle else theirs[seed]):.6g}"
        for seed, mean in zip(experiment.seeds, experiment.means, strict=True)
        if baseline.is_oracle or seed in theirs
    )
