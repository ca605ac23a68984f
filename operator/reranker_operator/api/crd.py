"""The CustomResourceDefinition, made from the pydantic types and the API server's own pod schemas."""

from typing import Any

import yaml
from pydantic import BaseModel

from reranker_operator.api.passthrough import pod_schemas
from reranker_operator.api.resource import API_VERSION, GROUP, KIND, NAME_RULE, PLURAL, VERSION
from reranker_operator.api.spec import Spec
from reranker_operator.api.status import ServiceStatus

FILE_NAME = f"{GROUP}_{PLURAL}.yaml"
_DROPPED = ("title", "$defs", "properties", "items", "propertyNames", "additionalProperties")
"""Handled apart, or said by the server itself: pruning is what `additionalProperties: false` asks for."""
_COLUMNS = (
    ("Model", "string", ".status.model.name", 0),
    ("Ready", "string", '.status.conditions[?(@.type=="Ready")].status', 0),
    ("Replicas", "integer", ".status.readyReplicas", 0),
    ("GPUs", "integer", ".spec.gpus", 0),
    ("Latency", "integer", ".status.probe.milliseconds", 0),
    ("Reason", "string", '.status.conditions[?(@.type=="Ready")].reason', 0),
    ("Message", "string", '.status.conditions[?(@.type=="Ready")].message', 1),
    ("Age", "date", ".metadata.creationTimestamp", 0),
)


def custom_resource_definition() -> dict[str, Any]:
    """The CRD as one object."""
    schema = {
        "type": "object",
        "description": "A ranking service: a reranking model, the pods that serve it and the Service in front of them.",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": _schema_of(Spec),
            # So that who waits by generations (kstatus: Helm, Flux) does not take a service that nobody has looked at
            # for one that is in order.
            "status": {**_schema_of(ServiceStatus), "default": {"observedGeneration": -1}},
        },
        "x-kubernetes-validations": [{"rule": NAME_RULE.cel, "message": NAME_RULE.message}],
    }
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.replicas",
                "statusReplicasPath": ".status.replicas",
                "labelSelectorPath": ".status.selector",
            },
        },
        "additionalPrinterColumns": [
            {"name": name, "type": kind, "jsonPath": path, **({"priority": priority} if priority else {})}
            for name, kind, path, priority in _COLUMNS
        ],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": KIND.lower(),
                "shortNames": ["rrs"],
                "categories": ["all"],
            },
            "versions": [version],
        },
    }


def crd_yaml() -> str:
    """The committed file, byte for byte."""
    header = f"# {API_VERSION} {KIND}. Generated from operator/reranker_operator/api by `make generate`: do not edit.\n"
    return header + yaml.safe_dump(custom_resource_definition(), sort_keys=False, width=120)


def _schema_of(kind: type[BaseModel]) -> dict[str, Any]:
    document = kind.model_json_schema(by_alias=True)
    return _structural(document, document.get("$defs", {}), pod_schemas())


def _structural(node: dict[str, Any], defs: dict[str, Any], pods: dict[str, Any]) -> dict[str, Any]:
    """A structural schema: references in place, optional instead of nullable, pod values by the server's schema."""
    if "x-pod-kind" in node:
        return {**pods[node["x-pod-kind"]], **_annotations(node)}
    if "$ref" in node:
        return {**_structural(defs[node["$ref"].rsplit("/", 1)[1]], defs, pods), **_annotations(node)}
    if "anyOf" in node:
        options = [option for option in node["anyOf"] if option.get("type") != "null"]
        if len(options) > 1:  # the one union there is: a number or a percentage
            pattern = next(option["pattern"] for option in options if "pattern" in option)
            return {"x-kubernetes-int-or-string": True, "pattern": pattern, **_annotations(node)}
        (given,) = options
        kept = {key: value for key, value in node.items() if key.startswith("x-") or key == "format"}
        return {**_structural(given, defs, pods), **kept, **_annotations(node)}
    schema = {key: value for key, value in node.items() if key not in _DROPPED}
    if schema.get("default", ...) in (None, [], {}):
        del schema["default"]
    if "exclusiveMinimum" in schema:
        # A number of its own in today's JSON Schema, a word about `minimum` in the server's.
        schema |= {"minimum": schema["exclusiveMinimum"], "exclusiveMinimum": True}
    if isinstance(node.get("additionalProperties"), dict):
        schema["additionalProperties"] = _structural(node["additionalProperties"], defs, pods)
    if "properties" in node:
        schema["properties"] = {name: _structural(value, defs, pods) for name, value in node["properties"].items()}
    if "items" in node:
        schema["items"] = _structural(node["items"], defs, pods)
    return schema


def _annotations(node: dict[str, Any]) -> dict[str, Any]:
    kept = {key: node[key] for key in ("description", "default") if node.get(key) is not None}
    if isinstance(kept.get("default"), dict):
        kept["default"] = {}  # the server fills it from the defaults of the fields inside
    return kept
