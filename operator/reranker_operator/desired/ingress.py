"""The Ingress that leads to the Service."""

from typing import Any

from reranker_operator.api import RerankerService
from reranker_operator.desired.metadata import RANKING, metadata


def ingress(service: RerankerService) -> dict[str, Any] | None:
    """The Ingress, or None where none is asked for."""
    asked = service.spec.ingress
    if asked is None:
        return None
    made = metadata(service, service.name, RANKING)
    if asked.annotations:
        made["annotations"] = dict(asked.annotations)
    backend = {"service": {"name": service.name, "port": {"name": "api"}}}
    spec: dict[str, Any] = {
        "rules": [{"host": asked.host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}]
    }
    if asked.class_name is not None:
        spec["ingressClassName"] = asked.class_name
    if asked.tls_secret_name is not None:
        spec["tls"] = [{"hosts": [asked.host], "secretName": asked.tls_secret_name}]
    return {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": made, "spec": spec}
