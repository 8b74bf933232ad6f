import json
from pathlib import Path

import pandas as pd
import pytest
import typst

from apit.cli import main
from apit.config import IDEAL, TRIVIAL
from apit.errors import UserError
from apit.layers import load_claims, load_reported, load_scale, shipped
from apit.measure.statistics import AGGREGATES
from apit.measure.verdicts import COLUMNS, TEXTS
from apit.present import report, runs, studies, tables

REPOSITORY = Path(__file__).parents[3]
SOURCE = REPOSITORY / "paper" / "report.typ"
HOW = {"ignore_system_fonts": True}
EXPERIMENTS = ("pit", "ctx-stft-i0-m", "ctx-stft-i3-m")


def record(run):
    """A record as training leaves it, but for weights."""
    names = [discriminator.name for discriminator in run.discriminators]
    return {
        "run": json.loads(run.model_dump_json()),
        "identity": "01234567",
        "data": "data/tiny/packed",
        "data_sha256": "abcdef",
        "sounds": "beeps (sha256 abc)",
        "examples": {"train": 12, "validation": 4},
        "best_step": 4,
        "networks": {
            name: {"parameters": 123_456, "multiply_accumulates": 7_000_000}
            for name in ("separator", *names)
        },
        "training_seconds": 90.0,
        "commit": "0123456789abcdef",
        "steps": run.training.steps,
        "python": "3.11.7",
        "versions": {"torch": "2.13.0"},
        "hardware": {"processor": "Z80", "cores": 1, "gpu": None},
        "threads": 1,
    }


def sizes(experiments):
    """Inches, of the figures of some experiments, as `apit.present.figures` makes them."""
    rows = 0.16 * (len(experiments) + len(TRIVIAL) + len(IDEAL))
    key = 0.135 * (1 + min(len(experiments), 15))
    return {
        "training": (7, 4.7 + key), "holes": (7, 2 + key), "spectrograms": (7, 3.9),
        "improvement": (3.4, 0.8 + rows), "differences": (3.4, 1 + rows),
        "per_mixture": (3.4, 0.75 + rows), "replacement": (3.4, 2.6),
    }  # fmt: skip


def rows_of(claim, verdict, seeds):
    """Rows of a claim in the table of verdicts, all of the same verdict."""
    numbers = {
        "looks": 1, "look": 1, "mean": 0.25, "lower": 0.125, "upper": 0.375, "p": 0.01,
        "p_holm": 0.04, "detectable": 0.5, "seeds_needed": 4, "improved": 0.6,
        "improved_lower": 0.5, "improved_upper": 0.7,
    }  # fmt: skip
    shared = {"claim": claim.claim, "verdict": verdict, "seeds": seeds}
    if len(claim.contrasts) > 1:
        yield dict.fromkeys(TEXTS, "") | shared | {"test": "claim", "note": "some are"}
    named = {"of", "experiment", "baseline", "measure", "test"}
    for contrast in claim.contrasts:
        yield dict.fromkeys(TEXTS, "") | contrast.model_dump(include=named) | shared | numbers


@pytest.fixture
def given(tiny, tmp_path):
    """Tables of three experiments, SI-SNR_I of each as given, and claims as they were judged.

    Of the shipped claims the first ones were run, as many as there are verdicts.
    """

    def make(
        values=(7.0, 6.5, 6.25), verdicts=("undecided",) * 4, seeds=(0,), experiments=EXPERIMENTS
    ):
        means = dict(zip(experiments, values, strict=False))
        rows = [
            (name, aggregate, mean, mean - 0.5, mean + 0.5, 8 * len(seeds))
            for name in (*TRIVIAL, *experiments, *IDEAL)
            for aggregate in AGGREGATES
            for mean in [means.get(name, 1.0) if aggregate.startswith("si_snr_i") else 0.5]
        ]
        columns = ["experiment", "aggregate", "mean", "lower", "upper", "n"]
        summary = pd.DataFrame(rows, columns=columns)
        records = [record(tiny(name, seed=seed)) for name in experiments for seed in seeds]
        judged = [
            row
            for number, claim in enumerate(load_claims())
            for verdict in [verdicts[number] if number < len(verdicts) else ""]
            for row in rows_of(claim, verdict or "undecided", f"{len(seeds)}" if verdict else "")
        ]
        made = [
            tables.ablations(summary, ""),
            studies.contexts(summary, records, ""),
            studies.combinations(summary, records, load_reported(), ""),
            tables.holes(summary, {"pit": -0.25}, ""),
            tables.bss_eval(summary, 4, ""),
            tables.verdicts(pd.DataFrame(judged, columns=COLUMNS), ""),
            tables.published(summary, records, load_reported(), ""),
            runs.models(records, ""),
        ]
        for table in made:
            table.write(tmp_path / "tables")
        return tmp_path / "tables", records

    return make


