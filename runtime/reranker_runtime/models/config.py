"""config.json with questions asked of it; a wrong answer names the file and the key."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from reranker_runtime.errors import ModelError, Reason

Value = TypeVar("Value")
MOST_LAYERS: Final = 1_000
"""Several times what anybody trains; a slip of the pen must not make us list a billion tensors."""


class Config:
    """One JSON object of a model directory, or an object inside one."""

    def __init__(self, path: Path, values: Mapping[str, Any], inside: str = "") -> None:
        self.path = path
        self.values = values
        self._inside = inside

    def part(self, key: str) -> Config:
        """An object inside this one, as a vision-language model has one for each half."""
        value = self.values.get(key)
        if not isinstance(value, dict):
            raise self.wrong(key, "an object")
        return Config(self.path, value, f"{self._inside}{key}.")

    def integer(self, key: str, default: int | None = None, *, least: int = 1) -> int:
        value = self.values.get(key)
        if value is None:
            value = default
        if isinstance(value, int) and not isinstance(value, bool) and value >= least:
            return value
        raise self.wrong(key, f"a whole number of {least} or more")

    def layers(self, default: int | None = None) -> int:
        """num_hidden_layers."""
        count = self.integer("num_hidden_layers", default)
        if count > MOST_LAYERS:
            raise self.wrong("num_hidden_layers", f"{MOST_LAYERS} or fewer")
        return count

    def number(self, key: str, default: float) -> float:
        value = self.values.get(key)
        value = default if value is None else value
        try:
            number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
        except OverflowError:  # JSON's whole numbers have no end, a float has
            number = math.inf
        if math.isfinite(number) and number > 0:
            return number
        raise self.wrong(key, "a positive number")

    def flag(self, key: str, *, default: bool) -> bool:
        value = self.values.get(key)
        if value is None:
            return default
        if isinstance(value, bool):
            return value
        raise self.wrong(key, "true or false")

    def choice(self, key: str, default: str, choices: Mapping[str, Value]) -> Value:
        value = self.values.get(key)
        value = default if value is None else value
        if isinstance(value, str) and value in choices:
            return choices[value]
        raise self.unsupported(key, ", ".join(choices))

    def refuse(self, **allowed: object) -> None:
        """Keys that would change the arithmetic silently: absent, null or the value given, else refused."""
        for key, value in allowed.items():
            if self.values.get(key) not in (None, value):
                raise self.unsupported(key, str(value).lower() if isinstance(value, bool) else str(value))

    def wrong(self, key: str, expected: str) -> ModelError:
        got = repr(self.values[key]) if key in self.values else "nothing"
        return ModelError(
            Reason.CONFIG_INVALID, f"{self.path}: {self._inside}{key} must be {expected}, but it is {got}"
        )

    def unsupported(self, key: str, supported: str) -> ModelError:
        return ModelError(
            Reason.VARIANT_UNSUPPORTED,
            f"{self.path}: {self._inside}{key} is {self.values.get(key)!r}, which is not supported; "
            f"supported: {supported}",
        )
