"""Tables: aggregates and run records in, CSV, Markdown and LaTeX out."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf, isnan
from typing import Any, cast

import pandas as pd

from apit.config import HEADLINE_DB, Reported
from apit.data import fuss
from apit.measure.table import BSS_EVAL
from apit.present.table import Best, Column, Table, best, span

COLUMNS = {
    "si_snr_s": Column("SI-SNR_S", "dB", 1, better="higher"),
    "si_snr_i": Column("SI-SNR_I", "dB", 2, better="higher"),
    **{
        f"si_snr_i/{of}": Column(f"I({of})", "dB", 2, better="higher")
        for of in (2, 3, 4, "median", "iqm", "clipped")
    },
    "si_snri_all/2-4": Column("MSi(all)", "dB", 2, better="higher"),
    "buried": Column("buried", "%", 1, 100, better="lower"),
    "si_snr/1": Column("1S", "dB", 1, better="higher"),
    **{f"si_snri/{count}": Column(f"{count}", "dB", 2, better="higher") for count in (2, 3, 4)},
    "si_snri/2-4": Column("MSi", "dB", 2, better="higher"),
    "under_separation": Column("under", "%", 0, 100),
    "equal_separation": Column("equal", "%", 0, 100, better="higher"),
    "over_separation": Column("over", "%", 0, 100),
    "hole_rate": Column("holes", "%", 1, 100, better="lower"),
    "missing_rate": Column("missing", "%", 1, 100, better="lower"),
    "excess_rate": Column("excess", "%", 1, 100, better="lower"),
}
HOLE_COLUMNS = {name: COLUMNS[name] for name in ("hole_rate", "missing_rate", "excess_rate")}
BSS_EVAL_COLUMNS = {
    **{
        f"{metric}{of}/2-4": Column(f"{metric.upper()}{told}", "dB", 2, better="higher")
        for of, told in (("", ""), ("_whole", ", whole"))
        for metric in BSS_EVAL
    },
    "log_spectral_distance/2-4": Column("LSD", "dB", 2, better="lower"),
}
AS_PRINTED = Column("published", "dB", 1)
P_VALUE, SEEDS, IMPROVED = Column("p", "", 3), Column("", "", 0), Column("", "%", 0, 100)
RANK = Column("rank correlation", "", 2)
PUBLISHED_COLUMNS = {  # by metric: name of a published value, and the aggregate that is ours
    "A": {
        "1": "si_snr_s",
        "2": "si_snr_i/2",
        "3": "si_snr_i/3",
        "4": "si_snr_i/4",
        "2-4": "si_snr_i",
    },
    "B": {
        "1": "si_snr/1",
        "2": "si_snri/2",
        "3": "si_snri/3",
        "4": "si_snri/4",
        "2-4": "si_snri/2-4",
    },
}

LEGEND = (
    "The paper's SI-SNR: SI-SNR_S of mixtures of one source; SI-SNR_I, the improvement over the "
    "mixture for two to four, I(2), I(3), I(4) by their number; I(median), I(iqm), the mean of the "
    "middle half, and I(clipped), of values limited to −10 to 30 dB. Under it a silent "
    "estimate has 0 dB, which for a buried target is an improvement: see mixture-in-one-slot, "
    "MSi(all), and buried, the share of active targets whose estimate lies 40 dB below them or "
    "more. The FUSS evaluator's, which does not compare with it: MSi(all), the improvement over "
    "all active targets of two to four, where silence has −80 dB; 1S, 2, 3, 4 and MSi (2 to 4) "
    "over the pairs that it counts; under, equal, over: mixtures with fewer, as many, or more "
    "active estimates than targets. Of all active targets: holes, missing and excess, as in the "
    "table holes."
)
HOLE_LEGEND = (
    "Over all active targets, of the time and frequencies where a target and others sound about as "
    "loud (within 10 dB, in patches of 3 × 3 bins): missing, the share where the whole target is, "
    "over a sixth of a second or more; holes, of the rest the share in patches where the target "
    f"lies more than {HEADLINE_DB} dB below its level around; excess: bins outside the target's "
    "support (within 60 dB of its maximum) that leak."
)
CORRELATION_LEGEND = (
    "Rank correlation (Spearman's) of holes with SI-SNR improvements, over targets that are "
    "present (missing from less than half)"
)
BSS_EVAL_LEGEND = (
    "BSS Eval v4 by museval, 512 taps, of mixtures of two to four active sources, all targets: "
    "medians over windows in which all sound, and of the whole signal; a mixture with an estimate "
    "of silence has no value. LSD: log-spectral distance, lower is better."
)
VERDICT_LEGEND = (
    "Differences of means over the same mixtures, with an interval over seeds and mixtures: the "
    "deviation between runs is pooled within kinds of training, and never less than an "
    "experiment's own; p by Holm over all contrasts that were run. Detectable: the smallest true "
    "difference that so many seeds show with a power of 80 %, before Holm; seeds needed: of both, "
    "for the margin of the claim (configs/claims.yaml), with that deviation (no number: with so "
    "few mixtures none will do); improved: the "
    "probability that a run does better on a mixture, over all pairs of runs, with an interval "
    "over mixtures. Reproduced: the interval lies where the claim says, also after Holm; not "
    "reproduced: it lies short of what is worthwhile, and that could have been seen; undecided: "
    "else, and always with fewer than three seeds. Comparable: the lower end of the interval lies "
    "above −margin, a test of one side at half the error, whose p is doubled. A claim of several "
    "contrasts is reproduced "
    "where all are that were run with three seeds or more. A/A: the first seeds of an experiment "
    "against its others."
)
ONE_LOOK = "One look, at all seeds that there are; intervals are of 95 %."
TWO_LOOKS = (
    "Two looks, after three and after six seeds, each at half of the error: intervals are of "
    "97.5 %, Holm is within a look, and what is decided at the first is not looked at again."
)
INTERVALS = (
    "±: half of a 95 % bootstrap interval over mixtures, which says nothing about other seeds; the "
    "CSV has its ends and the number of values."
)
BOLD = "Bold: the best mean of the experiments that were trained."


def caption(records: Sequence[Mapping[str, Any]], note: str) -> str:
    """What a scale's runs were, from their records, and the configuration's note on them."""
    run = records[0]["run"]
    size = span([record["networks"]["separator"]["parameters"] / 1e6 for record in records], ".1f")
    sounds = sorted({_sounds(record) for record in records})
    commits = ", ".join(sorted({str(record["commit"])[:7] for record in records}))
    return (
        f"Scale {run['scale']}: {' and '.join(sounds)}, "
        f"{run['audio']['seconds']:g} s at {run['audio']['sample_rate'] / 1000:g} kHz; "
        f"a separator of {size} M parameters, {span([record['steps'] for record in records])} "
        f"steps, {_seeds(records)}{_forks(records)}; "
        f"trained at commit {commits}. {note}"
    )


def _seeds(records: Sequence[Mapping[str, Any]]) -> str:
    """How many there are, and of which experiments fewer: `3 seeds, but 1 of pit-long`."""
    counts = Counter(record["run"]["experiment"] for record in records)
    most = max(counts.values())
    fewer = [
        f"{count} of {', '.join(name for name, number in counts.items() if number == count)}"
        for count in sorted(set(counts.values()) - {most}, reverse=True)
    ]
    but = f", but {' and '.join(fewer)}" if fewer else ""
    return f"{most} seed{'s' if most > 1 else ''}{but}"


def _forks(records: Sequence[Mapping[str, Any]]) -> str:
    """Which experiments go on from the end of a trained run, and so answer another question."""
    forks: dict[str, dict[str, None]] = {}
    for run in (record["run"] for record in records):
        if parent := run.get("start_from"):
            forks.setdefault(parent["experiment"], {})[run["experiment"]] = None
    return "".join(
        f"; forked from the end of {parent}, to whose steps theirs are added: {', '.join(names)}"
        for parent, names in forks.items()
    )


def ablations(summary: pd.DataFrame, caption: str) -> Table:
    """Every experiment and oracle, in the order they come in, with the main aggregates."""
    return _of_aggregates("ablations", summary, COLUMNS, caption, LEGEND)


def out_of_domain(summary: pd.DataFrame, held_out: Sequence[str], caption: str) -> Table:
    """The same on mixtures of clips from packages that were held out."""
    legend = f"On mixtures of {', '.join(held_out)} alone, which training never heard. {LEGEND}"
    return _of_aggregates("out_of_domain", summary, COLUMNS, caption, legend)


def holes(summary: pd.DataFrame, correlation: Mapping[str, float], caption: str) -> Table:
    """Rates of spectral holes, of missing targets and of leakage.

    With the rank correlation of holes with SI-SNR improvements, by experiment, in the caption and
    as the column rank_correlation of the data.
    """
    known = ", ".join(
        f"{experiment} {RANK.number(rank, '+')}"
        for experiment, rank in correlation.items()
        if not isnan(rank)
    )
    told = f"{HOLE_LEGEND} {CORRELATION_LEGEND}: {known or 'not known'}."
    table = _of_aggregates("holes", summary, HOLE_COLUMNS, caption, told)
    ranks = table.data["experiment"].map(correlation)
    return replace(table, data=table.data.assign(rank_correlation=ranks))


def bss_eval(summary: pd.DataFrame, examples: int, caption: str) -> Table:
    """BSS Eval and log-spectral distance of the first `examples` mixtures, or of all."""
    legend = f"Of the first {examples} evaluation mixtures. {BSS_EVAL_LEGEND}"
    return _of_aggregates("bss_eval", summary, BSS_EVAL_COLUMNS, caption, legend)


def _of_aggregates(
    name: str, summary: pd.DataFrame, columns: Mapping[str, Column], caption: str, legend: str
) -> Table:
    data = summary[summary["aggregate"].isin(columns)]
    rows = list(cells_of(data, columns).items())
    return Table(
        name,
        ["experiment", *(column.heading for column in columns.values())],
        rows,
        f"{caption} {legend} {INTERVALS} {BOLD}",
        data,
    )


def cells_of(summary: pd.DataFrame, columns: Mapping[str, Column]) -> dict[str, list[str]]:
    """Cells of every experiment, of which the best of a column is a `Best`."""
    bold = best(summary, columns)
    return {
        experiment: [
            Best(shown) if (experiment, aggregate) in bold else shown
            for aggregate, column in columns.items()
            for shown in [column.cell(own.get(aggregate))]
        ]
        for experiment, own in by_experiment(summary).items()
    }


def verdicts(decisions: pd.DataFrame, caption: str) -> Table:
    """Claims, their differences over seeds, and verdicts, of `apit.measure.verdicts.decide`."""
    rows = [
        (f"– {row['of']}" if row["of"] else row["claim"], _judged(row))
        for row in cast(list[dict[str, Any]], decisions.to_dict("records"))
        if row["seeds"] or not row["of"]  # of a claim's contrasts those that were run
    ]
    rule = TWO_LOOKS if decisions["looks"].max() > 1 else ONE_LOOK
    titles = ["claim", "contrast", "measure", "seeds", "difference", "p (Holm)", "detectable",
              "seeds needed", "improved", "verdict"]  # fmt: skip
    return Table("verdicts", titles, rows, f"{caption} {VERDICT_LEGEND} {rule}".strip(), decisions)


def _judged(row: Mapping[str, Any]) -> list[str]:
    """What is printed of a contrast, or of a row that is none."""
    column = COLUMNS.get(row["measure"], Column(row["measure"], "", 3))
    unit = "points" if column.unit == "%" else column.unit
    mean, detectable = (
        f"{number} {unit}".strip() if number != "–" else number
        for number in (column.number(row["mean"]), column.number(row["detectable"]))
    )
    share = {bound: row[f"improved_{bound}"] for bound in ("lower", "upper")}
    improved = "" if isnan(row["improved"]) else f" {IMPROVED.bounds(share)}"
    return [
        f"{row['experiment']} − {row['baseline']}" if row["experiment"] else "",
        column.title,
        f"{row['seeds']} (look {row['look']:.0f})" if row["looks"] > 1 and row["look"] > 0
        else row["seeds"],
        mean if isnan(row["lower"]) else f"{mean} {column.bounds(row)}",
        "< 0.001" if row["p_holm"] < 0.001 else P_VALUE.number(row["p_holm"]),
        detectable,
        "no number" if row["seeds_needed"] == inf else SEEDS.number(row["seeds_needed"]),
        IMPROVED.number(row["improved"]) + improved,
        ": ".join(filter(None, (row["verdict"], row["note"]))) or "–",
    ]  # fmt: skip


def published(
    summary: pd.DataFrame,
    records: Sequence[Mapping[str, Any]],
    reported: Sequence[Reported],
    caption: str,
) -> Table:
    """Published numbers, each with data, metric and where it was read, and ours below them.

    Ours have a row for each metric. Columns of the data: system, value, mean, lower, upper, n,
    data, metric, read_in.
    """
    names = list(PUBLISHED_COLUMNS["A"])
    rows: list[tuple[str, list[str]]] = []
    data = []
    for line in reported:
        origin = {"data": line.data, "metric": line.metric, "read_in": line.read_in}
        values: Mapping[Any, float] = line.values
        shown = [AS_PRINTED.number(values.get(key)) for key in names]
        rows.append((line.system, [*shown, *origin.values()]))
        data += [{"system": line.system, "value": k, "mean": v} | origin for k, v in values.items()]
    ours = by_experiment(summary)
    for name in dict.fromkeys(record["run"]["experiment"] for record in records):
        sounds = next(_sounds(r) for r in records if r["run"]["experiment"] == name)
        kind, of, _ = sounds.partition(" of ")  # which ones the caption says
        data_here = f"{kind} (scale {records[0]['run']['scale']})" if of else sounds
        for metric, aggregates in PUBLISHED_COLUMNS.items():
            origin = {"data": data_here, "metric": metric, "read_in": "ours"}
            own = {key: ours[name].get(aggregate) for key, aggregate in aggregates.items()}
            shown = [COLUMNS[aggregates[key]].cell(row) for key, row in own.items()]
            rows.append((name, [*shown, *origin.values()]))
            data += [{**row, "system": name, "value": k} | origin for k, row in own.items() if row]
    columns = ["system", "value", "mean", "lower", "upper", "n", "data", "metric", "read_in"]
    return Table(
        "published",
        ["system", *(f"{name} (dB)" for name in names), "data", "metric", "read in"],
        rows,
        f"{caption} 1: SI-SNR of mixtures of one source; 2, 3, 4 and 2-4: its improvement. Metric "
        "A: the paper's SI-SNR; B: the FUSS evaluator's. Numbers compare only where data and "
        f"metric are the same. {INTERVALS}",
        pd.DataFrame(data, columns=columns),
    )


def training(histories: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Curves of all runs, long: run, step, L_PIT, and validation's SI-SNR_I and MSi(all)."""
    columns = ["step", "loss/pit", "validation/si_snr_i", "validation/si_snri_all"]
    curves = [
        history.reindex(columns=columns).assign(run=run) for run, history in histories.items()
    ]
    return pd.concat(curves) if curves else pd.DataFrame(columns=[*columns, "run"])


def metrics(summary: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Main values of every experiment, rounded, as `dvc metrics` compares them."""
    wanted = {"SI-SNR_S": "si_snr_s", "SI-SNR_I": "si_snr_i", "MSi_all": "si_snri_all/2-4"}
    wanted |= {"1S": "si_snr/1", "MSi": "si_snri/2-4", "holes": "hole_rate"}
    return {
        experiment: {
            name: round(own[aggregate]["mean"], 4)
            for name, aggregate in wanted.items()
            if aggregate in own and own[aggregate]["n"]
        }
        for experiment, own in by_experiment(summary).items()
    }


def by_experiment(summary: pd.DataFrame) -> dict[str, dict[str, dict[str, Any]]]:
    """Rows of a summary by experiment and aggregate."""
    rows: dict[str, dict[str, dict[str, Any]]] = {}
    for row in cast(list[dict[str, Any]], summary.to_dict("records")):
        rows.setdefault(row["experiment"], {})[row["aggregate"]] = row
    return rows


def _sounds(record: Mapping[str, Any]) -> str:
    return fuss.without_hashes(str(record["sounds"]))
