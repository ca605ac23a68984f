"""What /v1/ranking takes, leniently (NIM 1.x) and strictly (NIM 2.x), and how a wrong body is explained."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, FailFast, Field, ValidationError, WithJsonSchema
from pydantic_core import ErrorDetails

from reranker_runtime.engine.rows import Truncate
from reranker_runtime.errors import InvalidRequest
from reranker_runtime.settings import MOST_PASSAGES


def _count(value: object) -> int | None:
    # Clients send null, 0, "5", 5.0 or nonsense in fields that NIM does not have; what is no count limits nothing.
    try:
        count = int(value) if isinstance(value, float) and value.is_integer() else int(str(value))
    except ValueError:
        return None
    return count if count > 0 else None


Count = Annotated[int | None, BeforeValidator(_count)]
MARKS: Final = 1_000_000
"""Commas and brackets outside texts that a body may have, several times what the most passages need."""
Item = TypeVar("Item")
# Validation holds the interpreter's lock, so it must end early: at the first wrong passage, or at one too many.
Bounded = Annotated[list[Item], Field(max_length=MOST_PASSAGES), FailFast()]


class Query(BaseModel):
    text: str


class Passage(BaseModel):
    text: str | None = None
    # Any here, for whoever decodes it names the passage in its refusal.
    image: Annotated[Any, WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "null"}]})] = Field(
        None,
        description="For models that see images: PNG, JPEG, WebP, GIF, BMP or TIFF, as a data URL or in bare base64; "
        "beside the text or instead of it. No URL is ever fetched.",
    )


class RankingRequest(BaseModel):
    """NIM's request. top_n and top_k are not NIM's, but clients send them: they limit the answer."""

    model: str | None = None
    query: Query
    passages: Bounded[Passage]
    truncate: Literal["NONE", "END"] | None = None
    top_n: Count = None
    top_k: Count = None

    @classmethod
    def openapi_schema(cls) -> dict[str, Any]:
        """The body for the OpenAPI description, its parts in place."""
        schema = cls.model_json_schema()
        parts = schema.pop("$defs")
        schema["properties"]["query"] = parts["Query"]
        schema["properties"]["passages"]["items"] = parts["Passage"]
        return schema

    @property
    def truncation(self) -> Truncate:
        return Truncate(self.truncate or "NONE")

    @property
    def most(self) -> int | None:
        """Rankings to answer with; None is all."""
        return min((n for n in (self.top_n, self.top_k) if n is not None), default=None)


class StrictQuery(Query):
    model_config = ConfigDict(extra="forbid")


class StrictPassage(Passage):
    model_config = ConfigDict(extra="forbid")


class StrictRequest(BaseModel):
    """NIM 2.x: exactly its own fields."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = None
    query: StrictQuery
    passages: Bounded[StrictPassage]
    truncate: Literal["NONE", "END"] | None = None


def parse(body: bytes, *, strict: bool, most: int) -> RankingRequest:
    """The request, or an `InvalidRequest` that names the faults by their paths: of the passages, the first."""
    _check_marks(body)
    try:
        if strict:
            exact = StrictRequest.model_validate_json(body)
            request = RankingRequest.model_construct(
                model=exact.model, query=exact.query, passages=list(exact.passages), truncate=exact.truncate
            )
        else:
            request = RankingRequest.model_validate_json(body)
    except ValidationError as error:
        raise _explain(error, most) from None
    _check_passages(request.passages, most)
    return request


def _check_marks(body: bytes) -> None:
    # JSON is parsed whole before any of it is validated, and "{}," takes fifty times its size in memory.
    if _marks(body) > MARKS and _marks(_without_texts(body)) > MARKS:
        raise InvalidRequest(
            f"the body holds more than {MARKS} commas and brackets outside texts; send fewer passages", status=413
        )


def _marks(body: bytes) -> int:
    return sum(map(body.count, (b",", b"[", b"{")))


def _without_texts(body: bytes) -> bytes:
    return re.sub(rb'"[^"]*"?', b"", body.replace(rb"\\", b"").replace(rb"\"", b""))


def _check_passages(passages: list[Passage], most: int) -> None:
    if not passages:
        raise InvalidRequest("passages: give at least one passage")
    if len(passages) > most:
        raise _too_many(len(passages), most)
    for number, passage in enumerate(passages):
        if passage.text is None and passage.image is None:
            raise InvalidRequest(
                f"passages.{number}.text: Field required, or an image where the model sees images",
                detail={"passage": number},
            )


def _too_many(given: int | str, most: int) -> InvalidRequest:
    return InvalidRequest(
        f"passages: {given} given, at most {most} are allowed in one request; send them in several requests"
    )


def _explain(error: ValidationError, most: int) -> InvalidRequest:
    faults = error.errors(include_url=False, include_input=False)
    if faults[0]["type"] == "json_invalid":
        return InvalidRequest(f"the body is not JSON: {faults[0]['msg'].removeprefix('Invalid JSON: ')}", status=400)
    unknown = next((fault for fault in faults if fault["type"] == "extra_forbidden"), None)
    if unknown is not None:
        return InvalidRequest(f"{_path(unknown)}: unknown field, expected one of {_fields(unknown)}", status=400)
    if any(fault["type"] == "too_long" for fault in faults):
        return _too_many(f"more than {MOST_PASSAGES}", most)
    return InvalidRequest("; ".join(f"{_path(fault)}: {fault['msg']}" for fault in faults))


def _path(fault: ErrorDetails) -> str:
    return ".".join(map(str, fault["loc"])) or "the body"


def _fields(fault: ErrorDetails) -> str:
    owners: dict[int, type[BaseModel]] = {1: StrictRequest, 2: StrictQuery, 3: StrictPassage}
    owner = owners[len(fault["loc"])]
    return ", ".join(owner.model_fields)
