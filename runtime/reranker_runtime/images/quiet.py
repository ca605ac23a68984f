"""Pillow says with `warnings.warn` what is odd about a file; here the file is a stranger's, and nobody can act on it.

Python's own way, `warnings.catch_warnings`, swaps the filters of the whole process, so two threads that decode at the
same time would leave each other's filters behind (python/cpython#91505; Python 3.14 has a thread-safe way, behind a
flag). A warning turned into an error would be worse: a scan with one odd tag would be refused under -W error and read
elsewhere. So the modules of Pillow that warn get, once, a `warnings` that is deaf in a thread while it is `quiet`, and
the ordinary one everywhere else: other users of Pillow in this process see their warnings as ever.
"""

from __future__ import annotations

import ctypes
import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from PIL import Image, PngImagePlugin, TiffImagePlugin, _imaging


class _Here(threading.local):
    quiet = False


_here = _Here()


class _Warnings:
    """The module `warnings`, deaf where asked to be."""

    def warn(
        self, message: str | Warning, category: type[Warning] | None = None, stacklevel: int = 1, **named: Any
    ) -> None:
        if not _here.quiet:
            warnings.warn(message, category, stacklevel + 1, **named)

    def __getattr__(self, name: str) -> Any:
        return getattr(warnings, name)


for _module in (Image, PngImagePlugin, TiffImagePlugin):
    vars(_module)["warnings"] = _Warnings()
# It also logs errors, such as too many samples per pixel, without a word about the request; the answer says it all.
logging.getLogger("PIL").setLevel(logging.CRITICAL)


def _quieten_libtiff() -> None:
    """libtiff writes its errors to stderr from C, one for each broken row: a small file could fill the log with them.

    Pillow silences only its warnings. The symbol is found through Pillow's own module, whichever libtiff it brought.
    """
    try:
        set_handler = ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler
    except (AttributeError, OSError):  # linked in statically, or a Pillow without libtiff: then it stays as it is
        return
    set_handler.argtypes, set_handler.restype = [ctypes.c_void_p], ctypes.c_void_p
    set_handler(None)


_quieten_libtiff()


@contextmanager
def quiet() -> Iterator[None]:
    """No warning of Pillow's leaves this block, in this thread."""
    before, _here.quiet = _here.quiet, True
    try:
        yield
    finally:
        _here.quiet = before
