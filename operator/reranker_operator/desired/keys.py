"""The Secret of a first API key, made once and then left alone."""

from typing import Any

from reranker_operator.api import RerankerService
from reranker_operator.desired.metadata import RANKING, metadata
from reranker_operator.desired.pod import keys_secret


def generated_keys(service: RerankerService) -> dict[str, Any] | None:
    """The Secret without its data, or None where the user has one; a random key is no thing of a pure builder."""
    asked = service.spec.authentication
    if asked is None or not asked.generate:
        return None
    made = metadata(service, keys_secret(service), RANKING)
    return {"apiVersion": "v1", "kind": "Secret", "metadata": made, "type": "Opaque"}
