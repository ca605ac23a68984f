"""The ranking runtime: NVIDIA NeMo Retriever Reranking NIM's HTTP API over a local model directory."""

from functools import cache


@cache
def version() -> str:
    """The installed version."""
    from importlib.metadata import PackageNotFoundError  # noqa: PLC0415 - the import costs what verify need not pay
    from importlib.metadata import version as installed  # noqa: PLC0415

    try:
        return installed("reranker-operator")
    except PackageNotFoundError:  # run from a checkout that was never installed
        return "0+unknown"
