"""May this directory be served? The answer of `reranker-runtime verify`, which an init container asks before a pod."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from reranker_runtime.artifacts.digest import check_digest, digest
from reranker_runtime.errors import ModelError
from reranker_runtime.models.registry import describe

MESSAGE_LIMIT: Final = 3000
"""Characters; the kubelet keeps 4,096 bytes of a termination message."""


def verify(directory: Path, *, quick: bool = False, expected: str = "") -> dict[str, Any]:
    """The report: what the model is, or the reason it may not be served."""
    try:
        blueprint = describe(directory)
        report: dict[str, Any] = {"ok": True}
        if not quick:
            report["digest"] = digest(directory, blueprint.files)
            if expected:
                check_digest(directory, expected, report["digest"])
    except ModelError as error:
        return {"ok": False, "reason": error.reason.value, "message": error.message[:MESSAGE_LIMIT]}
    return report | {
        "architecture": blueprint.architecture,
        "family": blueprint.family.value,
        "parameters": blueprint.parameters,
        "dtype": blueprint.dtype,
        "maxTokens": blueprint.limit,
        "files": len(blueprint.files),
        "bytes": blueprint.size,
    }


def one_line(report: dict[str, Any]) -> str:
    """The report as the contract has it: one line of JSON, ASCII only so that bytes are characters."""
    return json.dumps(report)
