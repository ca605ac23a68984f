"""From the string a client sends to the bytes of a file: data URLs and bare base64, as clients really write them."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final
from urllib.parse import unquote_to_bytes

from reranker_runtime.images.limits import MOST_BYTES, Unusable

HOW: Final = 'send the bytes of the file as "data:image/png;base64,..."'
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,20}):")
_URL_SAFE: Final = bytes.maketrans(b"-_", b"+/")


def payload(image: object, most: int = MOST_BYTES) -> bytes:
    """The file's bytes. Line breaks, missing padding and the URL-safe alphabet change no meaning and are accepted."""
    if not isinstance(image, str):
        raise Unusable(f"must be a string; {HOW}")
    text = image.strip()
    if not text:
        raise Unusable(f"is empty; {HOW}, or leave it out")
    scheme = _SCHEME.match(text)
    if scheme is not None and scheme[1].lower() == "data":
        return _decode(_data_url(text), most)
    if scheme is not None or text.startswith("//"):
        kind = f"{scheme[1].lower()}: URL" if scheme else "URL"
        raise Unusable(f"is a {kind}; URLs are never fetched here, so {HOW}")
    return _decode(text, most)


def _data_url(text: str) -> str:
    head, comma, data = text.partition(",")
    if not comma:
        raise Unusable(f"is a data URL without a comma; {HOW}")
    # The stated type is ignored: clients write image/jpeg before anything, and the content tells.
    if head.split(";")[-1].strip().lower() != "base64":
        raise Unusable(f'is a data URL that does not say ";base64" before its comma; {HOW}')
    return data


def _decode(text: str, most: int) -> bytes:
    try:
        digits = "".join(text.split()).encode("ascii")
    except UnicodeEncodeError:
        raise Unusable(f"is not base64: it holds characters that base64 does not have; {HOW}") from None
    if b"%" in digits:  # "%2B" for "+", as a URL may have it; base64 itself has no "%"
        digits = unquote_to_bytes(digits)
    digits = digits.rstrip(b"=").translate(_URL_SAFE)
    if len(digits) * 3 // 4 > most:
        raise Unusable(f"is larger than {most:,} bytes; scale it down or compress it")
    if not digits:
        raise Unusable(f"is empty; {HOW}, or leave it out")
    if len(digits) % 4 == 1:
        raise Unusable("is not base64: its length is impossible, so characters are missing; send all of it")
    try:
        return base64.b64decode(digits + b"=" * (-len(digits) % 4), validate=True)
    except binascii.Error:
        raise Unusable(f"is not base64: it holds characters that base64 does not have; {HOW}") from None