def said(folder, records, configs, *labels, scale="tiny", figures=(), count=False):
    """The text of labelled parts of the report, or how many of them there are."""
    content = report.content(load_scale(scale, configs=configs), load_claims(), folder, records)
    with report.prepared(SOURCE, content, figures) as text:
        elements = [asked(text, f"query(<{label}>)") for label in labels]
    return list(map(len, elements)) if count else " ".join(" ".join(_words(elements)).split())


def asked(text, expression):
    return json.loads(typst.eval(text, expression, **HOW, root=text.parent))


def _words(node):
    if isinstance(node, list):
        return [word for inner in node for word in _words(inner)]
    if isinstance(node, dict):
        own = [node["text"]] if isinstance(node.get("text"), str) else []
        return own + [w for key, inner in node.items() if key != "text" for w in _words(inner)]
    return []


def test_away_from_a_clone_the_text_is_that_which_is_shipped(tmp_path, monkeypatch):
    text = Path("paper", "report.typ")
    assert shipped(text) == text  # a clone's own
    monkeypatch.chdir(tmp_path)
    assert shipped(text) == SOURCE


def test_the_command_sets_the_same_bytes_twice_on_a_few_pages(given, configs, tmp_path, capsys):
    folder, records = given()
    runs = []
    for number, one in enumerate(records):
        runs.append(tmp_path / "runs" / str(number))
        runs[-1].mkdir(parents=True)
        (runs[-1] / "record.json").write_text(json.dumps(one))
    (tmp_path / "figures").mkdir()
    typst.compile(b"A picture", tmp_path / "figures" / "holes.pdf")
    made = []
    for name in ("one", "two"):
        output = tmp_path / name / "report.pdf"
        command = ["report", "--scale", "tiny", "--configs", configs, "--source", SOURCE]
        command += ["--tables", folder, "--figures", tmp_path / "figures", "--runs", *runs]
        assert main([str(word) for word in (*command, "--output", output)]) == 0
        made.append(output.read_bytes())
    assert "8 tables and 1 figures of 3 runs" in capsys.readouterr().out
    assert made[0].startswith(b"%PDF")
    assert made[0] == made[1]
    sources = json.loads(output.with_name("origin.json").read_text())["sources"]
    names = {Path(path).name for path in sources}
    assert names >= {"report.typ", "layout.typ", "ablations.csv", "holes.pdf", "record.json"}
    content = report.content(load_scale("tiny", configs=configs), load_claims(), folder, records)
    with report.prepared(SOURCE, content, [tmp_path / "figures" / "holes.pdf"]) as text:
        pages, complaints = typst.compile_with_warnings(text, format="svg", **HOW, root=text.parent)
        assert asked(text, "query(<notice>).map(n => n.location().page())") == [1]
    assert 2 <= len(pages) <= 6
    assert not complaints


@pytest.mark.parametrize("scale", ["smoke", "mini", "paper"])
def test_every_shipped_scale_has_a_report_of_six_pages_at_most(given, configs, tmp_path, scale):
    shipped = load_scale(scale)
    verdicts = ["undecided"] * (len(load_claims()) if scale == "paper" else 4)
    seeds = shipped.looks[0]
    folder, records = given(verdicts=verdicts, seeds=seeds, experiments=shipped.names)
    timed = pd.DataFrame({"experiment": shipped.names}).assign(
        **dict.fromkeys(runs.COST_COLUMNS, 1.5), device="Z80", threads=1, rounds=9
    )
    runs.cost(timed, "").write(folder)
    (tmp_path / "figures").mkdir()
    figures = []
    for name, (width, height) in sizes(shipped.names).items():
        figures.append(tmp_path / "figures" / f"{name}.pdf")
        page = f"#set page(width: {width}in, height: {height}in)\nA picture"
        typst.compile(page.encode(), figures[-1])
    content = report.content(load_scale("tiny", configs=configs), load_claims(), folder, records)
    with report.prepared(SOURCE, content, figures) as text:
        pages, complaints = typst.compile_with_warnings(text, format="svg", **HOW, root=text.parent)
    assert len(pages) <= 6
    assert not complaints


def test_what_a_table_says_is_what_its_csv_says(given, configs):
    folder, records = given()
    path = folder / "ablations.csv"
    table = said(folder, records, configs, "table-ablations")
    assert "7.00 ± 0.50" in table
    assert "[6.50, 7.50] 8" in said(folder, records, configs, "table-intervals")
    assert "1234.57" not in table
    row = "pit,si_snr_i,"
    path.write_text(path.read_text().replace(f"{row}7,", f"{row}1234.567,"))
    assert "1234.57" in said(folder, records, configs, "table-ablations")
    assert "that of pit : 1234.57 ± 0.50 dB" in said(folder, records, configs, "abstract")
    published = said(folder, records, configs, "table-published")
    for line in load_reported():
        assert line.data in published
        assert line.metric in published
        for value in line.values.values():
            assert f"{value:.1f}" in published


