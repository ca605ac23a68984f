"""The Kubernetes operator that turns a RerankerService into ranking pods."""

from importlib.metadata import version

__version__ = version("reranker-operator")
