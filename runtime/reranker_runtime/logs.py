"""One line an event, text or JSON. Queries and passages are never logged: they are the customers' documents.

What callers send stands in some events: a path, a model's name, a header. It is shown in one line, bounded in length,
with nothing in it that a terminal would obey, so that nobody can forge an event or flood the log with one.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Final

from reranker_runtime.errors import brief
from reranker_runtime.settings import Settings

MOST_MESSAGE: Final = 8_000
"""Characters of an event's message, and of each line of a traceback."""
MOST_VALUE: Final = 1_000
"""Characters of one of its fields."""
BARE: Final = re.compile(r"""[^\s"'=\\]+""")
"""A value that needs no quotes to be told from the next field."""

request_id: Final[ContextVar[str]] = ContextVar("request_id", default="")
"""Of the request being served, so that every line about it carries it."""


class TextFormatter(logging.Formatter):
    """time level message key=value...; a traceback follows in lines of its own, indented, as no event is."""

    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {key}={_shown(value)}" for key, value in _fields(record).items())
        line = f"{_time(record)} {record.levelname.lower():7} {_printable(_message(record))}{fields}"
        return "\n    ".join((line, *map(_printable, self._traceback(record))))

    def _traceback(self, record: logging.LogRecord) -> list[str]:
        return _lines(self.formatException(record.exc_info)) if record.exc_info else []


class JsonFormatter(logging.Formatter):
    """One object a line, in ASCII."""

    def format(self, record: logging.LogRecord) -> str:
        values = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
            **_fields(record),
        }
        if record.exc_info:
            values["exception"] = "\n".join(_lines(self.formatException(record.exc_info)))
        return json.dumps(values, default=str)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _message(record: logging.LogRecord) -> str:
    return brief(record.getMessage(), MOST_MESSAGE)


def _fields(record: logging.LogRecord) -> dict[str, object]:
    fields: dict[str, object] = {
        key: brief(value, MOST_VALUE) if isinstance(value, str) else value
        for key, value in getattr(record, "fields", {}).items()
    }
    if request := request_id.get():
        fields["request_id"] = request
    return fields


def _lines(traceback: str) -> list[str]:
    return [brief(line, MOST_MESSAGE) for line in traceback.splitlines()]


def _printable(text: str) -> str:
    """Line breaks, terminal codes and whatever else is not seen, by their numbers."""
    if text.isprintable():
        return text
    return "".join(mark if mark.isprintable() else mark.encode("unicode_escape").decode() for mark in text)


def _shown(value: object) -> str:
    text = str(value)
    seen = text.isprintable()
    return text if seen and BARE.fullmatch(text) else json.dumps(text, ensure_ascii=not seen)


def configure(settings: Settings) -> None:
    """Send everything to stderr: stdout belongs to answers."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if settings.json_logs else TextFormatter())
    logging.basicConfig(level=settings.log_level.value.upper(), handlers=[handler], force=True)
    quiet = max(logging.WARNING, logging.getLogger().level)
    for name in ("uvicorn", "asyncio"):  # its access lines would double ours
        logging.getLogger(name).setLevel(quiet)
