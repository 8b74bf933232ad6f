import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from apit.data import fuss
from apit.data.examples import Wavs, open_examples
from apit.data.packing import pack
from apit.errors import UserError


def test_a_list_that_names_a_missing_file_is_refused(copied):
    (copied / "train/example00003_sources/background0_sound.wav").unlink()
    with pytest.raises(UserError, match=r"train_example_list.txt:4: names .*background0_sound.wav"):
        fuss.read_list(fuss.list_path(copied, "train"), 4)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("train/example00000.wav\ttrain/example00000.wav\n", "13: .*is listed twice"),
        ("train/example00099.wav train/x.wav\n", "13: has 0 sources"),
        ("a\tb\tc\td\te\tf\n", "13: has 5 sources"),
        ("\n", "13: is an empty line"),
        ("m.wav\ts.wav\t\n", "13: has an empty field; remove the tab"),
        ("m.wav\t../s.wav\n", r"13: names ../s.wav, which lies outside"),
        ("/m.wav\ts.wav\n", r"13: names /m.wav, which lies outside"),
        ("m.wav\ta.wav b.wav\n", "13: names a.wav b.wav, .*parted by tabs, not by spaces"),
        (
            "new\ttrain/example00000_sources/background0_sound.wav\n",
            "13: names train/example00000_sources/background0_sound.wav, as line 1 does already",
        ),
    ],
)
def test_lists_of_another_form_are_refused(copied, line, said):
    with (copied / "train_example_list.txt").open("a") as file:
        file.write(line)
    with pytest.raises(UserError, match=said):
        fuss.read_list(fuss.list_path(copied, "train"), 4)


def test_lists_may_begin_and_end_their_lines_as_windows_does(copied):
    path = fuss.list_path(copied, "train")
    before = fuss.read_list(path, 4)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert fuss.read_list(path, 4) == before


def renamed(copied, before, after, listed):
    """Rename a source on the disk, and as the list of `train` names it."""
    path = fuss.list_path(copied, "train")
    (copied / before).rename(copied / os.fsdecode(after))
    path.write_bytes(path.read_bytes().replace(before.encode(), listed))


SOURCE = "train/example00000_sources/background0_sound.wav"


@pytest.mark.parametrize(
    ("after", "listed"),
    [
        (SOURCE.encode(), b"./" + SOURCE.replace("/", "//").encode()),
        (b"train/caf\xe9.wav", b"train/caf\xe9.wav"),
        ("train/cafe\u0301.wav".encode(), "train/caf\u00e9.wav".encode()),
        ("train/caf\u00e9.wav".encode(), "train/cafe\u0301.wav".encode()),
        (b"train/" + b"x" * 246 + b".wav", b"train/" + b"x" * 246 + b".wav"),
        (b"train/100%25 #1?.wav", b"train/100%25 #1?.wav"),
    ],
    ids=["slashes", "bytes", "composed", "decomposed", "long", "marks"],
)
@pytest.mark.parametrize("form", ["folder", "tar"])
def test_lists_name_files_in_other_words(copied, audio, tmp_path, after, listed, form):
    expected = open_examples(copied, "train", audio).read(0)
    renamed(copied, SOURCE, after, listed)
    source = copied if form == "folder" else tmp_path / "all.tar"
    if form == "tar":
        with tarfile.open(source, "w") as tar:
            tar.add(copied, "./ssdata")
    else:
        assert (open_examples(copied, "train", audio).read(0) == expected).all()
    pack(source, tmp_path / "packed")
    assert (open_examples(tmp_path / "packed", "train", audio).read(0) == expected).all()


@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_lines_end_where_they_end_and_nowhere_in_a_name(end):
    name = "a\x0bb\x1cc\u0085d\u2028e"
    content = f"{name}.wav\t{name}/s.wav{end or chr(10)}n.wav\tt.wav{end}".encode()
    lines = fuss.parse_lines(content, Path("list"), 4)
    assert [line.sources for line in lines] == [(f"{name}/s.wav",), ("t.wav",)]


@pytest.mark.parametrize("other", ["./a//s.wav", "a/./s.wav", "a/s\u0301.wav"])
def test_a_file_is_named_once_however_it_is_written(other):
    first = "a/\u015b.wav" if "\u0301" in other else "a/s.wav"
    content = f"m.wav\t{first}\nn.wav\t{other}\n".encode()
    with pytest.raises(UserError, match=r"list:2: names .*, as line 1 does already"):
        fuss.parse_lines(content, Path("list"), 4)


def test_wavs_that_are_not_as_configured_are_refused(copied, audio):
    examples = open_examples(copied, "train", audio)
    assert isinstance(examples, Wavs)
    path = examples.sources[0][0]
    for samples, rate, said in (
        (np.zeros(audio.samples), 16000, "16000 Hz"),
        (np.zeros(audio.samples - 1), 8000, "3999 samples"),
        (np.zeros((audio.samples, 2)), 8000, "2 channel"),
    ):
        soundfile.write(path, samples, rate)
        with pytest.raises(UserError, match=said):
            examples.read(0)
    path.write_bytes(b"not a wav")
    with pytest.raises(UserError, match=r"background0_sound\.wav: cannot be read"):
        examples.read(0)


@pytest.mark.parametrize("form", ["mixtures", "packed"])
def test_a_crop_is_a_part_of_the_whole(form, audio, request):
    examples = open_examples(request.getfixturevalue(form), "eval", audio)
    whole = examples.read(0)
    assert whole.shape == (4, audio.samples)
    assert not whole[examples.counts[0] :].any()
    crop = np.full((4, 456), np.nan, np.float32)
    examples.read_into(crop, 0, 123)
    np.testing.assert_array_equal(crop, whole[:, 123 : 123 + 456])


def test_a_mixture_is_the_float32_sum_in_order():
    sources = np.random.default_rng(0).normal(0, 1, (4, 100)).astype(np.float32)
    expected = np.float32(0)
    for source in sources:
        expected = expected + source
    np.testing.assert_array_equal(fuss.mixture_of(sources), expected)
    of_tensor = fuss.mixture_of(torch.from_numpy(sources)[None])[0]
    np.testing.assert_array_equal(of_tensor.numpy(), expected)
