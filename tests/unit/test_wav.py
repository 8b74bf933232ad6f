import io
import time

import numpy as np
import pytest
import soundfile

from apit.wav import missing_bytes, undate


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


@pytest.mark.parametrize(("container", "subtype"), [("WAV", "PCM_16"), ("WAVEX", "FLOAT")])
def test_bytes_that_a_wav_lacks_are_counted(tmp_path, container, subtype):
    path = tmp_path / "sound.wav"
    soundfile.write(path, np.full(100, 0.5), 8000, subtype, format=container)
    whole = path.read_bytes()
    size = whole.index(b"data") + 4
    piped = whole[:size] + b"\xff" * 4 + whole[size + 4 :]
    assert missing_bytes(io.BytesIO(whole)) == missing_bytes(io.BytesIO(whole + b"more")) == 0
    assert missing_bytes(io.BytesIO(whole[:-30])) == 30
    assert missing_bytes(io.BytesIO(piped[:-30])) == 0
    assert missing_bytes(io.BytesIO(b"RIFF")) == missing_bytes(io.BytesIO(b"fLaC" + whole)) == 0
