"""Loaded by schemathesis: what its generator would not think of, and what no description can say."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

import schemathesis

BEYOND_SCHEMAS = re.compile(
    r"this model ranks text only|give one for all of text_2, or one for each of them"
    r"|documents\.\d+\.text: Field required, or an image"
)
"""Refusals that a schema cannot foretell: what the model that is served can do, lists that must be alike, and documents
that have none of the fields which the request names.
"""


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
    return not (refused and BEYOND_SCHEMAS.search(response.text))
