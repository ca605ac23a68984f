"""The values of the chart: each does something, the schema has all of them, and null is empty or refused by name."""

from __future__ import annotations

import copy
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from charts import CHART, DEFAULTS, EVERYTHING, Helm, Json, flags_of, of_kind


def leaves(values: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of each value; a map that has entries by default and no schema of its own is one."""
    if isinstance(values, dict) and values and path not in MAPS:
        for key, value in values.items():
            yield from leaves(value, (*path, key))
    else:
        yield path


MAPS = {
    ("resources",),
    ("podSecurityContext",),
    ("securityContext",),
    ("metrics", "dashboards", "labels"),
}
OTHER: dict[str, Any] = {
    "affinity": {},
    "allowHostPath": ["/srv/others"],
    "image.digest": f"sha256:{'0' * 64}",
    "runtimeImage.digest": f"sha256:{'0' * 64}",
    "image.pullPolicy": "Always",
    "imagePullSecrets": ["other"],
    "logging.format": "text",
    "logging.level": "debug",
    "metrics.prometheusRule.runbooks": "https://example.com/runbooks",
    "metrics.serviceMonitor.interval": "7s",
    "metrics.serviceMonitor.scrapeTimeout": "7s",
    "networkPolicy.apiServer.cidrs": ["192.0.2.7/32"],
    "networkPolicy.apiServer.ports": [7443],
    "networkPolicy.monitoring": [{"podSelector": {"matchLabels": {"app": "prometheus"}}}],
    "podDisruptionBudget.maxUnavailable": 2,
    "podSecurityContext": {"fsGroup": 7},
    "proxy.http": "http://other.example",
    "proxy.https": "http://other.example",
    "rbac.aggregate": None,
    "resources": {"requests": {"cpu": "7"}},
    "secrets.namespaces": ["shop"],
    "securityContext": {"privileged": False},
    "services": {},
    "watchNamespaces": ["search"],
}
"""What a value is changed to, where neither its kind nor its default says it."""
CONTEXT: dict[str, Json] = {
    # Of two that exclude each other, the one that everything.yaml has is taken away.
    "secrets.ngc.existing": {"secrets": {"ngc": {"create": {"apiKey": ""}}}},
    "secrets.huggingFace.existing": {"secrets": {"huggingFace": {"create": {"token": ""}}}},
    "secrets.imagePull.existing": {"secrets": {"imagePull": {"create": {"password": ""}}}},
    "rbac.aggregate": {"watchNamespaces": ["search"]},
    "crds.keep": {"crds": {"install": True}},
    "metrics.service.enabled": {"metrics": {"serviceMonitor": {"enabled": False}}},
}


@pytest.mark.parametrize("path", list(leaves(DEFAULTS)), ids=".".join)
def test_every_value_changes_what_is_rendered(helm: Helm, path: tuple[str, ...]) -> None:
    name = ".".join(path)
    base = merged(yaml.safe_load(EVERYTHING.read_text()), CONTEXT.get(name, {}))
    changed = copy.deepcopy(base)
    holder = changed
    for part in path[:-1]:
        holder = holder.setdefault(part, {})
    default = holder.get(path[-1], at(DEFAULTS, path))
    holder[path[-1]] = OTHER[name] if name in OTHER else other_than(default)
    flags = flags_of(EVERYTHING)
    before, after = (helm.template(values, flags) for values in (base, changed))
    assert (before.returncode, after.returncode) == (0, 0), before.stderr + after.stderr
    assert before.stdout != after.stdout, f"{name} changes nothing"


def other_than(value: Any) -> Any:
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, str):
        return f"{value}7" if value else "other"
    if isinstance(value, list):
        return [] if value else ["other"]
    return {**value, "other": "7"}


def merged(base: Any, more: Json) -> Json:
    """`base` with the entries of `more`, map by map."""
    both = dict(base)
    for key, value in more.items():
        both[key] = merged(both.get(key, {}), value) if isinstance(value, dict) and value else value
    return both


def at(values: Any, path: tuple[str, ...]) -> Any:
    """The value at a path."""
    for part in path:
        values = values[part]
    return values


def test_the_schema_has_every_value_and_no_other() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())

    def compare(part: Json, values: Any, where: str) -> None:
        if "properties" not in part:
            return
        assert part["additionalProperties"] is False, where
        if isinstance(values, dict) and values:
            more = {"global", "enabled"} if part is schema else {"claims"}
            assert set(part["properties"]) - more == set(values), where
            for key, value in values.items():
                compare(part["properties"][key], value, f"{where}.{key}")

    compare(schema, DEFAULTS, "values")


def test_names_of_services_are_those_that_the_server_takes() -> None:
    (crd,) = (CHART / "files/crds").glob("*.yaml")
    (version,) = yaml.safe_load(crd.read_text())["spec"]["versions"]
    said = [each["rule"] for each in version["schema"]["openAPIV3Schema"]["x-kubernetes-validations"]]
    (rule,) = [each for each in said if "metadata.name.size()" in each]
    found = re.fullmatch(r"self\.metadata\.name\.size\(\) <= (\d+) && self\.metadata\.name\.matches\('(.+)'\)", rule)
    assert found
    names = json.loads((CHART / "values.schema.json").read_text())["properties"]["services"]["propertyNames"]
    assert (names["maxLength"], names["pattern"]) == (int(found[1]), found[2])


# Values that are null


def nulls(*paths: tuple[str, ...]) -> Json:
    """The values of everything.yaml, with null at each path."""
    made: Json = yaml.safe_load(EVERYTHING.read_text())
    for path in paths:
        holder = made
        for part in path[:-1]:
            holder = holder.setdefault(part, {})
        holder[path[-1]] = None
    return made


def missing(said: str) -> set[tuple[str, ...]]:
    """The paths that helm calls missing."""
    found = re.findall(r"^ *- at '(.*)': missing propert(?:y|ies) (.+)$", said, re.MULTILINE)
    return {(*where.split("/")[1:], name) for where, names in found for name in re.findall(r"'(.+?)'", names)}


def assert_whole(made: subprocess.CompletedProcess[str]) -> None:
    """Nothing that is rendered is left open, and no rule of the network lets everything through."""
    assert made.returncode == 0, made.stderr
    objects = [each for each in yaml.safe_load_all(made.stdout) if each]
    for each in objects:
        assert "<no value>" not in json.dumps(each)
        assert list(holes(each)) == [], each["kind"]
    for policy in of_kind(objects, "NetworkPolicy"):
        for rule in policy["spec"]["egress"] + policy["spec"]["ingress"]:
            assert rule["ports"]


def holes(part: Any, where: str = "") -> Iterator[str]:
    """Where nothing stands: null, a name that is empty, a flag without its value."""
    if isinstance(part, dict):
        for key, value in part.items():
            yield from holes(value, f"{where}.{key}")
    elif isinstance(part, list):
        for each in part:
            yield from holes(each, where)
    elif part is None or (part == "" and where.endswith("ame")) or str(part).endswith("="):
        yield where


OBJECTS = sorted({path[:depth] for path in leaves(DEFAULTS) for depth in range(1, len(path))})
NULLABLE = [*leaves(DEFAULTS), *OBJECTS]


@pytest.mark.long
@pytest.mark.parametrize("path", NULLABLE, ids=".".join)
def test_a_value_of_null_means_empty_or_is_refused_by_name(helm: Helm, path: tuple[str, ...]) -> None:
    made = helm.template(nulls(path), flags_of(EVERYTHING))
    if made.returncode:
        assert missing(made.stderr) == {path} or "Error: execution error at" in made.stderr, made.stderr
        assert path[-1] in made.stderr
    else:
        assert_whole(made)


def test_nulls_mean_empty_or_are_refused_all_at_once(helm: Helm) -> None:
    """What the test above, which takes longer, looks at value by value."""
    flags = flags_of(EVERYTHING)
    ends = list(leaves(DEFAULTS))
    refused = missing(helm.template(nulls(*ends), flags).stderr)
    assert {("replicas",), ("networkPolicy", "apiServer", "ports"), ("crds", "keep")} < refused
    outer = [path for path in OBJECTS if len(path) == 1]
    inner = [path for path in OBJECTS if len(path) == 2]
    for paths in (outer, inner):
        assert missing(helm.template(nulls(*paths), flags).stderr) == set(paths)
    assert_whole(helm.template(nulls(*(path for path in ends if path not in refused)), flags))


def test_a_service_that_an_overlay_sets_to_null_is_not_made(helm: Helm, tmp_path: Path) -> None:
    """Helm's way of taking an entry out."""
    base, overlay = tmp_path / "base.yaml", tmp_path / "overlay.yaml"
    base.write_text("services: {shared: {namespace: search, spec: {}}, docs: {spec: {}}}")
    overlay.write_text("services: {shared: null}\nsecrets: {ngc: {create: {apiKey: a}}}")
    made = helm.objects(base, ["--values", str(overlay)])
    assert [each["metadata"]["name"] for each in of_kind(made, "RerankerService")] == ["docs"]
    assert [each["metadata"]["namespace"] for each in of_kind(made, "Secret")] == ["reranker-system"]


@pytest.mark.parametrize(
    ("spec", "made"),
    [
        (
            {"runtime": "NIM", "nim": None, "image": None},
            {"nim": {"apiKeySecret": {"name": "ngc"}}, "image": {"pullSecrets": [{"name": "pull"}]}},
        ),
        ({"model": None}, {"model": None}),
        ({"model": {"source": None}}, {"model": {"source": None}}),
        ({"model": {"source": {"huggingFace": None}}}, {"model": {"source": {"huggingFace": None}}}),
    ],
    ids=["nim", "model", "source", "hub"],
)
def test_a_part_of_a_spec_that_is_null_is_left_to_the_server(helm: Helm, spec: Json, made: Json) -> None:
    secrets = {"ngc": {"existing": "ngc"}, "huggingFace": {"existing": "hub"}, "imagePull": {"existing": "pull"}}
    objects = helm.objects({"secrets": secrets, "services": {"docs": {"spec": spec}}})
    (service,) = of_kind(objects, "RerankerService")
    assert service["spec"].items() >= made.items()


def test_without_the_schema_no_rule_is_open_either(helm: Helm) -> None:
    values = {"networkPolicy": {"enabled": True, "apiServer": {"ports": None}}}
    made = helm.template(values, ["--skip-schema-validation"])
    assert made.returncode != 0
    assert "networkPolicy.apiServer.ports: name at least one" in made.stderr
