"""How large an image may be, and why: the files are strangers', and a few kilobytes can ask for gigabytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MOST_BYTES: Final = 32 * 1024 * 1024
"""Of one file. An A4 page at 300 dpi in colour is 26 MB without any compression; in base64 the limit is two thirds of
the default limit on a request's body."""
MOST_PIXELS: Final = 50_000_000
"""Of one image. An A4 page at 600 dpi has 35 million, a 48-megapixel camera's picture 49 million. At 4 bytes each an
image takes 200 MB while it is cut into tiles, and WebP, which holds it several times over, 800 MB while it is decoded.
It is below Pillow's own limit (89 million), which therefore stays untouched."""
MOST_STRETCH: Final = 200
"""Times one side may be longer than the other. Tiles are square: beyond this nothing of the image is left to see."""
MOST_SCANS: Final = 100
"""Of a JPEG. A progressive file has about ten; a hostile one has thousands, each a pass over all pixels."""
MOST_PARTS: Final = 65_536
"""Chunks of a PNG, segments of a JPEG, blocks of a GIF, entries of a TIFF directory: objects, all of them."""
MOST_EXIF: Final = 16
"""Exif segments of a JPEG. A file has one, of 64 KB at most; Pillow joins them and makes an object of every 8 bytes."""
MOST_VALUES: Final = 300_000
"""Numbers in a TIFF's directories. A page with a strip for each row has 20,000. Pillow makes an object of each,
and some hundred bytes of each strip."""
MOST_DIRECTORIES: Final = 8
"""Of one page of a TIFF, which has four at most."""


class Unusable(Exception):  # noqa: N818 - named for what it says about the image
    """What is wrong with an image and what to do about it; where it stood is the caller's to add."""


@dataclass(frozen=True)
class Limits:
    """What an operator may set lower than the bounds above."""

    bytes: int = MOST_BYTES
    pixels: int = MOST_PIXELS


def check_size(width: int, height: int, most: int = MOST_PIXELS) -> None:
    """Before any pixel is decoded."""
    if width < 1 or height < 1:
        raise Unusable(f"has no pixels ({width} x {height}); send an image of at least 1 x 1")
    if width * height > most:
        raise Unusable(f"is {width} x {height}, more than {most:,} pixels; scale it down, the model sees far fewer")
    if max(width, height) > MOST_STRETCH * min(width, height):
        raise Unusable(
            f"is {width} x {height}: one side is more than {MOST_STRETCH} times the other; cut it into several images"
        )
