"""How long a sound file is by what is there, where its header does not say it, or says too much.

Who writes to a pipe cannot go back to the header, an MP3 need not have one, and one that is cut
promises more than is there. libsndfile takes many of these for shorter than they are, or for whole.
"""

import re
from collections.abc import Callable, Iterator
from mmap import mmap
from typing import Literal, NamedTuple

from apit.errors import UserError

Content = bytes | mmap
Order = Literal["little", "big"]

TAG = 512  # bytes at most, of those that stand behind a sound and do not say what they are
# Lengths of those who do not know it: none, or the largest that a field holds, or close below it;
# and 0x7f000000 with a header, as sox has it in an AIFF.
UNKNOWN = {0: 0, 0x7F001000: 2**12} | {2**bits: 2**12 for bits in (31, 32, 63, 64)}


class Mended(NamedTuple):
    """What a file must begin with to say how long it is, and where the rest of it begins."""

    head: bytes
    rest: int


def mended(content: Content, form: str, log: str) -> Mended | None:
    """How a file's header is to be mended; None where it says what is there.

    `form` is its format, and `log` what libsndfile tells of it. Raises UserError for a file that
    is cut, or holds more than libsndfile would read.
    """
    if look := LOOKS.get(form):
        return look(content)
    for promised, there in re.findall(r": (\d+) \(should be (\d+)\)", log):
        if not _is_unknown(int(promised)) and int(promised) > int(there):
            raise _cut(int(promised) - int(there))
    if re.search(r"be a? ?truncated|Data length \d+ should be", log):
        raise UserError("is cut; make it again")
    return None


def _is_unknown(length: int) -> bool:
    return any(limit - below <= length <= limit for limit, below in UNKNOWN.items())


def _cut(lacking: int) -> UserError:
    return UserError(f"is cut: it lacks {lacking} bytes of its sound; make it again")


def _wav(content: Content) -> Mended | None:
    order: Order = "big" if content[:4] == b"RIFX" else "little"
    for name, place, size in _chunks(content, 12, order):
        if name == b"data":
            there = len(content) - place
            if size == 0 and there and not _are_chunks(content, place, order):
                return Mended(content[: place - 4] + b"\xff" * 4, place)
            if size > there and not _is_unknown(size):
                raise _cut(size - there)
            if size and _is_sound(content, place + size, order):
                raise UserError(f"says to hold {size} bytes of sound and holds more; make it again")
            return None
    return None


def _rf64(content: Content) -> Mended | None:
    """A chunk at its beginning has its sizes, which take 64 bits."""
    size = int.from_bytes(content[28:36], "little")
    for name, place, _ in _chunks(content, 12, "little"):
        if name == b"data":
            there = len(content) - place
            if size > there and not _is_unknown(size):
                raise _cut(size - there)
            head = content[:28] + there.to_bytes(8, "little") + content[36:place]
            return Mended(head, place) if size == 0 and there else None
    return None


def _chunks(content: Content, place: int, order: Order) -> Iterator[tuple[bytes, int, int]]:
    """Name of each chunk, where its content begins, and how long it says to be."""
    while len(head := content[place : place + 8]) == 8:
        size = int.from_bytes(head[4:], order)
        yield head[:4], place + 8, size
        place += 8 + size + size % 2


def _are_chunks(content: Content, place: int, order: Order) -> bool:
    """Whether what follows is no sound, but chunks to the end."""
    for name, start, size in _chunks(content, place, order):
        if not name.decode("latin1").isprintable():
            return False
        place = start + size
    return place in (len(content), len(content) - 1)


def _is_sound(content: Content, place: int, order: Order) -> bool:
    """Whether what follows the sound goes on with it: no chunk, no tag, no zeros, no few bytes."""
    for start in (place, place + 1):  # not all who write an odd number of bytes add one
        name, _, size = next(_chunks(content, start, order), (b"", 0, 0))
        if name.isascii() and name.decode().isprintable() and size <= len(content) - start:
            return False
    something = re.compile(rb"[^\0]").search(content, place)
    rest = len(content) - something.start() if something else 0
    return rest > TAG and _behind_id3(content, place) == place