@pytest.mark.parametrize(
    ("values", "sentences"),
    [
        ((7, 6, 5), ["that of pit : 7.00 ± 0.50 dB", "None of the two systems with an adversary"]),
        ((5, 6, 7), ["that of ctx-stft-i3-m : 7.00 ± 0.50 dB", "alone, has 5.00 dB",
                     "All two systems with an adversary have higher means"]),
        ((6, 5, 7), ["Of two systems with an adversary, one has a higher mean than pit : "
                     "ctx-stft-i3-m ."]),
    ],
)  # fmt: skip
def test_sentences_are_right_whichever_way_the_means_fall(given, configs, values, sentences):
    folder, records = given(values)
    abstract = said(folder, records, configs, "abstract")
    for sentence in sentences:
        assert sentence in abstract


@pytest.mark.parametrize(
    ("verdicts", "seeds", "sentence"),
    [
        (("undecided",) * 4, (0,),
         "Four were run , and none is reproduced : all are undecided ."),
        (("reproduced",) * 4, (0, 1, 2), "Four were run : all are reproduced ."),
        (("undecided",), (0,), "One was run : it is undecided ."),
        (("reproduced", "not reproduced", "undecided", "undecided"), (0, 1, 2),
         "one is reproduced , one is not reproduced and two are undecided"),
        ((), (0,), "of which three are ours and not the paper s . None was run."),
    ],
)  # fmt: skip
def test_sentences_are_right_whichever_way_the_verdicts_fall(
    given, configs, verdicts, seeds, sentence
):
    folder, records = given(verdicts=verdicts, seeds=seeds)
    assert sentence in said(folder, records, configs, "abstract")


def test_a_report_says_whether_the_loss_alone_differs(given, configs):
    folder, records = given()
    assert "an ablation changes the loss ." in said(folder, records, configs, "training")
    records[0]["run"]["training"] |= {"learning_rate": 0.5, "lr_step": 1}
    told = said(folder, records, configs, "training")
    assert "not the loss alone differs" in said(folder, records, configs, "abstract")
    assert "changes the loss , but the learning rate is not the same for all" in told
    assert "that of pit halved every 1 steps" in told


def test_a_report_says_at_once_what_it_is_worth(given, configs):
    folder, records = given()
    smoke = said(folder, records, configs, "notice")
    assert "This is a smoke report" in smoke
    assert "none was trained for more than two minutes" in smoke
    assert "Scale tiny, for tests." in smoke
    kinds = {"mini": {"kind": "packages"}, "paper": {"kind": "fuss"}}
    for scale, sounds in kinds.items():
        for one in records:
            one["run"]["scale"] = scale
            one["run"]["data"]["sounds"] = sounds
        notice = said(folder, records, configs, "notice", scale=scale)
        assert "smoke" not in notice
        assert ("not the examples that FUSS publishes" in notice) == (scale == "mini")


def test_figures_are_shown_where_they_are(given, configs, tmp_path):
    folder, records = given()
    labels = ("figure-holes", "figure-spectrograms")
    assert said(folder, records, configs, *labels, count=True) == [0, 0]
    drawn = tmp_path / "spectrograms.pdf"
    typst.compile(b"A picture", drawn)
    assert said(folder, records, configs, *labels, figures=[drawn], count=True) == [0, 1]


def test_a_report_tells_forks_apart(given, configs):
    folder, records = given()
    assert said(folder, records, configs, "forks", count=True) == [0]
    folder, records = given(experiments=("pit", "fork-pit", "fork-ctx-stft-i3-m"))
    told = "Forks, namely fork-pit and fork-ctx-stft-i3-m , go on from the end of pit with the same"
    assert told in said(folder, records, configs, "forks")


def test_what_is_missing_is_named(given, configs, tmp_path):
    folder, records = given()
    (folder / "bss_eval.csv").unlink()
    labels = ("table-holes", "table-bss_eval")
    assert said(folder, records, configs, *labels, count=True) == [1, 0]
    scale = load_scale("tiny", configs=configs)
    (folder / "holes.csv").write_text("experiment,aggregate\npit,hole_rate\n")
    with pytest.raises(UserError, match=r"holes\.csv: is no such table"):
        report.content(scale, load_claims(), folder, records)
    (folder / "holes.csv").unlink()
    with pytest.raises(UserError, match=r"holes\.csv: is missing; `apit tables` makes it"):
        report.content(scale, load_claims(), folder, records)
    with pytest.raises(UserError, match=r"nothing\.typ: is no file"):
        report.write(tmp_path / "nothing.typ", {}, [], tmp_path / "report.pdf")
    source = tmp_path / "text" / "wrong.typ"
    source.parent.mkdir()
    source.write_text("#nonsense")
    with pytest.raises(UserError, match=r"wrong\.typ: unknown variable: nonsense"):
        report.write(source, {}, [], tmp_path / "report.pdf")
    assert not (tmp_path / "report.pdf").exists()
