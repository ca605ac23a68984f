"""Loaded by schemathesis: what its generator would not think of, and what no description can say."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import schemathesis

BEYOND_SCHEMAS = ("this model ranks text only", "give one for all of text_2, or one for each of them")
"""Refusals that a schema cannot foretell: what the model that is served can do, and lists that must be alike."""


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    """On /rerank, some bodies of two APIs at once."""
    if context.operation.path != "/rerank" or not isinstance(body, dict):
        return body
    drawn = hashlib.sha256(json.dumps(body, sort_keys=True, default=repr).encode()).digest()[0]
    if drawn < 32:
        return {"texts": ["w1 w2", ""]} | body
    return {"documents": ["w1 w2", {"text": ""}]} | body if drawn < 64 else body


@schemathesis.hook
def filter_failure(context: Any, failure: Any, case: Any, response: Any) -> bool:
    """Whether a failure is one."""
    refused = isinstance(failure, schemathesis.openapi.checks.RejectedPositiveData)
    return not (refused and any(known in response.text for known in BEYOND_SCHEMAS))
