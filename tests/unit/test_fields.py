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
ELSEWHERE = {
    ("model", "source", "hostPath"),
    ("model", "source", "inImage"),
    ("authentication", "generate"),
    ("disruptionBudget", "minAvailable"),
}
"""Alternatives to what everything.yaml has: golden files of their own show what they make."""
ONE_OF = {("disruptionBudget", "maxUnavailable"), ("autoscaling", "metrics")}
"""What everything.yaml has of such alternatives: changed, since without them the spec is refused."""
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

Path_ = tuple[str, ...]


def fields(schema: dict[str, Any], path: Path_ = (), *, required: bool = False) -> Iterator[tuple[Path_, bool]]:
    """Every leaf of the schema that is ours, by its path, and whether it may not be left out."""
    if path in ELSEWHERE | DECIDES_LATER:
        return
    if "properties" not in schema or path in PASSED_THROUGH:
        yield path, required
        return
    for name, value in schema["properties"].items():
        yield from fields(value, (*path, name), required=name in schema.get("required", ()))


def other(value: Any) -> Any:
    """A value of the same kind."""
    return value + value[-1:] if isinstance(value, list) else f"{value[:-1]}{'b' if value[-1] == 'a' else 'a'}"


def rendered(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return desired(RerankerService.parse({**EVERYTHING, "spec": spec}), Defaults()).objects()


def at(spec: dict[str, Any], path: Path_) -> dict[str, Any]:
    for part in path[:-1]:
        spec = spec.get(part, {})
    return spec


@pytest.mark.parametrize(("path", "required"), [pytest.param(*each, id=".".join(each[0])) for each in fields(SPEC)])
def test_the_field_is_in_the_golden_input_and_changes_an_object(path: Path_, required: bool) -> None:
    spec = copy.deepcopy(EVERYTHING["spec"])
    holder = at(spec, path)
    assert path[-1] in holder, "give it a value in tests/golden/input/everything.yaml"
    if required or path in ONE_OF:
        holder[path[-1]] = 2 if isinstance(holder[path[-1]], int) else other(holder[path[-1]])
    else:
        del holder[path[-1]]
    assert rendered(spec) != rendered(EVERYTHING["spec"])
