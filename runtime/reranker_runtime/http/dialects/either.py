"""/rerank, where text-embeddings-inference's clients come and all others: a body tells whose it is.

What is refused before there is one (no key, no quota, not ready, too large) must be understood by all of them.
"""

from __future__ import annotations

from typing import Any

from reranker_runtime.errors import RequestError, Words
from reranker_runtime.http.dialects.dialect import Asked, Dialect, Rules
from reranker_runtime.http.dialects.rerank import RERANK
from reranker_runtime.http.dialects.tei import TEI, is_tei


def spoken(body: bytes, rules: Rules) -> Dialect:
    """The dialect of a body."""
    return TEI if is_tei(body, rules) else RERANK


def read(body: bytes, rules: Rules) -> Asked:
    """The request, or an `InvalidRequest` that names the faults by their paths."""
    return spoken(body, rules).read(body, rules)


def fault(error: RequestError, words: Words) -> tuple[int, dict[str, Any]]:
    """TEI's clients read `error`, a text, and `error_type`; Cohere's `message`, Jina's `detail`.

    Only whoever looks for vLLM's `error.message` here finds the message one level higher.
    """
    _, told = TEI.fault(error, words)
    return error.status, {"message": told["error"], "detail": told["error"], **told}


EITHER = Dialect("either", RERANK.words, read, fault)
