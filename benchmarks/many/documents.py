"""The services that are asked for, and what the operator makes of each."""

from __future__ import annotations

from typing import Any

from reranker_operator.api import KIND, RerankerService
from reranker_operator.api.resource import API_VERSION, GROUP, PLURAL, VERSION
from reranker_operator.desired import Defaults, desired

Json = dict[str, Any]

SERVICES = f"/apis/{GROUP}/{VERSION}/namespaces/{{}}/{PLURAL}"
CHILDREN = {
    "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts",
    "Service": "/api/v1/namespaces/{}/services",
    "Job": "/apis/batch/v1/namespaces/{}/jobs",
    "NetworkPolicy": "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies",
    "PodDisruptionBudget": "/apis/policy/v1/namespaces/{}/poddisruptionbudgets",
}
"""Collections of the five children that exist before a model's verdict."""
DEPLOYMENTS = "/apis/apps/v1/namespaces/{}/deployments"
PODS = "/api/v1/namespaces/{}/pods"
SECRETS = "/api/v1/namespaces/{}/secrets"

SECRET_USERS = 5
"""Services that read a variable from the same Secret."""
MOST_SECRETS = 20
SECRET_KEY = "token"


def secrets(count: int) -> int:
    """How many Secrets so many services use."""
    return min(MOST_SECRETS, count // SECRET_USERS)


def secret(number: int, value: str) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": f"secret-{number:02}"},
        "stringData": {SECRET_KEY: value},
    }


def name_of(number: int) -> str:
    return f"service-{number:04}"


def users(number: int) -> list[str]:
    """The services that use this Secret."""
    return [name_of(number * SECRET_USERS + place) for place in range(SECRET_USERS)]


def service(number: int, count: int, replicas: int) -> Json:
    """One of `count` services, with five children before its model's verdict."""
    spec: Json = {
        "model": {"source": {"inImage": {"path": "/models/all-minilm-l6-v2"}}},
        "gpus": 0,
        "replicas": replicas,
        "disruptionBudget": {"maxUnavailable": 1},
        "networkPolicy": {"from": [{"podSelector": {"matchLabels": {"app": "client"}}}]},
    }
    if number < secrets(count) * SECRET_USERS:
        reference = {"name": f"secret-{number // SECRET_USERS:02}", "key": SECRET_KEY}
        spec["server"] = {"env": [{"name": "TOKEN", "valueFrom": {"secretKeyRef": reference}}]}
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name_of(number)}, "spec": spec}


def children(document: Json) -> list[Json]:
    """What the operator applies for a service before its model's verdict, to the byte."""
    made = desired(RerankerService.parse(document), Defaults()).objects()
    return [each for each in made if each["kind"] in CHILDREN]
