"""Every field of the spec changes an object: a field that nothing reads must not exist."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from reranker_operator.api import InvalidResourceError, RerankerService
from reranker_operator.api.crd import custom_resource_definition
from reranker_operator.desired import Defaults, desired

GOLDEN = Path(__file__).parent.parent / "golden/input"
INPUTS = [yaml.safe_load(path.read_text()) for path in sorted(GOLDEN.glob("*.yaml"))]
DECIDES_LATER = {
    ("rollout", "surgeTimeoutSeconds"),
    ("rollout", "onFailure"),
    ("autoscaling", "targetQueueSeconds"),
}
"""What these change depends on how a rollout goes, or on what pods have to do: tests/cluster/test_rollouts.py and
test_scaling.py have them."""
SPEC = custom_resource_definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
PASSED_THROUGH = {
    ("resources",),
    ("server", "env"),
    ("autoscaling", "metrics"),
    ("autoscaling", "behavior"),
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
INSTEAD: dict[tuple[str, ...], dict[str, Any]] = {
    ("runtime",): {"runtime": "Bundled", "nim": None, "proxy": None, "model": {"source": {"inImage": {"path": "/m"}}}},
    ("authentication", "generate"): {"authentication": {"apiKeysSecret": {"name": "clients"}}},
}
"""Fields that can be changed only together with others."""

Path_ = tuple[str, ...]


def fields(schema: dict[str, Any], path: Path_ = ()) -> Iterator[Path_]:
    """Every leaf of the schema that is ours, by its path."""
    if path in DECIDES_LATER:
        return
    if "properties" not in schema or path in PASSED_THROUGH:
        yield path
        return
    for name, value in schema["properties"].items():
        yield from fields(value, (*path, name))


def others(value: Any) -> Iterator[Any]:
    """Values of the same kind."""
    if isinstance(value, int):
        yield value + 1
    elif isinstance(value, list):
        yield value + value[-1:]
    else:
        yield f"{value[:-1]}{'b' if value[-1] == 'a' else 'a'}"
        yield f"{'1' if value[0] != '1' else '2'}{value[1:]}"  # another number of the same unit


def holder(document: dict[str, Any], path: Path_) -> dict[str, Any]:
    spec = document["spec"]
    for part in path[:-1]:
        spec = spec.get(part, {})
    return spec


def changed(document: dict[str, Any], path: Path_) -> Iterator[dict[str, Any]]:
    """The service without the field, with another value in it, and with what can stand instead of it."""
    without = copy.deepcopy(document)
    value = holder(without, path).pop(path[-1])
    yield without
    for each in others(value):
        copied = copy.deepcopy(document)
        holder(copied, path)[path[-1]] = each
        yield copied
    yield {**document, "spec": {**document["spec"], **INSTEAD.get(path, {})}}


def rendered(document: dict[str, Any]) -> list[dict[str, Any]]:
    # As on a server, where children have owners.
    document = {**document, "metadata": {**document["metadata"], "uid": "0"}}
    return desired(RerankerService.parse(document), Defaults()).objects()


def makes_others(document: dict[str, Any], path: Path_) -> bool:
    """Whether the first change of the field that the rules allow makes other objects."""
    for each in changed(document, path):
        try:
            return rendered(each) != rendered(document)
        except InvalidResourceError:
            continue
    return False


@pytest.mark.parametrize("path", [pytest.param(path, id=".".join(path)) for path in fields(SPEC)])
def test_the_field_is_in_a_golden_input_and_changes_an_object(path: Path_) -> None:
    holding = [document for document in INPUTS if path[-1] in holder(document, path)]
    assert holding, "give it a value in one of tests/golden/input"
    assert any(makes_others(document, path) for document in holding)
