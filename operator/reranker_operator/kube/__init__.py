"""Talking to the API server: untyped objects, server-side apply, events and the leader's lease."""

from reranker_operator.kube.client import Kube
from reranker_operator.kube.errors import (
    ConflictError,
    ForbiddenError,
    GoneError,
    KubeError,
    NotFoundError,
    NotListedError,
    RefusedError,
    ServerError,
    ThrottledError,
    UnreachableError,
)
from reranker_operator.kube.kinds import Kind

__all__ = [
    "ConflictError",
    "ForbiddenError",
    "GoneError",
    "Kind",
    "Kube",
    "KubeError",
    "NotFoundError",
    "NotListedError",
    "RefusedError",
    "ServerError",
    "ThrottledError",
    "UnreachableError",
]
