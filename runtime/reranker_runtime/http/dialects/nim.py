"""NVIDIA NeMo Retriever Reranking NIM's /v1/ranking, leniently (NIM 1.x) and strictly (NIM 2.x)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import CoreSchema

from reranker_runtime.engine.rows import Ask, Truncate
from reranker_runtime.errors import NIM_WORDS, RequestError, Words
from reranker_runtime.http.dialects import fields
from reranker_runtime.http.dialects.dialect import Dialect, Result, Rules
from reranker_runtime.http.dialects.fields import MOST_INSTRUCTION, Body, Bounded


class Query(Body):
    """What passages are ranked by."""

    text: str = Field(description="Text; a model's limit counts its tokens with each passage's.")


class RankedPassage(fields.Document):
    """What is ranked."""

    model_config = ConfigDict(extra="ignore", json_schema_extra=fields.HELD)


def _text(value: object) -> object:
    # NIM ignores what it does not know, whatever it holds.
    return value[:MOST_INSTRUCTION] if isinstance(value, str) else None


Model = Annotated[str | None, Field(description="A served name; null or absent is whatever is served.")]
Truncation = Annotated[
    Literal["NONE", "END"] | None,
    Field(description="NONE, the default, refuses what is too long; END cuts the passage's end."),
]


class RankingRequest(Body):
    """NIM's request. The fields below `truncate` are not NIM's: clients of other APIs send them here, too."""

    model: Model = None
    query: Query
    passages: Bounded[RankedPassage]
    truncate: Truncation = None
    top_n: fields.Limited = None
    top_k: fields.Limited = None
    instruction: Annotated[
        str | None,
        BeforeValidator(_text),
        WithJsonSchema({"anyOf": [{"type": "string", "maxLength": MOST_INSTRUCTION}, {"type": "null"}]}),
    ] = Field(None, description="What ranking is for, for models that take one.")
    max_tokens_per_doc: fields.MaxTokensPerDoc = None
    max_chunks_per_doc: fields.MaxChunksPerDoc = None

    def asks(self) -> Sequence[Ask]:
        return [
            Ask(
                self.query.text,
                fields.passages(self.passages),
                Truncate(self.truncate or "NONE"),
                self.instruction or "",
                fields.chunking(self.max_tokens_per_doc, self.max_chunks_per_doc),
            )
        ]

    def answer(self, result: Result) -> dict[str, Any]:
        return {
            "rankings": [
                {"index": n, "logit": result.logits[n]} for n in result.order(fields.least(self.top_n, self.top_k))
            ],
            "usage": {"prompt_tokens": result.tokens, "total_tokens": result.tokens},
        }


class Exact(BaseModel):
    """NIM 2.x: exactly its own fields."""

    model_config = ConfigDict(protected_namespaces=())

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = handler.resolve_ref_schema(handler(core))
        schema["additionalProperties"] = False  # a validator's doing, of which the schema does not know
        return schema

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown(cls, value: object) -> object:
        return fields.refuse_unknown(cls, value)


class StrictQuery(Query, Exact):
    pass


class StrictPassage(RankedPassage, Exact):
    pass


class StrictRequest(Exact):
    """NIM 2.x's request; other fields are refused."""

    model: Model = None
    query: StrictQuery
    passages: Bounded[StrictPassage]
    truncate: Truncation = None


def read(body: bytes, rules: Rules) -> RankingRequest:
    """The request, or an `InvalidRequest` that names the faults by their paths."""
    return _read_strictly(body, rules) if rules.strict else RankingRequest.load(body, "passages", rules)


def _read_strictly(body: bytes, rules: Rules) -> RankingRequest:
    fields.check_marks(body, rules)
    try:
        exact = StrictRequest.model_validate_json(body)
    except ValidationError as error:
        raise fields.explain(error, "passages", rules) from None
    fields.check_number(len(exact.passages), rules, "passages")
    return RankingRequest.model_construct(
        model=exact.model, query=exact.query, passages=list(exact.passages), truncate=exact.truncate
    )


def fault(error: RequestError, words: Words) -> tuple[int, dict[str, Any]]:
    """`detail` is an object, never null: LangChain evaluates `"reqId" in detail`. DataStax reads `message`."""
    field = error.field(words)
    return error.status, {
        "object": "error",
        "message": error.told(words),
        "detail": error.detail | ({"field": field} if field else {}),
        "type": error.kind,
    }


NIM = Dialect("nim", NIM_WORDS, read, fault)