def _au(content: Content) -> Mended | None:
    size, start = (int.from_bytes(content[at : at + 4], "big") for at in (8, 4))
    there = len(content) - start
    if size > there and not _is_unknown(size):
        raise _cut(size - there)
    return Mended(content[:8] + b"\xff" * 4, 12) if size == 0 and there else None


def _nist(content: Content) -> None:
    head = content[:1024]
    said = {name: int(n) for name, n in re.findall(rb"(\w+) -(?:i|s1) (\d+)", head)}
    fields = (said.get(name, 0) for name in (b"sample_count", b"channel_count", b"sample_n_bytes"))
    promised = 1
    for field in fields:
        promised *= field
    if (lacking := promised + int(head[8:16]) - len(content)) > 0:
        raise _cut(lacking)


def _ogg(content: Content) -> None:
    """The last page of a stream says so; libsndfile reads the first of several streams."""
    page = content[content.rfind(b"OggS") :]
    segments = page[27 : 27 + page[26]] if len(page) > 26 else b""
    if len(page) < 27 + len(segments) + sum(segments) or not (len(page) > 26 and page[5] & 4):
        raise UserError("is cut: its last page is missing; make it again")
    if page[14:18] != content[14:18]:
        raise UserError("holds several streams, one after the other; part them")


def _flac(content: Content) -> Mended | None:
    """Without a length in its header, it ends with its last frame, which has a checksum."""
    start = _behind_id3(content)
    info = int.from_bytes(content[start + 18 : start + 26], "big")
    if content[start : start + 4] != b"fLaC" or info % 2**36:
        return None
    block = int.from_bytes(content[start + 10 : start + 12], "big")
    channels, bits = (info >> 41) % 8 + 1, (info >> 36) % 32 + 1
    end = place = _before_tags(content)
    least = max(0, end - block * channels * (bits + 1) // 8 - 64)  # if nothing is saved
    while (place := content.rfind(b"\xff", least, place)) >= 0:
        samples = _until_end_of_frame(content[place : place + 16], block)
        if samples and _remainder(content[place:end], 0x8005, 16) == 0:
            head = content[: start + 18] + (info + samples).to_bytes(8, "big")
            return Mended(head, start + 26)
    raise UserError("is cut: its last frame is not whole; make it again")


BLOCKS = (0, 192, *(576 << n for n in range(4)), 0, 0, *(256 << n for n in range(8)))


def _until_end_of_frame(head: bytes, block: int) -> int:
    """Samples of a FLAC up to the end of a frame that begins so; 0 where that begins no frame."""
    head = head.ljust(16, b"\0")
    ones = 8 - (head[4] ^ 0xFF).bit_length()  # of the number, coded as UTF-8 is
    number = head[4] & 0xFF >> ones + 1
    place = 4 + max(ones, 1)
    for byte in head[5:place]:
        number = number << 6 | byte & 0x3F
    samples, code = BLOCKS[head[2] >> 4], head[2] >> 4
    if code in (6, 7):
        samples = int.from_bytes(head[place : place + code - 5], "big") + 1
        place += code - 5
    place += {12: 1, 13: 2, 14: 2}.get(head[2] & 15, 0)
    if head[1] not in (0xF8, 0xF9) or not samples or _remainder(head[: place + 1], 0x07, 8):
        return 0
    return (number if head[1] & 1 else number * block) + samples


def _remainder(content: bytes, polynomial: int, bits: int) -> int:
    """Of a division by a polynomial over bits; 0 where the content ends with its checksum."""
    remainder, top = 0, 1 << bits - 1
    for byte in content:
        remainder ^= byte << bits - 8
        for _ in range(8):
            carry = polynomial if remainder & top else 0
            remainder = remainder << 1 & 2 * top - 1 ^ carry
    return remainder


def _before_tags(content: Content) -> int:
    """Where the tags begin that stand at the end: APE's, and ID3's of version 1 behind it."""
    end = len(content) - (128 if content[-128:-125] == b"TAG" else 0)
    foot = content[end - 32 : end]
    if foot[:8] == b"APETAGEX":  # its size is without a head, which it has where the last bit says
        end -= int.from_bytes(foot[12:16], "little") + 32 * (foot[23] >> 7)
    return end


def _behind_id3(content: Content, place: int = 0) -> int:
    while content[place : place + 3] == b"ID3":
        size = 0
        for byte in content[place + 6 : place + 10]:
            size = size << 7 | byte
        place += 10 + size
    return place


def _mpeg(content: Content) -> Mended | None:
    """An MP3 of layer III may say in its first frame how many frames follow."""
    frames = _frames(content)
    first = next(frames, None)
    if first is None:
        return None
    said, tag = None, content[first.place : first.place + 64]
    at = max(tag.find(name) for name in (b"Xing", b"Info", b"VBRI"))
    is_header = first.layer == 3 and at > 0
    if is_header and tag[at : at + 4] != b"VBRI" and tag[at + 7] & 1:
        said = int.from_bytes(tag[at + 8 : at + 12], "big")
    start, count, last, sizes = first, 0 if is_header else 1, first, {first.size}
    for last in frames:
        start = last if is_header and not count else start
        count += 1
        sizes.add(last.size)
    if (lacking := last.place + last.size - len(content)) > 0:
        raise _cut(lacking)
    if -4 < lacking < 0 and content[lacking:][0] == 0xFF:
        raise UserError("is cut: its last frame is not whole; make it again")
    if said is not None and said > count + 1:  # some count the header, too
        raise UserError(f"is cut: it lacks {said - count} of {said} frames; make it again")
    if first.layer != 3:
        if max(sizes) > min(sizes) + 4:  # as many bytes more are padding
            raise UserError("has a bitrate that varies and no length; make a WAV of it")
        return None
    if said == count:
        return None
    head = bytes([0xFF, content[start.place + 1] | 1, *content[start.place + 2 : start.place + 4]])
    mono = head[3] >> 6 == 3
    side = (9 if mono else 17) if first.version != 1 else (17 if mono else 32)
    xing = head + bytes(side) + b"Xing" + (1).to_bytes(4, "big") + count.to_bytes(4, "big")
    return Mended(xing.ljust(start.size, b"\0"), start.place)


class Frame(NamedTuple):
    """A frame of MPEG audio: where it begins, how long it is, and of what kind."""

    place: int
    size: int
    version: int  # 1, 2, or 3 for 2.5
    layer: int
    rate: int


def _frames(content: Content) -> Iterator[Frame]:
    """All frames, whatever stands between them; two that follow one another are the first."""
    place, kind = _behind_id3(content), None
    while 0 <= place < len(content) - 3:
        frame = _frame(content, place)
        if frame and kind is None:
            following = _frame(content, place + frame.size)
            kind = following and following[2:]
        if frame and frame[2:] == kind:
            yield frame
            place += frame.size
        else:
            behind = _behind_id3(content, place)
            place = behind if behind > place else content.find(b"\xff", place + 1)


RATES = (44100, 48000, 32000)
KBITS = {  # by version and layer
    (1, 1): range(32, 449, 32),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


def _frame(content: Content, place: int) -> Frame | None:
    """The frame that begins at a place, if one does."""
    head = content[place : place + 4]
    if len(head) < 4 or head[0] != 0xFF or head[1] < 0xE0:
        return None
    version = {3: 1, 2: 2, 0: 3}.get(head[1] >> 3 & 3)
    layer = 4 - (head[1] >> 1 & 3)
    kbits, rate, padded = head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if version is None or layer == 4 or kbits in (0, 15) or rate == 3:
        return None
    rate = RATES[rate] >> version - 1
    bits = 1000 * KBITS[min(version, 2), layer if version == 1 else min(layer, 2)][kbits - 1]
    if layer == 1:
        size = 4 * (12 * bits // rate + padded)
    else:
        size = (72 if layer == 3 and version > 1 else 144) * bits // rate + padded
    return Frame(place, size, version, layer, rate)


LOOKS: dict[str, Callable[[Content], Mended | None]] = {
    "WAV": _wav, "WAVEX": _wav, "RF64": _rf64, "AU": _au, "NIST": _nist, "OGG": _ogg,
    "FLAC": _flac, "MP3": _mpeg,
}  # fmt: skip
