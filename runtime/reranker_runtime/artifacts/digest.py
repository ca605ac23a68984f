"""The fingerprint of a model: what a person gets from sha256sum, so that it can be checked without this program."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from reranker_runtime.errors import ModelError, Reason

FORM: Final = re.compile(r"sha256:[0-9a-f]{64}")


def digest(directory: Path, files: Sequence[str]) -> str:
    """`sha256sum FILES... | LC_ALL=C sort -k2 | sha256sum`, with paths relative to the directory."""

    def line(file: str) -> str:
        try:
            with (directory / file).open("rb") as stream:
                return f"{hashlib.file_digest(stream, 'sha256').hexdigest()}  {file}\n"
        except OSError as error:
            raise ModelError(
                Reason.DIRECTORY_UNREADABLE,
                f"cannot read {directory / file}: {error.strerror}; make it readable for user {os.getuid()}",
            ) from error

    with ThreadPoolExecutor(max_workers=4) as pool:  # hashing releases the interpreter's lock
        lines = list(pool.map(line, sorted(files, key=os.fsencode)))
    return "sha256:" + hashlib.sha256("".join(lines).encode()).hexdigest()


def check_digest(directory: Path, expected: str, actual: str) -> None:
    """Refuse weights that are not the ones asked for."""
    if expected != actual:
        raise ModelError(
            Reason.DIGEST_MISMATCH,
            f"{directory} has digest {actual}, but {expected} was asked for; "
            "put the intended model there, or ask for the digest that is there",
        )
