import json
import shutil
from pathlib import Path

import pytest

from apit.cli import main
from apit.errors import UserError
from apit.layers import load_claims
from apit.present.checklist import checklist, read_evidence

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def smoke(tmp_path):
    """What git has of the scale smoke, as far as the checklist reads it."""
    folder = tmp_path / "results" / "smoke"
    (folder / "tables").mkdir(parents=True)
    (folder / "scores").mkdir()
    shipped = REPOSITORY / "results" / "smoke"
    for record in (shipped / "records").glob("*/record.json"):
        (folder / "records" / record.parent.name).mkdir(parents=True)
        shutil.copy(record, folder / "records" / record.parent.name)
    shutil.copy(shipped / "scores" / "pit-s0.summary.json", folder / "scores")
    shutil.copy(shipped / "tables" / "verdicts.csv", folder / "tables")
    return folder


def edit(folder, name, change):
    path = folder / "records" / name / "record.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def test_it_says_what_the_records_say(smoke):
    for path in (smoke / "records").iterdir():
        edit(smoke, path.name, lambda record: record.update(training_seconds=60.0))
    edit(smoke, "pit-s0", lambda record: record.update(training_seconds=90.0))
    text = checklist([read_evidence(smoke)], load_claims())
    assert "1.0 minutes to 1.5 minutes" in text
    claim = text.partition("### 1. ")[2].partition("### 2. ")[0]
    assert "Adversarial PIT beats PIT" in claim
    assert "expected time: 2.5 minutes of training" in claim
    assert "**undecided** (fewer than 3 seeds)" in claim
    assert f"{smoke}/records/{{multi-ctx-i1,pit}}-s0 " in claim
    assert "--config scale=smoke" in claim
    # Or a finished checkpoint would give the old weights back, untrained.
    assert "work/smoke/{multi-ctx-i1,pit}-s0-*" in claim
    assert "the same scores bit for bit on one machine's CPU with threads: 1; on others, " in claim
    assert "tdcnpp, 214,792 parameters" in text
    # 4600 examples of 1 s at 8 kHz in 16 bits, K = 4 sources and the mixture, wavs and packed:
    # 2 × 4600 × 8000 × 5 × 2 B = 0.736 GB, and some megabytes of weights.
    assert "at most 0.8 GB" in text
    edit(smoke, "pit-s0", lambda record: record["hardware"].update(gpu="H100"))
    text = checklist([read_evidence(smoke)], load_claims())
    assert "H100" in text
    assert "bit for bit" not in text.partition("### 1. ")[2].partition("### 2. ")[0]


def test_seeds_and_what_was_not_run(smoke):
    for seed in (1, 2):
        shutil.copytree(smoke / "records" / "pit-s0", smoke / "records" / f"pit-s{seed}")
        edit(smoke, f"pit-s{seed}", lambda record, seed=seed: record["run"].update(seed=seed))
    verdicts = smoke / "tables" / "verdicts.csv"
    lines = verdicts.read_text().splitlines(keepends=True)
    verdicts.write_text("".join(line for line in lines if "I-replacement" not in line))
    text = checklist([read_evidence(smoke)] * 2, load_claims())
    assert "| seeds | 0, 1, 2 | 0, 1, 2 |" in text
    assert "There are 3 seeds." in text
    assert "{multi-ctx-i1,pit}-s{0,1,2}" in text
    assert "within the committed interval over seeds" in text
    assert "### 2. I-replacement beats the standard context\n\nNot run at this scale." in text


def test_the_command_writes_the_same_twice_and_says_what_is_missing(smoke, tmp_path, capsys):
    made = []
    for name in ("one.md", "two.md"):
        command = ["checklist", str(smoke), "--configs", str(REPOSITORY / "configs")]
        assert main([*command, "--output", str(tmp_path / name)]) == 0
        made.append((tmp_path / name).read_text())
    assert made[0] == made[1]
    assert str(smoke) in capsys.readouterr().out
    shutil.rmtree(smoke / "scores")
    with pytest.raises(UserError, match=r"has no scores/\*\.summary\.json"):
        read_evidence(smoke)
    shutil.rmtree(smoke / "records")
    with pytest.raises(UserError, match=r"has no records/\*/record\.json"):
        read_evidence(smoke)
