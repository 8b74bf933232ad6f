import json

import pytest

from apit.code import code_of
from apit.errors import UserError
from apit.present.origin import PRESENTATION, faults, trace, write


def test_what_is_traced_leads_to_records_and_to_files_that_are_others_now(tmp_path):
    run = tmp_path / "records" / "pit-s0"
    run.mkdir(parents=True)
    record = {"run": {"experiment": "pit", "seed": 0}, "sounds": "beeps", "hardware": {"cores": 1},
              "start": "runs/its-parent"}  # fmt: skip
    (run / "record.json").write_text(json.dumps(record))
    (run / "identity.json").write_text('{"code": "abc"}')
    scores = tmp_path / "scores.csv"
    scores.write_bytes(b"1")
    write(tmp_path, "figures", {"holes": "What it shows."}, [scores, run / "record.json"])
    assert json.loads((tmp_path / "origin.json").read_text())["captions"] == {
        "holes": "What it shows."
    }
    lines = list(trace(tmp_path / "holes.png"))
    assert lines[-6:] == [
        f"  run pit-s0, in {run}", "    start: runs/its-parent", "    sounds: beeps",
        "    hardware: cores 1",
        f"  identity of {run}", "    code: abc",
    ]  # fmt: skip
    assert not any("now" in line for line in lines)
    assert list(faults(tmp_path, {})) == []
    (fault,) = faults(tmp_path, {f"{tmp_path}/records": "other"})
    assert fault == (tmp_path, f"figures: is of {run / 'record.json'}, and today's is other")
    scores.write_bytes(b"2")
    (run / "record.json").unlink()
    assert list(faults(tmp_path, {})) == [(tmp_path, f"figures: is of another {scores}")]
    path = tmp_path / "origin.json"
    path.write_text(path.read_text().replace(code_of(PRESENTATION["figures"]), "0123"))
    assert next(faults(tmp_path, {})) == (tmp_path, "figures: is of other code")
    said = "\n".join(trace(tmp_path / "holes.pdf"))
    assert "scores.csv  sha256 6b86b273" in said
    assert said.count("(IS ANOTHER FILE NOW)") == said.count("(not here now)") == 1
    with pytest.raises(UserError, match=r"origin\.json tells of holes, and not of it"):
        list(trace(tmp_path / "training.csv"))
    with pytest.raises(UserError, match=r"has no origin\.json beside it"):
        list(trace(run / "holes.png"))
