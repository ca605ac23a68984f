"""Values that are handed on to pods, held against the API server's own schema of them.

The server does this for whatever is applied; here it is done for `render`, so that a misspelt toleration is refused
offline too, and so that the rules of our own types may rely on the shape.
"""

import json
import re
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any

_TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
}


@cache
def pod_schemas() -> dict[str, dict[str, Any]]:
    """Schema by kind, of the oldest supported Kubernetes minor (scripts/pod_schema.py)."""
    document: dict[str, Any] = json.loads(files("reranker_operator.api").joinpath("pod_schema.json").read_text())
    return dict(document["kinds"])


class Unknown(str):
    """A problem with a field or a value that another version of Kubernetes may know."""

    __slots__ = ()


def problems(value: Any, schema: dict[str, Any], path: str = "") -> Iterator[str]:
    """What in `value` does not fit `schema`, each with its path."""
    kinds = [schema["type"]] if "type" in schema else [each["type"] for each in schema.get("anyOf", ())]
    if kinds and not any(_is(value, kind) for kind in kinds):
        yield f"{path or 'the value'} must be of type {' or '.join(kinds)}, not {json.dumps(value)}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield Unknown(f"{path} must be one of {', '.join(schema['enum'])}, not {json.dumps(value)}")
    if isinstance(value, dict):
        yield from _in_object(value, schema, path)
    elif isinstance(value, list):
        if len(value) < schema.get("minItems", 0):
            yield f"{path} should have at least {schema['minItems']} items"
        for index, entry in enumerate(value):
            yield from problems(entry, schema.get("items", {}), f"{path}[{index}]")
    elif isinstance(value, int | float) and value < schema.get("minimum", value):
        yield f"{path} must be {schema['minimum']} or more, not {value}"
    elif isinstance(value, int | float) and value > schema.get("maximum", value):
        yield f"{path} must be {schema['maximum']} or less, not {value}"
    elif "pattern" in schema and not re.search(schema["pattern"], str(value)):
        yield f"{path} {json.dumps(value)} does not match {schema['pattern']}"


def _in_object(value: dict[str, Any], schema: dict[str, Any], path: str) -> Iterator[str]:
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{_below(path, name)} is required"
    known, more = schema.get("properties"), schema.get("additionalProperties")
    for name, entry in value.items():
        if known is not None and name in known:
            yield from problems(entry, known[name], _below(path, name))
        elif isinstance(more, dict):
            yield from problems(entry, more, _below(path, name))
        elif known is not None:
            yield Unknown(f"{_below(path, name)} is no field")


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, _TYPES[kind])


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
