"""Sound files whose headers do not say how long they are, and files that are cut."""

import io

import soundfile

from apit.lengths import _frames

UNSAID = (
    *(f"wav-{size:#x}" for size in (0, 0x7FFFF000, 0x7FFFFFDB, 0x80000000, 0xFFFFFFFF)),
    *("au-0x0", "au-0xffffffff", "aiff", "rf64", "flac", "mp3", "mp3-twice"),
)
CUT = ("WAV", "RF64", "W64", "FLAC", "OGG", "OPUS", "MP3", "AIFF", "AU", "NIST", "VOC", "CAF")


def encoded(samples, rate, form, subtype=None, **options):
    """The bytes of a sound file."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, subtype, format=form, **options)
    return file.getvalue()


def unsaid(kind, samples, rate):
    """The bytes of a file of one of the kinds `UNSAID`, and those of one that says its length."""
    form, _, size = kind.partition("-")
    options = {"bitrate_mode": "VARIABLE", "compression_level": 0.5} if form == "mp3" else {}
    whole = encoded(samples, rate, form.upper(), **options)
    if form == "flac":
        return whole[:21] + bytes([whole[21] & 0xF0]) + bytes(4) + whole[26:], whole
    if form == "aiff":  # as sox writes it to a pipe
        return _into_pipe(whole), whole
    if form == "rf64":
        return whole[:20] + bytes(24) + whole[44:], whole
    if form == "mp3":  # without the frame that says how many there are, or with that of a part
        without = whole[list(_frames(whole))[1].place :]
        return (whole + without if size else without), whole
    order, place = ("little", whole.index(b"data") + 4) if form == "wav" else ("big", 8)
    size = int(size, 16).to_bytes(4, order)
    return whole[:place] + size + whole[place + 4 :], whole


def _into_pipe(aiff):
    form, frames, sound = 4, aiff.index(b"COMM") + 10, aiff.index(b"SSND") + 4
    for place, size in ((form, 0x7F00002E), (frames, 0x7F000000 // 2), (sound, 0x7F000008)):
        aiff = aiff[:place] + size.to_bytes(4, "big") + aiff[place + 4 :]
    return aiff


def cut(form, samples, rate, share=2 / 3):
    """The first part of a file."""
    whole = encoded(samples, rate, *(("OGG", "OPUS") if form == "OPUS" else (form,)))
    return whole[: int(share * len(whole))]
