"""How a report is set: tables, indented paragraphs, ages; and reading objects that may lack anything."""

import datetime
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

WIDTH = 110
Json = dict[str, Any]


def dig(value: Any, *path: str) -> Any:
    """What stands at a path of an object, or None where it ends on the way."""
    for step in path:
        if not isinstance(value, dict):
            return None
        value = value.get(step)
    return value


def condition(document: Json, kind: str) -> Json:
    """A condition of an object; empty where it has none of this type."""
    conditions = dig(document, "status", "conditions") or ()
    return next((each for each in conditions if each.get("type") == kind), {})


def is_ready(pod: Json) -> bool:
    """Whether a pod takes requests."""
    return condition(pod, "Ready").get("status") == "True" and "deletionTimestamp" not in pod["metadata"]


def last_seen(event: Json) -> str:
    """When an event was last seen, as the server writes times."""
    times = (
        dig(event, "series", "lastObservedTime"),
        event.get("lastTimestamp"),
        event.get("eventTime"),
        dig(event, "metadata", "creationTimestamp"),
    )
    return str(next((each for each in times if each), ""))


def age(at: datetime.datetime, since: Any) -> str:
    """How long ago a time is, as kubectl says it: 42s, 5m, 3h, 12d; `?` where there is none."""
    try:
        seconds = (at - datetime.datetime.fromisoformat(str(since))).total_seconds()
    except (ValueError, TypeError):  # no time, or one without a zone
        return "?"
    seconds = max(0.0, seconds)
    for size, unit, until in ((1, "s", 120), (60, "m", 120 * 60), (3600, "h", 48 * 3600)):
        if seconds < until:
            return f"{seconds // size:.0f}{unit}"
    return f"{seconds // 86400:.0f}d"


def paragraph(text: str, indent: int = 2) -> list[str]:
    """Words in lines of at most `WIDTH` characters; words themselves are never broken."""
    blank = " " * indent
    return textwrap.wrap(
        " ".join(text.split()),
        WIDTH,
        initial_indent=blank,
        subsequent_indent=blank,
        break_long_words=False,
        break_on_hyphens=False,
    )


def table(rows: Iterable[Sequence[Any]], indent: int = 2) -> list[str]:
    """Columns as wide as their widest cell; the last one is not padded."""
    cells = [[str(cell) for cell in row] for row in rows]
    if not cells:
        return []
    widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
    return [
        (" " * indent + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))).rstrip()
        for row in cells
    ]


def block(text: str, indent: int = 4) -> list[str]:
    """Lines as they are, indented."""
    return [(" " * indent + line).rstrip() for line in text.splitlines()]
