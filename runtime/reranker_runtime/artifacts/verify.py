"""May this directory be served? The answer of `reranker-runtime verify`, which an init container asks before a pod."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from reranker_runtime.artifacts.digest import check_digest, digest
from reranker_runtime.errors import ModelError
from reranker_runtime.models.registry import describe

LINE_LIMIT: Final = 4095
"""Bytes of the report with its line end; the kubelet keeps 4,096 of a termination message."""


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
        return {"ok": False, "reason": error.reason.value, "message": error.message}
    return report | {
        "architecture": blueprint.architecture,
        "family": blueprint.family,
        "parameters": blueprint.parameters,
        "dtype": blueprint.dtype,
        "maxTokens": blueprint.limit,
        "files": len(blueprint.files),
        "bytes": blueprint.size,
    }


def one_line(report: dict[str, Any]) -> str:
    """The report as the contract has it: one line of JSON, ASCII only so that bytes are characters."""
    line = json.dumps(report)
    while (excess := len(line) + 1 - LINE_LIMIT) > 0 and report.get("message"):
        # One character may be twelve bytes of JSON: cut no more than that asks for.
        report = report | {"message": report["message"][: -1 - excess // 12]}
        line = json.dumps(report)
    return line
