"""What must be known about a file before Pillow is let near it, read straight from its bytes.

Pillow checks an image's size, but spends memory and time before that or apart from it: on a canvas while a WebP is
opened, on every chunk, segment and directory entry, on each of a JPEG's scans. These checks are no parsers; what they
let pass may still be broken, and Pillow finds out.
"""

from __future__ import annotations

import re
import struct
from typing import Final, NamedTuple

from reranker_runtime.images.limits import (
    MOST_DIRECTORIES,
    MOST_EXIF,
    MOST_PARTS,
    MOST_PIXELS,
    MOST_SCANS,
    MOST_VALUES,
    Unusable,
    check_size,
)

CUT_SHORT: Final = "is damaged or cut short; send the whole file"
_SEGMENT: Final = re.compile(rb"\xff[\xc0-\xcf\xd8-\xfe]")  # but for restart marks, which belong to the pixels


def check_png(data: bytes) -> None:
    """Bounded by its number of chunks."""
    at = 8
    for _ in range(MOST_PARTS):
        if at >= len(data):
            return
        at += 12 + int.from_bytes(data[at : at + 4])  # length, name, data, checksum
    raise Unusable(f"is a PNG of more than {MOST_PARTS:,} chunks; save it again")


def check_jpeg(data: bytes) -> None:
    """Bounded by its scans, segments and Exif data. Between the segments, where the pixels are, 0xff is escaped."""
    if data.count(b"\xff\xda") > MOST_SCANS:
        raise Unusable(f"is a JPEG of more than {MOST_SCANS} scans; save it again")
    segments = 0
    for segments, _ in enumerate(_SEGMENT.finditer(data), 1):
        if segments > MOST_PARTS:
            raise Unusable(f"is a JPEG of more than {MOST_PARTS:,} segments; save it again")
    if data.count(b"Exif\0\0") > MOST_EXIF:
        raise Unusable(f"is a JPEG with more than {MOST_EXIF} Exif segments; save it again without metadata")


def check_gif(data: bytes) -> None:
    """Bounded by the blocks before its first frame, and by that frame: Pillow lets it widen the screen."""
    width, height, flags = _number(data, "<H", 6), _number(data, "<H", 8), _number(data, "B", 10)
    at = 13 + (6 << (flags & 7) if flags & 128 else 0)
    inside = False  # an extension, which is a chain of blocks that ends with an empty one
    for _ in range(MOST_PARTS):
        mark = data[at : at + 1]
        if mark == b"":
            raise Unusable(CUT_SHORT)
        if inside:
            inside = mark[0] > 0
            at += 1 + mark[0]
        elif mark == b",":
            left, top, wide, high = (_number(data, "<H", at + 1 + 2 * n) for n in range(4))
            check_size(max(width, left + wide), max(height, top + high))
            return
        else:
            inside = mark == b"!"
            at += 2 if inside else 1
    raise Unusable(f"is a GIF of more than {MOST_PARTS:,} blocks before its first frame; save it again")


def check_webp(data: bytes) -> None:
    """The canvas's size: libwebp allocates it twice when the file is opened."""
    kind, head = data[12:16], data[:30].ljust(30, b"\0")
    if kind == b"VP8X":
        check_size(int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1)
    elif kind == b"VP8L" and head[20:21] == b"\x2f":
        bits = int.from_bytes(head[21:25], "little")
        check_size((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    elif kind == b"VP8 " and head[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", head, 26)
        check_size(width & 0x3FFF, height & 0x3FFF)  # the two bits above are a scale for display
    else:
        raise Unusable(CUT_SHORT)


class _Form(NamedTuple):
    """How a TIFF writes its directories: classic, or BigTIFF with 8 bytes where classic has 4."""

    pointer: str
    length: str
    entry: str


_CLASSIC: Final = _Form("L", "H", "HHL4s")
_BIG: Final = _Form("Q", "Q", "HHQ8s")
_BYTES: Final = (1, 2, 7)  # BYTE, ASCII, UNDEFINED: kept as they are, and limited by the file's size
_KINDS: Final = range(1, 19)  # Pillow passes over others
_NUMBERS: Final = {3: "H", 4: "L", 13: "L", 16: "Q"}  # SHORT, LONG, IFD, LONG8
_STRUCTURE: Final = range(254, 347)  # tags that say where the pixels are; later ones hold profiles and tables
_TILE_SIDES: Final = (322, 323)
_DIRECTORIES: Final = (34665, 34853, 40965)  # Exif, GPS, interoperability: Pillow reads them all


def check_tiff(data: bytes) -> None:
    """Bounded by the numbers in the directories that Pillow reads, and by its tiles' area: libtiff allocates one."""
    order = "<" if data.startswith(b"II") else ">"
    form, at = (_BIG, 8) if data.startswith(b"II+") else (_CLASSIC, 4)
    values = 0
    sides = dict.fromkeys(_TILE_SIDES, 1)
    ahead, seen = [_number(data, order + form.pointer, at)], set[int]()
    while ahead:
        at = ahead.pop()
        if at in seen:
            continue
        seen.add(at)
        if len(seen) > MOST_DIRECTORIES:
            raise Unusable(f"is a TIFF of more than {MOST_DIRECTORIES} directories a page; save it again")
        for tag, kind, count, inline in _entries(data, at, order, form, whole=len(seen) == 1):
            if kind in _KINDS and (kind not in _BYTES or tag in _STRUCTURE):
                values += count
            if values > MOST_VALUES:
                raise Unusable(f"is a TIFF of more than {MOST_VALUES:,} strips, tiles or numbers; save it again")
            if kind in _NUMBERS and tag in sides:
                sides[tag] = max(sides[tag], _number(inline, order + _NUMBERS[kind], 0))
            elif kind in _NUMBERS and tag in _DIRECTORIES:
                ahead.append(_number(inline, order + _NUMBERS[kind], 0))
    if sides[322] * sides[323] > MOST_PIXELS:
        raise Unusable(f"is a TIFF with tiles of more than {MOST_PIXELS:,} pixels; save it again")


def _number(data: bytes, form: str, at: int) -> int:
    room = struct.calcsize(form)
    if at + room > len(data):
        raise Unusable(CUT_SHORT)
    number: int = struct.unpack_from(form, data, at)[0]
    return number


def _entries(data: bytes, at: int, order: str, form: _Form, *, whole: bool) -> list[tuple[int, int, int, bytes]]:
    """Tag, type, number of values, and the values where they fit, of one directory; only the first must be `whole`."""
    head, size = struct.calcsize(order + form.length), struct.calcsize(order + form.entry)
    if at + head > len(data):
        if whole:
            raise Unusable(CUT_SHORT)
        return []
    count = _number(data, order + form.length, at)
    if count > MOST_PARTS:
        raise Unusable(f"is a TIFF directory of more than {MOST_PARTS:,} entries; save it again")
    start = at + head
    end = min(start + count * size, start + (len(data) - start) // size * size)
    if whole and end < start + count * size:
        raise Unusable(CUT_SHORT)
    return list(struct.iter_unpack(order + form.entry, data[start:end]))
