import time

import numpy as np
import pytest
import soundfile
from sounds import CUT, UNSAID, cut, encoded, unsaid

from apit.errors import UserError
from apit.sound import open_sound, read_whole, undate


@pytest.mark.parametrize("channels", [1, 3])
def test_bytes_do_not_depend_on_when_they_were_written(tmp_path, channels):
    sound = np.linspace(-1.5, 1.5, 600, dtype=np.float32).reshape(-1, channels)
    files = [tmp_path / "one.wav", tmp_path / "other.wav"]
    for path in files:
        soundfile.write(path, sound, 8000, "FLOAT")
        time.sleep(1.1)
    before, after = (path.read_bytes() for path in files)
    assert before != after  # or there is nothing to be undated
    for path in files:
        undate(path)
    assert files[0].read_bytes() == files[1].read_bytes()
    np.testing.assert_array_equal(soundfile.read(files[0], always_2d=True)[0], sound)


@pytest.mark.parametrize(("container", "subtype"), [("WAV", "PCM_16"), ("RF64", "FLOAT")])
def test_other_wavs_are_left_alone(tmp_path, container, subtype):
    path = tmp_path / "other.wav"
    soundfile.write(path, np.full(100, 0.5), 8000, subtype, format=container)
    before = path.read_bytes()
    undate(path)
    assert path.read_bytes() == before


NOISE = np.random.default_rng(0).normal(0, 0.1, (60_000, 2))


def written(path, content):
    path.write_bytes(content)
    return path


def heard(path):
    with open_sound(path, path) as file:
        samples = read_whole(file, path)
        assert len(samples) == file.frames
    return samples


@pytest.mark.parametrize("kind", UNSAID)
@pytest.mark.parametrize("samples", [NOISE, NOISE[:12_288, 0]], ids=["stereo", "whole blocks"])
def test_what_is_there_is_read_to_its_end_whatever_the_header_says(tmp_path, kind, samples):
    content, said = unsaid(kind, samples, 16000)
    sound, wanted = heard(written(tmp_path / "a", content)), heard(written(tmp_path / "b", said))
    assert len(wanted) == len(samples)
    if not kind.startswith("mp3"):
        np.testing.assert_array_equal(sound, wanted)
        return
    delay = 576  # which only the header tells of
    np.testing.assert_allclose(sound[delay : delay + len(wanted)], wanted, atol=1e-6)
    assert len(sound) >= len(wanted) * (2 if kind == "mp3-twice" else 1)


@pytest.mark.parametrize("share", [0.3, 2 / 3, 0.999])
@pytest.mark.parametrize("form", CUT)
def test_what_is_cut_is_refused(tmp_path, form, share):
    path = written(tmp_path / "a", cut(form, NOISE, 16000, share))
    with pytest.raises(UserError, match=r"a: (is cut|cannot be read as sound)"):
        heard(path)


@pytest.mark.parametrize("subtype", ["ULAW", "ALAW"])
def test_so_is_a_nist_file_of_bytes_whose_size_is_written_as_text(tmp_path, subtype):
    whole = encoded(NOISE, 16000, "NIST", subtype)
    assert len(heard(written(tmp_path / "a", whole))) == len(NOISE)
    with pytest.raises(UserError, match="a: is cut: it lacks 1000 bytes"):
        heard(written(tmp_path / "a", whole[:-1000]))


@pytest.mark.parametrize("kind", ["flac", "mp3"])
@pytest.mark.parametrize("lacking", [1, 3000])
def test_what_says_no_length_is_refused_when_it_is_cut(tmp_path, kind, lacking):
    content, _ = unsaid(kind, NOISE, 16000)
    with pytest.raises(UserError, match="a: is cut"):
        heard(written(tmp_path / "a", content[:-lacking]))


def test_tags_and_junk_behind_the_sound_are_no_part_of_it(tmp_path):
    tag = b"TAG" + bytes(125)
    item = b"\x04\0\0\0\0\0\0\0Title\0word"
    size, others = (32 + len(item)).to_bytes(4, "little"), b"\x01\0\0\0" + bytes(3)
    ape = b"APETAGEX\xd0\x07\0\0" + size + others
    apes = [item + ape + bytes(9), ape + b"\xa0" + bytes(8) + item + ape + b"\x80" + bytes(8)]
    for kind in ("flac", "mp3"):
        content, _ = unsaid(kind, NOISE, 16000)
        plain = heard(written(tmp_path / "a", content))
        for tags in (tag, *apes, apes[1] + tag):
            np.testing.assert_array_equal(heard(written(tmp_path / "b", content + tags)), plain)
    whole = encoded(NOISE, 16000, "WAV")
    assert len(heard(written(tmp_path / "a", whole + b"more"))) == len(NOISE)
    ogg = encoded(NOISE, 16000, "OGG")
    assert len(heard(written(tmp_path / "a", ogg + tag))) == len(NOISE)


def test_a_wav_that_is_empty_is_not_one_of_unknown_length(tmp_path):
    empty = encoded(NOISE[:0], 16000, "WAV")
    assert len(heard(written(tmp_path / "a", empty))) == 0
    chunk = b"LIST\x04\0\0\0INFO"
    assert len(heard(written(tmp_path / "a", empty + chunk))) == 0


def test_a_wav_that_says_less_than_it_holds_is_refused(tmp_path):
    whole = encoded(NOISE, 16000, "WAV")
    place = whole.index(b"data") + 4
    for size in (40_000, 40_001, 239_000):
        stale = whole[:place] + size.to_bytes(4, "little") + whole[place + 4 :]
        with pytest.raises(UserError, match=f"a: says to hold {size} bytes of sound and holds"):
            heard(written(tmp_path / "a", stale))


def test_what_may_stand_behind_the_sound_of_a_wav_is_no_sound(tmp_path):
    whole, odd = encoded(NOISE, 16000, "WAV"), encoded(NOISE[:999, 0], 16000, "WAV", "PCM_U8")
    ids = b"ID3\x04\0\0\0\0\x10\0" + bytes(2000) + b"word" * 12
    for more in (b"LIST\x04\0\0\0INFO" + bytes(2000), bytes(9000), b"\xff" * 500, ids):
        assert len(heard(written(tmp_path / "a", whole + more))) == len(NOISE)
    for ending in (odd[:-1], odd):
        content = ending + b"LIST\x00\x08\0\0" + b"\xff" * 2048
        assert len(heard(written(tmp_path / "a", content))) == 999


def test_streams_one_after_the_other_are_not_taken_for_the_first(tmp_path):
    one, other = (encoded(NOISE[:n], 16000, "OGG") for n in (30_000, 20_000))
    with pytest.raises(UserError, match="a: holds several streams"):
        heard(written(tmp_path / "a", one + other))


def of_layer_ii(number, kbits):
    """A silent frame at 48 kHz, of a bitrate and its number."""
    return (b"\xff\xfd" + bytes([number << 4 | 1 << 2]) + b"\xc0").ljust(3 * kbits, b"\0")


def test_mpeg_of_layer_ii_is_read_whole_or_refused(tmp_path):
    one, other = of_layer_ii(10, 192), of_layer_ii(1, 32)
    assert len(heard(written(tmp_path / "a", 100 * one))) == 100 * 1152
    with pytest.raises(UserError, match="a: has a bitrate that varies and no length"):
        heard(written(tmp_path / "a", one + 99 * other))


def test_raw_samples_are_no_sound(tmp_path):
    with pytest.raises(UserError, match="raw samples do not say their rate"):
        heard(written(tmp_path / "a.raw", bytes(1000)))
