"""Writing what only the person who asked for it may read."""

import os
import tempfile
from pathlib import Path


def write_private(path: Path, content: bytes) -> None:
    """Write the file so that its owner alone may read it, whatever stood there. Raises OSError that names `path`.

    A new file takes the place of an old one: the old one's mode would stay, and a link would lead elsewhere.
    """
    try:
        if _is_device(path):
            path.write_bytes(content)
            return
        handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            Path(beside).replace(path)
        except BaseException:
            Path(beside).unlink()
            raise
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _is_device(path: Path) -> bool:
    """Whether it is something to write into, such as /dev/stdout or a pipe, and not to replace."""
    return path.absolute().parent in (Path("/dev"), Path("/dev/fd")) or (path.exists() and not path.is_file())
