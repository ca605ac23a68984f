"""Changes to JSON values, so that fuzzing passes the parser and reaches what reads the values.

Everything is drawn from the generator that is given: the same seed makes the same change.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from random import Random
from typing import Any

RAW = {
    # What Python's own writer would not write, though a parser may meet it.
    "raw:long": "7" * 5000,
    "raw:huge": "1e999",
    "raw:tiny": "-1e-999",
    "raw:nan": "NaN",
    "raw:infinity": "-Infinity",
    "raw:exact": "184467440737095516160.0",
    "raw:alone": r'"\ud800"',
    "raw:deep": "[" * 300 + "]" * 300,
}
ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 7, 512, 2**31, 2**63, -(2**63) - 1, 0.5, -0.0, 1e308, "", "0", "5", "true",
    "x" * 300, "\x00", "é\u2028\U0001f600", "query", "../..", [], {}, [[]], [None], {"": None}, {"text": "a"},
    ["a", "b"], *RAW,
)  # fmt: skip


def spell(value: Any) -> bytes:
    """JSON, with what stands for raw text replaced by it."""
    text = json.dumps(value)
    for name, raw in RAW.items():
        text = text.replace(f'"{name}"', raw)
    return text.encode()


def change(value: Any, random: Random, names: Sequence[str]) -> Any:
    """A copy with one change in it; `names` are keys that mean something to the reader."""
    value = copy.deepcopy(value)
    places = [place for place, _ in _places(value)]
    if not places:
        return odd(random)
    holder, key = random.choice(places)
    match random.randrange(8):
        case 0:
            del holder[key]
        case 1 | 2:
            holder[key] = odd(random)
        case 3:
            holder[key] = tweaked(holder[key], random)
        case 4:
            holder[key] = copy.deepcopy(random.choice([held for _, held in _places(value)]))
        case 5:
            holder[key] = [holder[key]] * random.choice((1, 2, 3, 40))
        case _:
            objects = [value, *(held for _, held in _places(value))]
            objects = [each for each in objects if isinstance(each, dict)]
            if objects:
                random.choice(objects)[random.choice(names)] = odd(random)
    return value


def odd(random: Random) -> Any:
    """A value that nobody expects there."""
    return copy.deepcopy(random.choice(ODD))


def tweaked(value: Any, random: Random) -> Any:
    """Almost the same value."""
    match value:
        case bool():
            return not value
        case int():
            return value + random.choice((-value, -1, 1, 2**16, 2**40))
        case float():
            return random.choice((-value, value * 1e9, value // 1))
        case str():
            at = random.randrange(len(value) + 1)
            return value[:at] + random.choice(("", "\x00", "é", " ", "\\", '"', "w1 w2", "\x7f")) + value[at + 1 :]
        case list():
            return random.sample(value, len(value)) + value[: random.randrange(3)]
        case dict():
            return {key: value[key] for key in random.sample(list(value), len(value))} | {"extra": value}
    return odd(random)


def _places(value: Any) -> list[tuple[tuple[Any, Any], Any]]:
    found: list[tuple[tuple[Any, Any], Any]] = []
    waiting = [value]
    while waiting:
        holder = waiting.pop()
        keys = list(holder) if isinstance(holder, dict) else range(len(holder)) if isinstance(holder, list) else ()
        for key in keys:
            found.append(((holder, key), holder[key]))
            waiting.append(holder[key])
    return found
