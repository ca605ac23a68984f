"""Fields that several APIs have, read as leniently as clients need, and how a wrong body is explained."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Sequence
from typing import Annotated, Any, Final, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, FailFast, Field, ValidationError, WithJsonSchema
from pydantic_core import PydanticCustomError

from reranker_runtime.engine.rows import Chunking, Passage
from reranker_runtime.errors import InvalidRequest, brief
from reranker_runtime.http.dialects.dialect import Rules
from reranker_runtime.settings import MOST_PASSAGES

MOST_MARKS: Final = 300_000
"""Commas and brackets outside texts that a body may have: the most passages of a text and an image each."""
MARKS_EACH: Final = 256
"""For each passage that a request may have; what it holds beside its text is parsed and kept, too."""
MARKS_BESIDE: Final = 10_000
"""For what is in none of them."""
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
"""Of which a passage has one at least, but where fields may be named that stand for a text."""
HELD: Final[dict[str, Any]] = {
    "anyOf": [{"required": [name], "properties": {name: {"type": "string"}}} for name in PARTS]
}
"""What a schema says of that."""


class Body(BaseModel):
    """A request's body. What is not a field is ignored: clients send more than any one API knows."""

    model_config = ConfigDict(extra="ignore", protected_namespaces=())

    @classmethod
    def load(cls, body: bytes, items: str, rules: Rules) -> Self:
        """The body, or an `InvalidRequest` that names the faults by their paths: of the items, the first."""
        check_marks(body, rules)
        try:
            request = cls.model_validate_json(body)
        except ValidationError as error:
            raise explain(error, items, rules) from None
        check_number(len(getattr(request, items)), rules, items)
        return request


class Document(Body):
    """A passage as Cohere, Jina and others send it: a text, or an object that holds one."""

    model_config = ConfigDict(extra="allow")  # Cohere's clients name fields of their own in rank_fields

    text: str | None = None
    image: Image = Field(None, description=IMAGE)

    def told(self) -> dict[str, Any]:
        """The document as it was sent."""
        given = {name: getattr(self, name) for name in PARTS if name in self.model_fields_set}
        return {name: _finite(value) for name, value in (given | (self.model_extra or {})).items()}

    def joined(self, names: Sequence[str]) -> str | None:
        """What it holds under these names, one a line; None where that is nothing."""
        held = self.model_extra or {}
        values = [_finite(held[name]) for name in names if name in held]
        return "\n".join(str(value) for value in values if value is not None) or None


def _finite(value: Any) -> Any:
    """What JSON can carry, and in time.

    1e999 is read as infinity, which is no JSON any more. An integer beyond any float takes the square of its digits to
    be written: a body of them a minute.
    """
    if isinstance(value, dict):
        return {key: _finite(held) for key, held in value.items()}
    if isinstance(value, list):
        return [_finite(held) for held in value]
    if isinstance(value, int):
        return value if value.bit_length() <= sys.float_info.max_exp else None
    return None if isinstance(value, float) and not math.isfinite(value) else value


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


def check_marks(body: bytes, rules: Rules) -> None:
    """JSON is parsed whole before any of it is validated, in the event loop, where nobody else is served meanwhile.

    A field takes microseconds until it is answered with, and "{}," fifty times its size in memory.
    """
    most = most_marks(rules)
    if _marks(body) > most and _marks(_without_texts(body, most)) > most:
        raise too_many_marks(most)


def most_marks(rules: Rules) -> int:
    """Commas and brackets outside texts that a body may have."""
    return min(MOST_MARKS, MARKS_BESIDE + MARKS_EACH * (MOST_PASSAGES if rules.split else rules.most))


def too_many_marks(most: int) -> InvalidRequest:
    return InvalidRequest(
        f"the body holds more than {most} commas and brackets outside texts; "
        "send fewer passages, or fewer fields beside their texts",
        status=413,
    )


def _marks(body: bytes) -> int:
    return sum(map(body.count, (b",", b"[", b"{")))


