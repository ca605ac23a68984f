"""Fields that several APIs have, read as leniently as clients need, and how a wrong body is explained."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Final, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, FailFast, Field, ValidationError, WithJsonSchema
from pydantic_core import PydanticCustomError

from reranker_runtime.engine.rows import Chunking, Passage
from reranker_runtime.errors import InvalidRequest, brief
from reranker_runtime.http.dialects.dialect import Rules
from reranker_runtime.settings import MOST_PASSAGES

MARKS: Final = 1_000_000
"""Commas and brackets outside texts that a body may have, several times what the most passages need."""
MOST_QUOTES: Final = 4 * MARKS + 2
"""That so few marks allow: before each text of a JSON body stands a mark, or a colon and before that a name."""
MOST_INSTRUCTION: Final = 10_000
"""Characters of an instruction."""
MOST_RANK_FIELDS: Final = 64
"""Each is looked for in each document."""
MOST_FAULTS: Final = 5
"""That one error lists."""
UNKNOWN: Final = "unknown_field"


def _count(value: object) -> int | None:
    # Clients send null, 0, "5", 5.0 or nonsense in fields that they took from another API; what is no count limits
    # nothing. More digits than any number of passages has are not even read: Python refuses some thousands of them.
    text = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
    if not re.fullmatch(r"\+?[0-9]{1,18}", text.strip()):
        return None
    return int(text) or None


Count = Annotated[
    int | None,
    BeforeValidator(_count),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "null"}]}),
]
"""A number above 0; null, 0 and what is no number are as good as nothing."""
Item = TypeVar("Item")
# Validation holds the interpreter's lock, so it must end early: at the first wrong passage, or at one too many.
Bounded = Annotated[
    list[Item],
    Field(max_length=MOST_PASSAGES, json_schema_extra={"minItems": 1, "maxItems": MOST_PASSAGES}),
    FailFast(),
]
Instruction = Annotated[
    str | None,
    Field(
        max_length=MOST_INSTRUCTION,
        description="What ranking is for, for models that take one (/v1/metadata says so); others ignore it.",
    ),
]
MaxTokensPerDoc = Annotated[
    Count,
    Field(
        description="Tokens of a document that are read at most. With this or max_chunks_per_doc, a document that does "
        "not fit beside the query is ranked in chunks, and its best chunk counts."
    ),
]
MaxChunksPerDoc = Annotated[Count, Field(description="Chunks of a document that are read at most.")]
Limited = Annotated[Count, Field(description="Answer with so many of the best; 0 or null is all.")]
Image = Annotated[Any, WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "null"}]})]
"""Any, for whoever decodes it names the passage in its refusal."""
IMAGE: Final = (
    "For models that see images: PNG, JPEG, WebP, GIF, BMP or TIFF, as a data URL or in bare base64; "
    "beside the text or instead of it. No URL is ever fetched."
)


PARTS: Final = ("text", "image")
"""Of which a passage has one at least."""


class Body(BaseModel):
    """A request's body. What is not a field is ignored: clients send more than any one API knows."""

    model_config = ConfigDict(extra="ignore", protected_namespaces=())

    @classmethod
    def load(cls, body: bytes, items: str, rules: Rules) -> Self:
        """The body, or an `InvalidRequest` that names the faults by their paths: of the items, the first."""
        check_marks(body)
        try:
            request = cls.model_validate_json(body)
        except ValidationError as error:
            raise explain(error, items, rules) from None
        check_number(len(getattr(request, items)), rules, items)
        return request

    @classmethod
    def described(cls) -> dict[str, Any]:
        """The body's schema for the OpenAPI description, its parts in place."""
        schema = cls.model_json_schema()
        parts = schema.pop("$defs", {})
        inlined: dict[str, Any] = _inlined(schema, parts)
        return inlined


class Document(Body):
    """A passage as Cohere, Jina and others send it: a text, or an object that holds one."""

    model_config = ConfigDict(
        extra="allow",  # Cohere's clients name fields of their own in rank_fields
        json_schema_extra={"anyOf": [{"required": [name], "properties": {name: {"type": "string"}}} for name in PARTS]},
    )

    text: str | None = None
    image: Image = Field(None, description=IMAGE)


def _document(value: object) -> object:
    if isinstance(value, str):
        return {"text": value}
    if not isinstance(value, dict | Document):
        raise PydanticCustomError("document", "Input should be a string, or an object with a text")
    return value


AnyDocument = Annotated[
    Document,
    BeforeValidator(_document),
    WithJsonSchema({"anyOf": [{"type": "string"}, Document.model_json_schema()]}),
]


