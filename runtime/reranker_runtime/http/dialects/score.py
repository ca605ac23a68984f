"""vLLM's /score: a query and documents, or as many queries as documents, answered in the order given."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from typing import Annotated, Any, Final

from pydantic import AliasChoices, BeforeValidator, Field, WithJsonSchema

from reranker_runtime.engine.rows import Ask, Passage, Truncate
from reranker_runtime.errors import InvalidRequest, Words
from reranker_runtime.http.dialects import fields
from reranker_runtime.http.dialects.dialect import Dialect, Result, Rules
from reranker_runtime.http.dialects.fields import AnyDocument, Body, Bounded, Document, Instruction
from reranker_runtime.http.dialects.rerank import fault
from reranker_runtime.settings import MOST_PASSAGES

LISTED: Final[dict[str, Any]] = {"type": "array", "minItems": 1, "maxItems": MOST_PASSAGES}
HOLDING: Final = Document.model_json_schema() | fields.HELD


def _listed(value: object) -> object:
    return value if isinstance(value, list) else [value]


class ScoreRequest(Body):
    """vLLM's request, by the field names of all its releases."""

    model: str | None = Field(None, description="A served name; null or absent is whatever is served.")
    text_1: Annotated[
        Bounded[str],
        BeforeValidator(_listed),
        WithJsonSchema({"anyOf": [{"type": "string"}, LISTED | {"items": {"type": "string"}}]}),
    ] = Field(
        validation_alias=AliasChoices("text_1", "queries", "query", "data_1"),
        description="A query, or one for each document. Also called queries, query or data_1.",
    )
    text_2: Annotated[
        Bounded[AnyDocument],
        BeforeValidator(_listed),
        WithJsonSchema(
            {
                "anyOf": [
                    {"type": "string"},
                    LISTED | {"items": {"anyOf": [{"type": "string"}, HOLDING]}},
                    HOLDING,
                ]
            }
        ),
    ] = Field(
        validation_alias=AliasChoices("text_2", "documents", "items", "data_2"),
        description="A document, or several. Also called documents, items or data_2.",
    )
    truncate_prompt_tokens: int | None = Field(
        None,
        ge=-1,
        description="null refuses what is too long; -1 cuts its end at the model's limit, as any number does.",
    )
    use_activation: bool | None = Field(
        None,
        validation_alias=AliasChoices("use_activation", "activation"),
        description="false answers raw logits instead of scores from 0 to 1.",
    )
    max_tokens_per_doc: fields.MaxTokensPerDoc = None
    max_chunks_per_doc: fields.MaxChunksPerDoc = None
    instruction: Instruction = None

    def asks(self) -> Sequence[Ask]:
        passages = fields.passages(self.text_2)
        queries = self.text_1 * len(passages) if len(self.text_1) == 1 else self.text_1
        runs = itertools.groupby(zip(queries, passages, strict=True), key=lambda pair: pair[0])
        return [self._ask(query, [passage for _, passage in run]) for query, run in runs]

    def _ask(self, query: str, passages: Sequence[Passage]) -> Ask:
        return Ask(
            query,
            passages,
            Truncate.NONE if self.truncate_prompt_tokens is None else Truncate.END,
            self.instruction or "",
            fields.chunking(self.max_tokens_per_doc, self.max_chunks_per_doc),
        )

    def answer(self, result: Result) -> dict[str, Any]:
        raw = self.use_activation is False
        scores = [result.logits[n] if raw else result.score(n) for n in range(len(result.logits))]
        return {
            "id": f"score-{result.identity}",
            "object": "list",
            "created": int(time.time()),
            "model": result.model,
            "data": [{"index": n, "object": "score", "score": score} for n, score in enumerate(scores)],
            "usage": {"prompt_tokens": result.tokens, "total_tokens": result.tokens, "completion_tokens": 0},
        }


def read(body: bytes, rules: Rules) -> ScoreRequest:
    """The request, or an `InvalidRequest` that names the faults by their paths."""
    request = ScoreRequest.load(body, "text_2", rules)
    if len(request.text_1) not in (1, len(request.text_2)):
        raise InvalidRequest(
            f"text_1: {len(request.text_1)} given for {len(request.text_2)} in text_2; "
            "give one for all of text_2, or one for each of them",
            field="text_1",
        )
    return request


WORDS = Words(query="text_1", passages="text_2", cut='send "truncate_prompt_tokens": -1')
SCORE = Dialect("score", WORDS, read, fault)
