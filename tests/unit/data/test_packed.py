import json
import os
import shutil

import pytest

from apit.data.examples import open_examples
from apit.data.unpacking import unpack
from apit.errors import UserError
from apit.provenance import file_digest


def test_damaged_shards_are_told(packed, tmp_path, audio, configs):
    copy = shutil.copytree(packed, tmp_path / "packed")
    shard = copy / "shards" / "000.i16"
    content = bytearray(shard.read_bytes())
    content[100] ^= 1
    shard.write_bytes(content)
    with pytest.raises(UserError, match=r"000\.i16: is not the file that was packed; fetch or"):
        unpack(copy, tmp_path / "unpacked")
    os.truncate(shard, 1000)
    with pytest.raises(UserError, match=r"000\.i16: has not the \d+ bytes that were packed"):
        open_examples(copy, "train", audio)
    with pytest.raises(UserError, match=r"holds 8000 Hz.*; the configuration's audio says 16000"):
        open_examples(packed, "train", audio.model_copy(update={"sample_rate": 16000}))
    index = copy / "shards" / "index.json"
    index.write_text(index.read_text()[:50])
    with pytest.raises(UserError, match=r"index\.json: cannot be read .*; pack it again"):
        open_examples(copy, "train", audio)


@pytest.mark.parametrize(
    "name",
    [
        *("train_example_list.txt", "shards/sources.csv", "shards/mixtures.csv"),
        *("shards/residuals.bin", "shards/labels.tar.gz", "manifest.csv"),
    ],
)
def test_whatever_was_changed_later_is_told(packed, tmp_path, audio, name):
    copy = shutil.copytree(packed, tmp_path / "packed")
    content = (copy / name).read_bytes()
    lines = content.splitlines(keepends=True)
    (copy / name).write_bytes(b"".join([*lines[:2], *lines[3:]]) if len(lines) > 3 else b"")
    said = f"{copy / name}: is not the file that was packed"
    if name in ("train_example_list.txt", "shards/sources.csv"):
        with pytest.raises(UserError, match=said):
            open_examples(copy, "train", audio)
    with pytest.raises(UserError, match=said):
        unpack(copy, tmp_path / "unpacked")


def test_a_packed_folder_of_others_writes_nothing_outside(packed, tmp_path):
    copy = shutil.copytree(packed, tmp_path / "packed")
    table = copy / "shards" / "sources.csv"
    first = table.read_text().splitlines()[1].split(",")[0]
    table.write_text(table.read_text().replace(first, "../../outside.wav", 1))
    listed = copy / "eval_example_list.txt"
    listed.write_text(listed.read_text().replace(first, "other.wav"))
    index = copy / "shards" / "index.json"
    found = json.loads(index.read_text())
    found["sha256"] |= {str(p.relative_to(copy)): file_digest(p) for p in (table, listed)}
    index.write_text(json.dumps(found))
    with pytest.raises(UserError, match="would lie outside of it"):
        unpack(copy, tmp_path / "deep" / "unpacked")
    assert not (tmp_path / "outside.wav").exists()