def check_marks(body: bytes) -> None:
    """JSON is parsed whole before any of it is validated, and "{}," takes fifty times its size in memory."""
    if _marks(body) > MARKS and _marks(_without_texts(body)) > MARKS:
        raise InvalidRequest(
            f"the body holds more than {MARKS} commas and brackets outside texts; send fewer passages", status=413
        )


def _marks(body: bytes) -> int:
    return sum(map(body.count, (b",", b"[", b"{")))


def _without_texts(body: bytes) -> bytes:
    bare = body.replace(rb"\\", b"").replace(rb"\"", b"")
    return b"".join(bare.split(b'"', MOST_QUOTES)[::2])  # a body of quotes only would be as many pieces


def check_number(given: int, rules: Rules, items: str) -> None:
    """Whether so many passages may be in one request."""
    if not given:
        raise InvalidRequest(f"{items}: give at least one {items.removesuffix('s')}")
    if given > rules.most and not rules.split:
        raise _too_many(given, rules.most, items)


def passages(documents: Sequence[Document], rank_fields: Sequence[str] = ()) -> list[Passage]:
    """For the engine; raises `InvalidRequest` where one holds neither text nor image."""
    found = []
    for number, document in enumerate(documents):
        text = document.text
        if text is None and rank_fields:
            values = document.model_extra or {}
            text = (
                "\n".join(str(values[name]) for name in dict.fromkeys(rank_fields) if values.get(name) is not None)
                or None
            )
        if text is None and document.image is None:
            raise InvalidRequest(
                "Field required, or an image where the model sees images", at=("passages", number, "text")
            )
        found.append(Passage(text or "", document.image))
    return found


def least(*counts: int | None) -> int | None:
    """The smallest of those that were given."""
    return min((n for n in counts if n is not None), default=None)


def chunking(tokens: int | None, most: int | None) -> Chunking | None:
    """None where nobody asked for chunks."""
    return None if tokens is None and most is None else Chunking(tokens, most)


def _too_many(given: int | str, most: int, items: str) -> InvalidRequest:
    return InvalidRequest(
        f"{items}: {given} given, at most {most} are allowed in one request; send them in several requests, "
        "or set RERANKER_SPLIT_LARGE_REQUESTS=true on the server"
    )


def explain(error: ValidationError, items: str, rules: Rules) -> InvalidRequest:
    """The faults in the terms of whoever wrote the body."""
    faults = error.errors(include_url=False, include_input=False)
    if faults[0]["type"] == "json_invalid":
        return InvalidRequest(f"the body is not JSON: {faults[0]['msg'].removeprefix('Invalid JSON: ')}", status=400)
    unknown = next((fault for fault in faults if fault["type"] == UNKNOWN), None)
    if unknown is not None:
        return InvalidRequest(_told((*unknown["loc"], unknown["ctx"]["name"]), unknown["msg"]), status=400)
    if any(fault["type"] == "too_long" and fault["ctx"]["max_length"] == MOST_PASSAGES for fault in faults):
        return _too_many(f"more than {MOST_PASSAGES}", MOST_PASSAGES if rules.split else rules.most, items)
    told = [_told(fault["loc"], fault["msg"]) for fault in faults[:MOST_FAULTS]]
    if len(faults) > MOST_FAULTS:
        told.append(f"and {len(faults) - MOST_FAULTS} more")
    return InvalidRequest("; ".join(told))


def refuse_unknown(model: type[BaseModel], value: object) -> object:
    """For models that allow no other fields: the first one ends it, as a body may hold a hundred thousand."""
    if isinstance(value, dict) and not value.keys() <= model.model_fields.keys():
        name = next(name for name in value if name not in model.model_fields)
        known = ", ".join(model.model_fields)
        raise PydanticCustomError(UNKNOWN, "unknown field, expected one of {known}", {"name": name, "known": known})
    return value


def _told(place: Sequence[int | str], message: str) -> str:
    return f"{'.'.join(brief(str(name)) for name in place) or 'the body'}: {message}"


def _inlined(schema: Any, parts: dict[str, Any]) -> Any:
    if isinstance(schema, dict):
        if name := schema.get("$ref"):
            return _inlined(parts[name.rpartition("/")[2]], parts) | {k: v for k, v in schema.items() if k != "$ref"}
        return {key: _inlined(value, parts) for key, value in schema.items()}
    return [_inlined(value, parts) for value in schema] if isinstance(schema, list) else schema
