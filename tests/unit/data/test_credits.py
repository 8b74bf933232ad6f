import shutil

import pandas as pd
import pytest

from apit.data.credits import FUSS, Credit, credits_of, origin


@pytest.mark.parametrize("form", ["mixtures", "packed"])
def test_every_source_is_credited_in_the_order_of_the_list(form, request):
    folder = request.getfixturevalue(form)
    manifest = pd.read_csv(folder / "manifest.csv")
    own = manifest[manifest["example"] == "eval/example00003"]
    assert len(own)
    found = credits_of(folder, "eval")
    assert len(found) == 8
    assert found["example00003"] == [Credit(c, "computed, not recorded") for c in own["clip"]]


def test_licences_are_those_of_the_clips(mixtures, tmp_path):
    folder = shutil.copytree(mixtures, tmp_path / "mixtures")
    clips = pd.read_csv(folder / "clips.csv")
    clips["licence"] = clips["name"].map(lambda name: "CC0-1.0" if "_0000" in name else None)
    clips["sha256"] = "ab"
    clips.to_csv(folder / "clips.csv", index=False)
    credited = [c for found in credits_of(folder, "eval").values() for c in found]
    assert {c.licence for c in credited if "_0000" in c.clip} == {"CC0-1.0"}
    assert {c.licence for c in credited if "_0000" not in c.clip} == {"licence not stated"}


def test_mixtures_of_others_have_no_manifest_and_fuss_says_where_it_is_from(tmp_path):
    assert credits_of(tmp_path, "eval") == {}
    assert origin(tmp_path, is_fuss=True) == FUSS
    assert origin(tmp_path, is_fuss=False) == f"mixtures in {tmp_path}"
