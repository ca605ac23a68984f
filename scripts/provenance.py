"""Where the files of a release come from: an in-toto Statement with SLSA's provenance, as plain JSON.

It holds no time and no name of a machine: whoever builds the same commit again gets the same statement. Signing it is
another step (docs/supply-chain.md).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

STATEMENT: Final = "https://in-toto.io/Statement/v1"
PREDICATE: Final = "https://slsa.dev/provenance/v1"
BUILD_TYPE: Final = "https://reranking.dev/make-release/v1"
"""`make release VERSION=...` in a clone at the commit that resolvedDependencies names."""


def provenance(artefacts: Iterable[Path], version: str, commit: str, epoch: int, inputs: Iterable[Path]) -> str:
    """The statement about `artefacts`, built of `commit` at SOURCE_DATE_EPOCH `epoch`; `inputs` pin what is fetched."""
    pins = [{"name": f"requirements/{path.name}", "digest": {"sha256": sha256(path)}} for path in inputs]
    statement: dict[str, Any] = {
        "_type": STATEMENT,
        "subject": [{"name": path.name, "digest": {"sha256": sha256(path)}} for path in artefacts],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"version": version},
                "internalParameters": {"SOURCE_DATE_EPOCH": str(epoch)},
                "resolvedDependencies": [{"name": "source", "digest": {"gitCommit": commit}}, *pins],
            },
            "runDetails": {"builder": {"id": f"{BUILD_TYPE}#local"}},
        },
    }
    return json.dumps(statement, indent=2) + "\n"


def sha256(path: Path) -> str:
    """A file's digest in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
