"""A .tgz whose bytes depend on its files alone: sorted, of one time, of nobody."""

from __future__ import annotations

import gzip
import io
import tarfile
from typing import Final

FILE: Final = 0o644
PROGRAM: Final = 0o755


def repacked(archive: bytes, epoch: int) -> bytes:
    """The same files as in a .tgz, with `epoch` as the time of each, in seconds since 1970."""
    packed = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as given,
        gzip.GzipFile(fileobj=packed, mode="wb", mtime=epoch, filename="") as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as taken,
    ):
        for member in sorted(given.getmembers(), key=lambda each: each.name):
            plain = tarfile.TarInfo(member.name)
            plain.size, plain.mtime = member.size, epoch
            plain.mode = PROGRAM if member.mode & 0o100 else FILE
            taken.addfile(plain, given.extractfile(member))
    return packed.getvalue()
