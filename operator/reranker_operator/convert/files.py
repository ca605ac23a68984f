"""Writes several files, each whole or not at all."""

import tempfile
from pathlib import Path


class FilesError(Exception):
    """Nothing was written; the message says what stands in the way."""


def write_files(folder: Path, contents: dict[str, str], *, replace: bool) -> list[Path]:
    """Write every file, or none if one cannot be; returns their paths. Raises `FilesError`."""
    targets = {folder / name: text for name, text in contents.items()}
    there = sorted(str(path) for path in targets if path.exists())
    if there and not replace:
        raise FilesError(f"{', '.join(there)}: exists already; remove it, or add --force")
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".convert-") as scratch:
            for n, text in enumerate(targets.values()):
                (Path(scratch) / str(n)).write_text(text, encoding="utf-8")
            for n, path in enumerate(targets):
                (Path(scratch) / str(n)).replace(path)
    except OSError as error:
        raise FilesError(f"{error.filename or folder}: {error.strerror}") from error
    return list(targets)