def _without_texts(body: bytes, marks: int) -> bytes:
    bare = body.replace(rb"\\", b"").replace(rb"\"", b"")
    # Before each text of a JSON body stands a mark, or a colon and before that a name: so many marks allow no more
    # quotes. A body of quotes only would be as many pieces.
    return b"".join(bare.split(b'"', 4 * marks + 2)[::2])


def check_number(given: int, rules: Rules, items: str) -> None:
    """Whether so many passages may be in one request."""
    if not given:
        raise InvalidRequest(f"{items}: give at least one {items.removesuffix('s')}", field=items)
    if given > rules.most and not rules.split:
        raise too_many(given, rules.most, items)


def passages(documents: Sequence[Document], rank_fields: Sequence[str] = ()) -> list[Passage]:
    """For the engine; raises `InvalidRequest` where one holds neither text nor image."""
    found = []
    names = tuple(dict.fromkeys(rank_fields))
    for number, document in enumerate(documents):
        text = document.text
        if text is None and names:
            text = document.joined(names)
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


def too_many(given: int | str, most: int, items: str) -> InvalidRequest:
    return InvalidRequest(
        f"{items}: {given} given, at most {most} are allowed in one request; send them in several requests, "
        "or set RERANKER_SPLIT_LARGE_REQUESTS=true on the server",
        field=items,
    )


def explain(error: ValidationError, items: str, rules: Rules) -> InvalidRequest:
    """The faults in the terms of whoever wrote the body."""
    faults = error.errors(include_url=False, include_input=False)
    if faults[0]["type"] == "json_invalid":
        return InvalidRequest(f"the body is not JSON: {faults[0]['msg'].removeprefix('Invalid JSON: ')}", status=400)
    unknown = next((fault for fault in faults if fault["type"] == UNKNOWN), None)
    if unknown is not None:
        place = (*unknown["loc"], unknown["ctx"]["name"])
        return _at(place, items, _told(place, unknown["msg"]), status=400)
    long = next((f for f in faults if f["type"] == "too_long" and f["ctx"]["max_length"] == MOST_PASSAGES), None)
    if long is not None:
        most = MOST_PASSAGES if rules.split else rules.most
        return too_many(f"more than {MOST_PASSAGES}", most, _path(long["loc"]))
    told = [_told(fault["loc"], fault["msg"]) for fault in faults[:MOST_FAULTS]]
    if len(faults) > MOST_FAULTS:
        told.append(f"and {len(faults) - MOST_FAULTS} more")
    return _at(faults[0]["loc"], items, "; ".join(told))


def refuse_unknown(model: type[BaseModel], value: object) -> object:
    """For models that allow no other fields: the first one ends it, as a body may hold a hundred thousand."""
    if isinstance(value, dict) and not value.keys() <= model.model_fields.keys():
        name = next(name for name in value if name not in model.model_fields)
        known = ", ".join(model.model_fields)
        raise PydanticCustomError(UNKNOWN, "unknown field, expected one of {known}", {"name": name, "known": known})
    return value


def _told(place: Sequence[int | str], message: str) -> str:
    return f"{_path(place) or 'the body'}: {message}"


def _at(place: Sequence[int | str], items: str, message: str, status: int | None = None) -> InvalidRequest:
    detail = {"passage": place[1]} if place[:1] == (items,) and len(place) > 1 else {}
    return InvalidRequest(message, status=status, field=_path(place), detail=detail)


def _path(place: Sequence[int | str]) -> str:
    return ".".join(brief(str(name)) for name in place)


def described(model: type[BaseModel]) -> dict[str, Any]:
    """A body's schema for the OpenAPI description, its parts in place."""
    schema = model.model_json_schema()
    parts = schema.pop("$defs", {})
    inlined: dict[str, Any] = _inlined(schema, parts)
    return inlined


def _inlined(schema: Any, parts: dict[str, Any]) -> Any:
    if isinstance(schema, dict):
        if name := schema.get("$ref"):
            return _inlined(parts[name.rpartition("/")[2]], parts) | {k: v for k, v in schema.items() if k != "$ref"}
        return {key: _inlined(value, parts) for key, value in schema.items()}
    return [_inlined(value, parts) for value in schema] if isinstance(schema, list) else schema
