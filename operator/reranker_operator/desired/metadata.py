"""Names, labels and owners: how children are told apart and found again."""

import hashlib
import json
from typing import Any

from reranker_operator.api import KIND, RerankerService
from reranker_operator.api.resource import API_VERSION

FIELD_MANAGER = "reranker-operator"
"""Server-side apply's owner of everything the builders make."""

TEMPLATE_HASH = "reranking.dev/template-hash"
MODEL_HASH = "reranking.dev/model-hash"
"""On a Deployment and a model Job: the model that was, or is, verified."""
APPLIED = "reranking.dev/applied"
"""On every child: stands for what was applied, so that a restarted operator need not apply it again."""
INPUTS = "reranking.dev/inputs"
"""On pods: stands for what their ranking container reads at its start."""
CREDENTIALS = "reranking.dev/credentials"
"""On a model Job: stands for what it downloads with."""
PROXY = "reranking.dev/default-proxy"
"""On a model Job, and on a ControllerRevision whose pods download: stands for the operator's default that is in it."""
SPEC_HASH = "reranking.dev/spec-hash"
"""On a ControllerRevision: the spec that its template was made of."""
PROVEN = "reranking.dev/ready"
"""On a Deployment: the templates that were Ready, the latest first."""
FAILED = "reranking.dev/failed"
"""On a Deployment: the spec whose rollout failed and was taken back."""
FAILED_WITH = "reranking.dev/failed-with"
"""On a Deployment: what stands for the things that this spec refers to, as they were then."""
REPLACED = "reranking.dev/replaced"
"""On a Deployment: the template for whose rollout old pods make room."""
SCALED = "reranking.dev/scaled"
"""On a Deployment: an autoscaler owns the number of its pods."""
RANKING = "ranking"
MODEL = "model"


def selector(service: RerankerService, component: str) -> dict[str, str]:
    """Labels that pick out one component's pods, and nothing else. They never change for a given service."""
    return {
        "app.kubernetes.io/name": "reranker",
        "app.kubernetes.io/instance": service.name,
        "app.kubernetes.io/component": component,
    }


def labels(service: RerankerService, component: str) -> dict[str, str]:
    """Labels of every child."""
    return {**selector(service, component), "app.kubernetes.io/managed-by": "reranker-operator"}


def metadata(
    service: RerankerService,
    name: str,
    component: str,
    *,
    annotations: dict[str, str] | None = None,
    outlives: bool = False,
) -> dict[str, Any]:
    """Metadata of a child, garbage-collected with its service unless it outlives it.

    An offline service has no uid to point to.
    """
    owner = {"apiVersion": API_VERSION, "kind": KIND, "name": service.name, "uid": service.uid, "controller": True}
    return {
        "name": name,
        "namespace": service.namespace,
        "labels": labels(service, component),
        **({"ownerReferences": [owner]} if service.uid and not outlives else {}),
        **({"annotations": annotations} if annotations else {}),
    }


def digest(value: Any) -> str:
    """Ten hexadecimal digits that stand for a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:10]


def annotation(document: dict[str, Any] | None, name: str) -> str | None:
    """What an object is annotated with; None where there is no such note, or no object."""
    annotations: dict[str, str] = (document or {}).get("metadata", {}).get("annotations") or {}
    return annotations.get(name)
