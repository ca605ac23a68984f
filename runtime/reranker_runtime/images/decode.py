"""From what a client sends as a passage's image to an image in memory, whatever the client sends.

What a file is, its first bytes say: never the type that the client states. Each of the six formats is opened by its own
class of Pillow's, so that no other of its fifty parsers is ever reached: Image.open, even told the formats, also makes
a JPEG of several pictures out of one, and warns of a size before anybody can refuse it.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from typing import Final, NamedTuple

from PIL import BmpImagePlugin, GifImagePlugin, Image, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin
from PIL.ImageFile import ImageFile

from reranker_runtime.errors import InvalidRequest, Place
from reranker_runtime.images import structure
from reranker_runtime.images.limits import Limits, Unusable, check_size
from reranker_runtime.images.payload import HOW, payload
from reranker_runtime.images.quiet import quiet

log = logging.getLogger(__name__)


class _Format(NamedTuple):
    name: str
    starts: tuple[bytes, ...]
    opened: Callable[[io.BytesIO], ImageFile]
    check: Callable[[bytes], None] | None
    """Before Pillow sees the file; None where nothing happens before the size is known."""


_FORMATS: Final = (
    _Format("PNG", (b"\x89PNG\r\n\x1a\n",), PngImagePlugin.PngImageFile, structure.check_png),
    _Format("JPEG", (b"\xff\xd8\xff",), JpegImagePlugin.JpegImageFile, structure.check_jpeg),
    _Format("WebP", (b"RIFF",), WebPImagePlugin.WebPImageFile, structure.check_webp),
    _Format("GIF", (b"GIF87a", b"GIF89a"), GifImagePlugin.GifImageFile, structure.check_gif),
    _Format("BMP", (b"BM",), BmpImagePlugin.BmpImageFile, None),
    # Pillow also opens four headers that break the standard; libtiff, which reads most pixels, reads those otherwise.
    _Format("TIFF", (b"II*\0", b"MM\0*", b"II+\0"), TiffImagePlugin.TiffImageFile, structure.check_tiff),
)
_OTHERS: Final = {
    b"%PDF": "a PDF; render the page as a PNG",
    b"<svg": "an SVG; render it as a PNG",
    b"<?xml": "XML; if it is an SVG, render it as a PNG",
    b"\0\0\0\x0cjP  ": "JPEG 2000; save it as PNG or JPEG",
    b"\0\0\x01\0": "an icon; save it as PNG",
    b"\xff\x0a": "JPEG XL; save it as PNG or JPEG",
}
_MODES: Final = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB"})
"""That Pillow scales and turns into RGB."""
_DEEP: Final = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N", "F"})
"""Grey of more than 8 bits. Pillow, and so the reference, clips it at 255: a page of it would be ranked as a white one.
Colours of 16 bits Pillow halves itself while it reads them."""


def decode(image: object, at: Place = (), limits: Limits = Limits()) -> Image.Image:  # noqa: B008 - frozen
    """The first frame or page, loaded, in its own mode, without its metadata; not turned as Exif may ask, but for TIFF.

    Raises `InvalidRequest` (422) and nothing else: `at` is where the image stood in the request.
    """
    try:
        return _open(payload(image, limits.bytes), limits.pixels)
    except Unusable as error:
        message = str(error)
    raise InvalidRequest(message, at=at)


def _open(data: bytes, pixels: int) -> Image.Image:
    form = _recognise(data)
    if form.check is not None:
        form.check(data)
    try:
        with quiet():
            return _load(form, data, pixels)
    except Unusable:
        raise
    except MemoryError:
        raise Unusable(f"is a {form.name} that does not fit into memory now; scale it down") from None
    # Pillow has no exception of its own: broken files raise OSError, SyntaxError, ValueError, struct.error, KeyError,
    # zlib.error, OverflowError, ZeroDivisionError, ... from wherever the parser stumbles.
    except Exception as error:  # noqa: BLE001
        log.debug("a %s could not be read: %s", form.name, type(error).__name__)  # its text may quote the file
        raise Unusable(f"is a {form.name} that cannot be read: it {structure.CUT_SHORT}") from None


def _recognise(data: bytes) -> _Format:
    for form in _FORMATS:
        if data.startswith(form.starts) and (form.name != "WebP" or data[8:12] == b"WEBP"):
            return form
    known = next((what for start, what in _OTHERS.items() if data.lstrip().startswith(start)), None)
    if data[4:8] == b"ftyp":
        known = "an AVIF, HEIC or video file; save it as PNG or JPEG"
    readable = "PNG, JPEG, WebP, GIF, BMP and TIFF are read"
    raise Unusable(f"is {known}; {readable}" if known else f"is not an image in base64; {readable}: {HOW}")


def _load(form: _Format, data: bytes, pixels: int) -> Image.Image:
    image = form.opened(io.BytesIO(data))
    check_size(*image.size, pixels)
    if any(tile[0] == "bmp_rle" for tile in image.tile):
        # Decoded pixel by pixel in Python: 30 KB that hold nothing but ends of lines keep it busy for many seconds.
        raise Unusable("is a run-length coded BMP; save it as PNG")
    # Pillow turns a TIFF as its Exif orientation says, and no other format; so does the reference.
    image.load()
    if image.mode in _DEEP:
        raise Unusable(f"is a {form.name} whose grey has more than 8 bits a pixel ({image.mode}); convert it to 8 bits")
    if image.mode not in _MODES:
        raise Unusable(f"is a {form.name} of an unusual kind ({image.mode}); save it as PNG")
    # A copy, because the file's own object keeps the file, and with WebP two more canvases. Its metadata goes: a text
    # chunk named "transparency" would be taken for a colour when the image is converted.
    plain = image.copy()
    plain.info.clear()
    return plain
