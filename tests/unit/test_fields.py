"""Every field of the spec changes an object: a field that nothing reads must not exist."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from reranker_operator.api import RerankerService
from reranker_operator.api.crd import custom_resource_definition
from reranker_operator.desired import Defaults, desired

EVERYTHING = yaml.safe_load((Path(__file__).parent.parent / "golden/input/everything.yaml").read_text())
OTHER_SOURCES = {("model", "source", "hostPath"), ("model", "source", "inImage")}
SPEC = custom_resource_definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
PASSED_THROUGH = {
    ("resources",),
    ("server", "env"),
    *(
        (("pod", name))
        for name in (
            "affinity",
            "tolerations",
            "topologySpreadConstraints",
            "volumes",
            "volumeMounts",
            "securityContext",
        )
    ),
}

Path_ = tuple[str, ...]


def fields(schema: dict[str, Any], path: Path_ = ()) -> Iterator[Path_]:
    """Every leaf of the schema that is ours, by its path."""
    if path in OTHER_SOURCES:
        return
    if "properties" not in schema or path in PASSED_THROUGH:
        yield path
        return
    for name, value in schema["properties"].items():
        yield from fields(value, (*path, name))


def rendered(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return desired(RerankerService.parse({**EVERYTHING, "spec": spec}), Defaults()).objects()


def at(spec: dict[str, Any], path: Path_) -> dict[str, Any]:
    for part in path[:-1]:
        spec = spec.get(part, {})
    return spec


@pytest.mark.parametrize("path", list(fields(SPEC)), ids=".".join)
def test_the_field_is_in_the_golden_input_and_changes_an_object(path: Path_) -> None:
    spec = copy.deepcopy(EVERYTHING["spec"])
    holder = at(spec, path)
    assert path[-1] in holder, "give it a value in tests/golden/input/everything.yaml"
    if path == ("model", "source", "persistentVolumeClaim", "claimName"):
        holder["claimName"] = "other"
    else:
        del holder[path[-1]]
    assert rendered(spec) != rendered(EVERYTHING["spec"])
