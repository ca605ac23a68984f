"""The ServiceAccount of the pods: a name without rights, and without a token in the pod."""

from typing import Any

from reranker_operator.api import RerankerService
from reranker_operator.desired.metadata import RANKING, metadata


def service_account(service: RerankerService) -> dict[str, Any] | None:
    """The ServiceAccount, or None where the user names an existing one."""
    if service.spec.pod.service_account_name not in (None, service.name):
        return None
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(service, service.name, RANKING),
        "automountServiceAccountToken": False,
    }
