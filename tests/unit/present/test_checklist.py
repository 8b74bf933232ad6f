import json
import shutil

import pandas as pd
import pytest

from apit.errors import UserError
from apit.layers import load_claims
from apit.measure.verdicts import COLUMNS
from apit.models.complexity import complexities
from apit.present import tables
from apit.present.checklist import checklist, read_evidence

RUN = ("pit", "pit-six", "ctx-stft-i0-m", "ctx-stft-i3-m", "pit-long")


@pytest.fixture
def evidence(tiny, tmp_path):
    """What git has of the scale tiny, as far as the checklist reads it."""
    folder = tmp_path / "results" / "tiny"
    (folder / "scores").mkdir(parents=True)
    for name in RUN:
        run = tiny(name)
        record = {
            "run": json.loads(run.model_dump_json()),
            "sounds": "beeps (sha256 abc)",
            "data_sha256": "abcdef",
            "examples": {"train": 12, "validation": 4},
            "steps": 9 if name == "pit-long" else 4,
            "networks": {n: counts._asdict() for n, counts in complexities(run).items()},
            "training_seconds": 60.0,
            "commit": "0123456789abcdef",
            "python": "3.11.7",
            "versions": {"torch": "2.13.0"},
            "hardware": {"processor": "Z80", "cores": 1, "gpu": None},
            "threads": 1,
        }
        path = folder / "records" / f"{name}-s0" / "record.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(record))
    counts = {"examples_scored": 7, "examples_skipped": 1}
    (folder / "scores" / "pit-s0.summary.json").write_text(json.dumps(counts))
    judged = [
        (claim.claim, claim.experiment, claim.baseline, claim.measure, claim.better, int(was_run),
         "", 0.5, *[float("nan")] * 4, "undecided",
         "fewer than 3 seeds" if was_run else f"{claim.experiment} not run")
        for claim in load_claims()
        for was_run in [{claim.experiment, claim.baseline} <= {*RUN}]
    ]  # fmt: skip
    tables.verdicts(pd.DataFrame(judged, columns=COLUMNS), "").write(folder / "tables")
    return folder


def edit(folder, name, change):
    path = folder / "records" / name / "record.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def test_it_says_what_the_records_say(evidence):
    edit(evidence, "pit-s0", lambda record: record.update(training_seconds=90.0))
    text = checklist([read_evidence(evidence)], load_claims())
    assert "1.0 minutes to 1.5 minutes" in text
    claim = text.partition("### 1. ")[2].partition("### 2. ")[0]
    assert "Adversarial PIT improves PIT" in claim
    assert "contrast: pit-six − pit, in SI-SNR_I" in claim
    assert "expected time: 2.5 minutes of training" in claim
    assert "**undecided** (fewer than 3 seeds)" in claim
    assert f"{evidence}/records/{{pit-six,pit}}-s0 " in claim
    assert "--config scale=tiny" in claim
    # Or a finished checkpoint would give the old weights back, untrained.
    assert "work/tiny/{pit-six,pit}-s0-*" in claim
    assert "the same scores bit for bit on one machine's CPU with threads: 1; on others, " in claim
    assert "recalled" not in text
    edit(evidence, "pit-s0", lambda record: record["hardware"].update(gpu="H100"))
    text = checklist([read_evidence(evidence)], load_claims())
    assert "H100" in text
    assert "bit for bit" not in text.partition("### 1. ")[2].partition("### 2. ")[0]


def facts(evidence):
    """Rows of the table of facts of one scale."""
    text = checklist([read_evidence(evidence)], load_claims())
    table = text.partition("| | `tiny` |\n|---|---|\n")[2].partition("\n\n")[0]
    return dict(line.strip("| ").split(" | ", 1) for line in table.splitlines())


def test_how_it_was_trained_is_said_of_all_runs(evidence):
    training = {"batch_size": 16, "learning_rate": 1e-3, "lr_step": 2}
    edit(evidence, "pit-s0", lambda record: record["run"]["training"].update(training))
    found = facts(evidence)
    assert found["steps × batch × crop"] == "4 × 2 × 0.5 s, 9 × 2 × 0.5 s, 4 × 16 × 0.5 s"
    assert found["learning rate, separator"] == "0.0005, 0.001, halved every 2 steps"
    assert found["λ; learning rates of discriminators"] == (
        "balanced; 0.0002 (wave), 0.0002 (stft, mask)"
    )
    # ctx-stft-i0-m, and the six of pit-six, one of which another has, too; none of pit-long's.
    assert found["discriminators"].startswith("7, of ")
    edit(evidence, "pit-six-s0", lambda record: record["run"].update(reconstruction="none"))
    assert facts(evidence)["λ; learning rates of discriminators"].startswith("–; ")


def test_disk_is_that_of_sounds_and_of_weights(evidence):
    networks = {"separator": {"parameters": 10**8}}
    edit(evidence, "pit-long-s0", lambda record: record.update(networks=networks))
    # 24 examples of 0.5 s take no megabyte. Weights, best weights, and two moments of Adam:
    # 16 × 10⁸ B = 1.6 GB.
    assert facts(evidence)["disk"] in ("at most 1.6 GB", "at most 1.7 GB")


def test_seeds_and_what_was_not_run(evidence):
    for seed in (1, 2):
        shutil.copytree(evidence / "records" / "pit-s0", evidence / "records" / f"pit-s{seed}")
        edit(evidence, f"pit-s{seed}", lambda record, seed=seed: record["run"].update(seed=seed))
    text = checklist([read_evidence(evidence)] * 2, load_claims())
    assert "| seeds | 0, 1, 2 | 0, 1, 2 |" in text
    assert "There are 3 seeds." in text
    assert "{pit-six,pit}-s{0,1,2}" in text
    assert "within the committed interval over seeds" in text
    assert "### 2. Adversarial PIT improves the DCASE baseline\n\nNot run at this scale." in text


def test_it_says_what_is_missing(evidence):
    shutil.rmtree(evidence / "scores")
    with pytest.raises(UserError, match=r"has no scores/\*\.summary\.json"):
        read_evidence(evidence)
    shutil.rmtree(evidence / "records")
    with pytest.raises(UserError, match=r"has no records/\*/record\.json"):
        read_evidence(evidence)
