"""/rerank as Cohere, Jina, vLLM and Voyage have it.

Their requests cannot be told apart, so one superset is read and one superset answered: each client finds its own
fields, and none is disturbed by the others'.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from reranker_runtime.engine.rows import Ask, Truncate
from reranker_runtime.errors import RequestError, Words
from reranker_runtime.http.dialects import fields
from reranker_runtime.http.dialects.dialect import Dialect, Result, Rules
from reranker_runtime.http.dialects.fields import AnyDocument, Body, Bounded, Instruction


def _query(value: object) -> object:
    # Jina's multimodal clients send {"text": ...}.
    return value["text"] if isinstance(value, dict) and set(value) == {"text"} else value


class RerankRequest(Body):
    """Cohere's request with Jina's, vLLM's and Voyage's fields."""

    model: str | None = Field(None, description="A served name; null or absent is whatever is served.")
    query: Annotated[str, BeforeValidator(_query), WithJsonSchema({"type": "string"})]
    documents: Bounded[AnyDocument]
    top_n: fields.Limited = None
    top_k: fields.Limited = None
    rank_fields: list[str] | None = Field(
        None,
        max_length=fields.MOST_RANK_FIELDS,
        description="Fields of the documents that are ranked, one a line, where a document has no text.",
    )
    return_documents: bool | None = Field(None, description="Answer with the documents, too.")
    max_tokens_per_doc: fields.MaxTokensPerDoc = None
    max_chunks_per_doc: fields.MaxChunksPerDoc = None
    truncation: bool | None = Field(None, description="false refuses what is too long; by default its end is cut.")
    instruction: Instruction = None

    def asks(self) -> Sequence[Ask]:
        return [
            Ask(
                self.query,
                fields.passages(self.documents, self.rank_fields or ()),
                Truncate.NONE if self.truncation is False else Truncate.END,
                self.instruction or "",
                fields.chunking(self.max_tokens_per_doc, self.max_chunks_per_doc),
            )
        ]

    def answer(self, result: Result) -> dict[str, Any]:
        results = [self._entry(n, result) for n in result.order(fields.least(self.top_n, self.top_k))]
        return {
            "id": result.identity,
            "object": "list",
            "model": result.model,
            "results": results,
            "data": results,
            "meta": {
                "api_version": {"version": "2"},
                "billed_units": {"search_units": 1},
                "tokens": {"input_tokens": result.tokens, "output_tokens": 0},
            },
            "usage": {"prompt_tokens": result.tokens, "total_tokens": result.tokens},
        }

    def _entry(self, n: int, result: Result) -> dict[str, Any]:
        entry: dict[str, Any] = {"index": n, "relevance_score": result.score(n)}
        if self.return_documents:
            entry["document"] = self.documents[n].told()
        return entry


def read(body: bytes, rules: Rules) -> RerankRequest:
    """The request, or an `InvalidRequest` that names the faults by their paths."""
    return RerankRequest.load(body, "documents", rules)


def fault(error: RequestError, words: Words) -> tuple[int, dict[str, Any]]:
    """Cohere reads `message`, Voyage and Jina `detail`, vLLM's clients `error`."""
    message = error.told(words)
    return error.status, {
        "message": message,
        "detail": message,
        "error": {
            "message": message,
            "type": error.kind,
            "param": error.field(words) or None,
            "code": error.status,
        },
    }


WORDS = Words(passages="documents", cut='leave out "truncation": false')
RERANK = Dialect("rerank", WORDS, read, fault)
