import numpy as np
import pytest
import soundfile
import torch

from apit.data import fuss
from apit.data.examples import Wavs, open_examples
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
