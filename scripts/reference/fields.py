"""docs/reference/fields.md: every field of the resource, from the pydantic types that the CRD is made of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import BaseModel

from reference.words import code, table
from reranker_operator.api.resource import API_VERSION, KIND, NAME_RULE
from reranker_operator.api.spec import Spec
from reranker_operator.api.status import ServiceStatus

Json = dict[str, Any]
AUTOSCALING: Final = ("HorizontalPodAutoscalerBehavior", "MetricSpec")
HEAD: Final = f"""\
# Fields of a {KIND}

<!-- Made by scripts/reference_pages.py from operator/reranker_operator/api: edit the types, then `make generate`. -->

`apiVersion: {API_VERSION}`, `kind: {KIND}`, short name `rrs`. `kubectl explain rrs.spec` prints the same from a
cluster, and `reranker-operator render FILE` holds a manifest against all of it without one. Other fields are refused.

`metadata.name` becomes the name of a Service and of Jobs: at most 46 characters, lower-case letters, digits and `-`,
beginning with a letter. What is handed on to pods has the fields of Kubernetes' own type, which is named.
"""


@dataclass
class Section:
    """A field directly below `spec` or `status` that has fields of its own, with all of them."""

    title: str
    about: str
    rows: list[list[str]] = field(default_factory=list)
    rules: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        parts = [
            f"### {self.title}\n",
            f"{self.about}\n" if self.about else "",
            table(["field", "type", "meaning"], self.rows),
        ]
        if self.rules:
            parts.append(
                "The server, and `render`, refuse in these words what breaks a rule:\n\n"
                + "".join(f"- {each}\n" for each in self.rules)
            )
        return "\n".join(part for part in parts if part)


def fields_page() -> str:
    """The page."""
    parts = [HEAD]
    for name, kind in (("spec", Spec), ("status", ServiceStatus)):
        parts.append(f"## {name}\n")
        parts += map(str, sections(name, kind))
    return "\n".join(parts)


def sections(name: str, kind: type[BaseModel]) -> Iterator[Section]:
    """First what has no fields below it, then one section for each field that has."""
    document = kind.model_json_schema(by_alias=True)
    defs, needed = document.get("$defs", {}), document.get("required", [])
    plain = Section(f"directly in {name}", "")
    plain.rules = _rules(name, document)
    deeper = []
    for own, schema in document["properties"].items():
        given = resolved(schema, defs)
        if "properties" not in given and "properties" not in resolved(given.get("items", {}), defs):
            plain.rows += _rows(f"{name}.{own}", given, defs, needed=own in needed)
            continue
        section = Section(f"{name}.{own}", given.get("description", ""))
        section.rows += _row(f"{name}.{own}", given, needed=own in needed)
        for path, each, required in _below(f"{name}.{own}", given, defs):
            section.rows += _row(path, each, needed=required)
        section.rules = list(_all_rules(f"{name}.{own}", given, defs))
        deeper.append(section)
    yield plain
    yield from deeper


def resolved(schema: Json, defs: Json) -> Json:
    """A schema with its reference in place, and without the null of what may be left out."""
    if "anyOf" in schema:
        options = [each for each in schema["anyOf"] if each.get("type") != "null"]
        rest = {key: value for key, value in schema.items() if key != "anyOf" and value is not None}
        if len(options) > 1:
            return {"type": "a number or a percentage", **rest}
        return {**resolved(options[0], defs), **rest}
    if "$ref" in schema:
        rest = {key: value for key, value in schema.items() if key != "$ref"}
        return {**resolved(defs[schema["$ref"].rpartition("/")[2]], defs), **rest}
    return schema


def _below(path: str, schema: Json, defs: Json) -> Iterator[tuple[str, Json, bool]]:
    """Every field below a schema: its path, its own schema, whether it is required."""
    if "items" in schema:
        path, schema = f"{path}[]", resolved(schema["items"], defs)
    for name, each in schema.get("properties", {}).items():
        given = resolved(each, defs)
        yield (
            f"{path}.{name}",
            {**given, "items": resolved(given.get("items", {}), defs)},
            name in schema.get("required", ()),
        )
        yield from _below(f"{path}.{name}", given, defs)


def _rows(path: str, schema: Json, defs: Json, *, needed: bool) -> list[list[str]]:
    return _row(path, {**schema, "items": resolved(schema.get("items", {}), defs)}, needed=needed)


def _row(path: str, schema: Json, *, needed: bool) -> list[list[str]]:
    about = " ".join(schema.get("description", "").split())
    kind = "; ".join(_kind(schema, needed=needed))
    return [[code(path), kind, about.replace("|", "\\|")]]


def _kind(schema: Json, *, needed: bool) -> Iterator[str]:
    yield _type(schema)
    if needed:
        yield "required"
    if "pattern" in schema:
        yield f"matches {code(schema['pattern'])}"
    if bounds := _bounds(schema):
        yield bounds
    default = schema.get("default")
    if default not in (None, {}, []) and not isinstance(default, dict):
        yield f"default {code(str(default) if isinstance(default, str) else json.dumps(default))}"


def _type(schema: Json) -> str:
    if "x-pod-kind" in schema:
        return f"{schema['x-pod-kind']} of {'autoscaling/v2' if schema['x-pod-kind'] in AUTOSCALING else 'a pod'}"
    if "enum" in schema:
        return " or ".join(code(each) for each in schema["enum"])
    if schema.get("type") == "array":
        items = schema.get("items", {})
        return f"list of {_type(items) if items.get('type') != 'object' or 'x-pod-kind' in items else 'objects'}"
    if schema.get("type") == "object" and "properties" not in schema:
        return "map of strings"
    return str(schema.get("type", "object"))


def _bounds(schema: Json) -> str:
    least, most = schema.get("minimum"), schema.get("maximum")
    if "exclusiveMinimum" in schema:
        return (
            f"above {schema['exclusiveMinimum']:g}, at most {most:,}"
            if most is not None
            else f"above {schema['exclusiveMinimum']:g}"
        )
    if least is not None:
        return f"{least:,} to {most:,}" if most is not None else f"{least:,} or more"
    for unit, low, high in (("characters", "minLength", "maxLength"), ("entries", "minItems", "maxItems")):
        if high in schema:
            return f"{schema[low]} to {schema[high]} {unit}" if schema.get(low) else f"at most {schema[high]} {unit}"
    return f"at most {schema['maxProperties']} entries" if "maxProperties" in schema else ""


def _rules(path: str, schema: Json) -> list[str]:
    return [f"{code(path)}: {rule['message']}" for rule in schema.get("x-kubernetes-validations", ())]


def _all_rules(path: str, schema: Json, defs: Json) -> Iterator[str]:
    yield from _rules(path, schema)
    if "items" in schema:
        yield from _all_rules(f"{path}[]", resolved(schema["items"], defs), defs)
    for name, each in schema.get("properties", {}).items():
        yield from _all_rules(f"{path}.{name}", resolved(each, defs), defs)


assert "46" in NAME_RULE.message, "the page's head tells another limit of a name"
