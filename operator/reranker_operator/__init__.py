"""The Kubernetes operator that turns a RerankerService into ranking pods."""

from importlib.metadata import version

__version__ = version("reranker-operator")

LEASE_NAME = "reranker-operator"
"""Of an operator that is given no other: `run` makes it, `diagnose` looks for it."""
