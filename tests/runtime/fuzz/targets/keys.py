"""Files of keys: each opens the door for the client it names, or the file is refused; no message shows a key."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from random import Random

from fuzz.targets.target import Target
from starlette.datastructures import Headers

from reranker_runtime.errors import SettingsError
from reranker_runtime.http.keys import Keys
from reranker_runtime.settings import Settings

KEPT = tempfile.TemporaryDirectory(prefix="fuzz-keys-")  # removed at the end of the process
FOLDER = Path(KEPT.name)
WORDS = (
    b"alice", b"bob.x", b"#", b"# note", b"\n", b" ", b"\t", b"\r\n", b"\xef\xbb\xbf", b"\x00", b"\xc3\xa9",
    b"alice alice", b"0123456789abcdef0123456789abcdef", b"fedcba9876543210", b"short", b"Bearer", b"a" * 1025,
)  # fmt: skip


class Heard(logging.Handler):
    """What the log was told."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


HEARD = Heard()
logging.getLogger("reranker_runtime.http.keys").addHandler(HEARD)
logging.getLogger("reranker_runtime.http.keys").propagate = False


def check(data: bytes) -> None:
    HEARD.lines.clear()
    lines = [line.split() for line in data.split(b"\n")]
    lines = [words for words in lines if words and not words[0].startswith(b"#")]
    _check_file(data, lines)
    _check_directory(data)


def _check_file(data: bytes, lines: list[list[bytes]]) -> None:
    (FOLDER / "file").write_bytes(data)
    keys = Keys(Settings(api_keys_file=FOLDER / "file"))
    try:
        keys.load()
    except SettingsError as error:
        _nothing_told(str(error), lines)
        return
    _nothing_told("\n".join((*HEARD.lines, repr(keys))), lines)
    assert lines, "a file without keys was taken"
    for words in lines:
        assert len(words) <= 2, words
        client = words[0].decode() if len(words) == 2 else "default"
        assert keys.client(Headers({"Authorization": f"Bearer {words[-1].decode()}"})) == client
        assert keys.client(Headers({"X-API-Key": words[-1].decode()})) == client
        assert keys.client(Headers({"X-API-Key": words[-1].decode() + "x"})) is None or len(lines) > 1
    assert keys.client(Headers({"X-API-Key": ""})) is None


def _check_directory(data: bytes) -> None:
    folder = FOLDER / "folder"
    folder.mkdir(exist_ok=True)
    (folder / "client").write_bytes(data)
    keys = Keys(Settings(api_keys_dir=folder))
    lines = [[line.strip()] for line in data.split(b"\n") if line.strip()]
    try:
        keys.load()
    except SettingsError as error:
        _nothing_told(str(error), lines)
        return
    for (key,) in lines:
        assert keys.client(Headers({"X-API-Key": key.decode()})) == "client"


def _nothing_told(told: str, lines: list[list[bytes]]) -> None:
    """No key of a length that cannot stand there by chance; names of clients may be told."""
    names = b" ".join(words[0] for words in lines if len(words) > 1)
    for words in lines:
        for word in words[1:] or words:
            if len(word) >= 12 and word not in names:
                assert word.decode("latin-1") not in told, f"{told!r} shows {word!r}"


def mutate(data: bytes, random: Random) -> bytes | None:
    if random.random() < 0.3:
        return None
    at = random.randrange(len(data) + 1)
    until = at + random.choice((0, 0, 0, 1, 9))
    return data[:at] + random.choice((b"", b" ", b"\n")) + random.choice(WORDS) + data[until:]


TARGET = Target(
    check,
    mutate,
    [
        b"alice 0123456789abcdef0123456789abcdef\nbob.x fedcba9876543210\n",
        b"# ours\n0123456789abcdef0123456789abcdef\r\n\n",
        b"alice k1\nalice k2\n",
    ],
)
