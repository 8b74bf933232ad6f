import os
import shutil

import pytest

from apit.data.examples import open_examples
from apit.data.packed import Index
from apit.errors import UserError


def test_damaged_shards_are_told(packed, tmp_path, audio, configs):
    copy = shutil.copytree(packed, tmp_path / "packed")
    shard = copy / "shards" / "000.i16"
    content = bytearray(shard.read_bytes())
    content[100] ^= 1
    shard.write_bytes(content)
    with pytest.raises(UserError, match=r"000\.i16: is not the file that was packed; fetch or"):
        Index.read(copy).verify("shards/000.i16")
    os.truncate(shard, 1000)
    with pytest.raises(UserError, match=r"000\.i16: has not the \d+ bytes that were packed"):
        open_examples(copy, "train", audio)
    with pytest.raises(UserError, match=r"holds 8000 Hz.*; the configuration's audio says 16000"):
        open_examples(packed, "train", audio.model_copy(update={"sample_rate": 16000}))
    index = copy / "shards" / "index.json"
    index.write_text(index.read_text()[:50])
    with pytest.raises(UserError, match=r"index\.json: cannot be read .*; pack it again"):
        open_examples(copy, "train", audio)


@pytest.mark.parametrize("name", ["train_example_list.txt", "shards/sources.csv", "manifest.csv"])
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
        Index.read(copy).verify(name)
