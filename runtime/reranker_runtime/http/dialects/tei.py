"""text-embeddings-inference's /rerank: `texts` in, a bare list out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, Literal

from pydantic import Field
from pydantic_core import from_json

from reranker_runtime.engine.rows import Ask, Passage, Truncate
from reranker_runtime.errors import InvalidRequest, RequestError, Unavailable, Words
from reranker_runtime.http.dialects import fields
from reranker_runtime.http.dialects.dialect import Dialect, Result, Rules
from reranker_runtime.http.dialects.fields import Body, Bounded, Instruction

KEY: Final = re.compile(rb'"texts"\s*:')


def is_tei(body: bytes, rules: Rules) -> bool:
    """Whether a body that came to /rerank is one of TEI's: it has `texts` where the others have `documents`."""
    if not KEY.search(body):
        return False
    if b'"documents"' not in body:
        return True
    fields.check_marks(body, rules)
    try:
        found = from_json(body)
    except ValueError:
        return False
    return isinstance(found, dict) and "texts" in found and "documents" not in found


class TeiRequest(Body):
    """TEI's request."""

    model: str | None = Field(None, description="Not TEI's: a served name.")
    query: str
    texts: Bounded[str]
    raw_scores: bool | None = Field(None, description="true answers logits instead of scores from 0 to 1.")
    return_text: bool | None = Field(None, description="true answers with the texts, too.")
    truncate: bool | None = Field(None, description="true cuts what is too long; by default it is refused.")
    top_n: fields.Limited = None
    top_k: fields.Limited = None
    truncation_direction: Literal["right", "Right"] | None = Field(
        None, description="Which end is cut; a passage's beginning is always kept here."
    )
    max_tokens_per_doc: fields.MaxTokensPerDoc = None
    max_chunks_per_doc: fields.MaxChunksPerDoc = None
    instruction: Instruction = None

    def asks(self) -> Sequence[Ask]:
        return [
            Ask(
                self.query,
                [Passage(text) for text in self.texts],
                Truncate.END if self.truncate else Truncate.NONE,
                self.instruction or "",
                fields.chunking(self.max_tokens_per_doc, self.max_chunks_per_doc),
            )
        ]

    def answer(self, result: Result) -> list[dict[str, Any]]:
        return [self._entry(n, result) for n in result.order(fields.least(self.top_n, self.top_k))]

    def _entry(self, n: int, result: Result) -> dict[str, Any]:
        entry: dict[str, Any] = {"index": n, "score": result.logits[n] if self.raw_scores else result.score(n)}
        if self.return_text:
            entry["text"] = self.texts[n]
        return entry


def read(body: bytes, rules: Rules) -> TeiRequest:
    """The request, or an `InvalidRequest` that names the faults by their paths."""
    return TeiRequest.load(body, "texts", rules)


def fault(error: RequestError, words: Words) -> tuple[int, dict[str, Any]]:
    """TEI has statuses of its own: 413 for what it calls validation, 429 when it is overloaded, 424 for the model."""
    status, kind = error.status, "Backend"
    if isinstance(error, InvalidRequest):
        status, kind = 413 if status == 422 else status, "Validation"  # noqa: PLR2004
    elif isinstance(error, Unavailable):
        overloaded = error.cause.startswith(("queue", "estimated"))
        status, kind = (429, "Overloaded") if overloaded else (503, "Unhealthy")
    elif status == 500:  # noqa: PLR2004
        status = 424
    elif status < 500:  # noqa: PLR2004
        kind = error.kind
    return status, {"error": error.told(words), "error_type": kind}


WORDS = Words(passages="texts", cut='send "truncate": true')
TEI = Dialect("tei", WORDS, read, fault)
