"""What the OpenAPI description says of each route: fields and bounds from the types that read them, and examples that
were made by the code that answers, so that none can go stale.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any, Final

from pydantic import BaseModel

from reranker_runtime.http import answers, faults
from reranker_runtime.http.dialects.dialect import Dialect, Result, Rules
from reranker_runtime.http.dialects.either import EITHER
from reranker_runtime.http.dialects.fields import IMAGE, described, most_marks
from reranker_runtime.http.dialects.nim import NIM, RankingRequest, StrictRequest
from reranker_runtime.http.dialects.rerank import RERANK, RerankRequest
from reranker_runtime.http.dialects.score import SCORE, ScoreRequest
from reranker_runtime.http.dialects.tei import TEI, TeiRequest
from reranker_runtime.http.doors import DOORS, Door
from reranker_runtime.http.faults import SERVED
from reranker_runtime.http.keys import PUBLIC
from reranker_runtime.settings import MOST_PASSAGES, Settings

QUERY: Final = "which way should i go?"
TEXTS: Final = ["two roads diverged in a yellow wood", "a recipe for bread"]
SAMPLE: Final = Result([-1.2421875, -8.2421875], 29, SERVED, "9f0c2a51d3be4e0f8a6d7c4b5e3f2a10")


@dataclass(frozen=True)
class Api:
    """What is told of one dialect."""

    request: type[BaseModel]
    example: dict[str, Any]
    answer: Any
    fault: Any
    summary: str
    description: str


APIS: Final = {
    NIM.name: Api(
        RankingRequest,
        {"query": {"text": QUERY}, "passages": [{"text": text} for text in TEXTS], "truncate": "END"},
        answers.RankingAnswer,
        answers.NimFault,
        "Order passages by their relevance to a query",
        "NVIDIA NeMo Retriever Reranking NIM's route: raw logits, best first. Unknown fields are ignored unless the "
        "server runs with RERANKER_STRICT_JSON.",
    ),
    RERANK.name: Api(
        RerankRequest,
        {"query": QUERY, "documents": TEXTS, "top_n": 2},
        answers.RerankAnswer,
        answers.RerankFault,
        "Rerank documents: Cohere, Jina, vLLM, Voyage",
        "One superset of four APIs; each client finds its own fields. Scores are from 0 to 1.",
    ),
    SCORE.name: Api(
        ScoreRequest,
        {"text_1": QUERY, "text_2": TEXTS},
        answers.ScoreAnswer,
        answers.RerankFault,
        "Score pairs of texts, in the order given: vLLM",
        "One text_1 for all of text_2, or one for each. Scores are from 0 to 1 unless use_activation is false.",
    ),
    TEI.name: Api(
        TeiRequest,
        {"query": QUERY, "texts": TEXTS},
        list[answers.TeiResult],
        answers.TeiFault,
        "Rerank documents, or texts: Cohere, Jina, vLLM, Voyage, text-embeddings-inference",
        "A body with `texts` and no `documents` is text-embeddings-inference's and is answered by its rules, with its "
        "statuses: a bare list; failures are 413 for what it calls validation, 424 for the model, 429 when overloaded.",
    ),
}


SHAPES: Final = {name: api.fault for name, api in APIS.items()} | {EITHER.name: answers.EitherFault}
SECURITY: Final[list[dict[str, list[str]]]] = [{}, {"Bearer": []}, {"X-API-Key": []}]
SCHEMES: Final = {
    "Bearer": {"type": "http", "scheme": "bearer"},
    "X-API-Key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


def fit(description: dict[str, Any], settings: Settings) -> None:
    """Put into an OpenAPI description what settings decide for all routes: where a key is needed, and the bounds."""
    public = PUBLIC if settings.public_paths is None else settings.public_paths
    for path, methods in description["paths"].items():
        for told in methods.values():
            if settings.keyed and path not in public:
                told["security"] = SECURITY[1:]
            elif not settings.keyed:
                told.pop("security", None)
    _bound(description["paths"], settings)


def _bound(schema: Any, settings: Settings) -> None:
    inside = schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ()
    if isinstance(schema, dict):
        if schema.get("maxItems") == MOST_PASSAGES and not settings.split_large_requests:
            schema["maxItems"] = settings.max_passages
        if schema.get("description") == IMAGE:
            schema["description"] += (
                f" At most {settings.max_image_bytes} bytes as a file (RERANKER_MAX_IMAGE_BYTES), and "
                f"{settings.max_image_pixels} pixels (RERANKER_MAX_IMAGE_PIXELS)."
            )
    for each in inside:
        _bound(each, settings)


def operation(door: Door, settings: Settings) -> dict[str, Any]:
    """Arguments of `add_api_route` for a ranking route."""
    path, dialect, rules = door.path, door.dialect, Rules.of(settings)
    mixed = dialect is EITHER
    dialects = [TEI, RERANK] if mixed else [dialect]
    told = {each.name: APIS[each.name] for each in dialects}
    schemas = [_schema(each, rules) for each in dialects]
    first, last = told[dialects[0].name], told[dialects[-1].name]
    return {
        "summary": first.summary,
        "description": first.description + also(*(each.path for each in DOORS if each.twin == path)),
        "operation_id": path.strip("/").replace("/", "_").replace("{model:path}", "model"),
        "tags": ["ranking"],
        # Bodies are parsed by hand: leniently or strictly, within a limit in bytes.
        "openapi_extra": {
            "requestBody": {
                "required": True,
                "description": f"Not compressed; at most {settings.max_body_bytes} bytes (RERANKER_MAX_BODY_BYTES), "
                f"and {most_marks(rules)} commas and brackets outside texts.",
                "content": {
                    "application/json": {
                        "schema": {"anyOf": schemas} if mixed else schemas[0],
                        "examples": {each.name: {"value": _example(each, rules)} for each in dialects},
                    }
                },
            },
            "security": SECURITY,
            **({"parameters": [_model_in_path()]} if "{model" in path else {}),
        },
        "responses": {
            200: {
                "model": first.answer | last.answer if mixed else first.answer,
                "description": "The ranking",
                "headers": faults.headers("x-reranker-truncated"),
                "content": faults.examples({each.name: _answered(each, rules) for each in dialects}),
            },
            **faults.responses(
                faults.of_rankings(path, settings, lambda each: _example(each, rules)), dialect, dialects, SHAPES
            ),
        },
    }


def also(*paths: str) -> str:
    """The sentence that names a route's other paths; empty where there are none."""
    listed = [f"`{path.replace(':path', '')}`" for path in paths]
    return f" Also at {' and '.join(filter(None, (', '.join(listed[:-1]), *listed[-1:])))}." if listed else ""


def _schema(dialect: Dialect, rules: Rules) -> dict[str, Any]:
    return described(StrictRequest if rules.strict and dialect is NIM else APIS[dialect.name].request)


def _model_in_path() -> dict[str, Any]:
    return {
        "name": "model",
        "in": "path",
        "required": True,
        "schema": {"type": "string"},
        "description": "As NVIDIA's hosted API has it; what the body says counts.",
    }


def _example(dialect: Dialect, rules: Rules) -> dict[str, Any]:
    body, items = APIS[dialect.name].example, dialect.words.passages
    return body | {items: body[items][: len(TEXTS) if rules.split else rules.most]}


def _answered(dialect: Dialect, rules: Rules) -> Any:
    asked = dialect.read(json.dumps(_example(dialect, rules)).encode(), rules)
    count = sum(len(ask.passages) for ask in asked.asks())
    return asked.answer(replace(SAMPLE, logits=SAMPLE.logits[:count]))


@dataclass(frozen=True)
class Page:
    """What is told of a route that is asked with GET."""

    summary: str
    model: Any
    """None: the answer is text."""
    example: Any
    """As the route's own code makes it."""
    late: Any = None
    """The same of what it says with 503; None: it never does."""
    also: tuple[str, ...] = ()
    """Its other paths."""


def page(path: str, told: Page) -> dict[str, Any]:
    """Arguments of `add_api_route` for a route that tells something."""
    content = faults.examples({"answer": told.example})
    responses: dict[int, dict[str, Any]] = {
        200: {
            "description": told.summary,
            "headers": faults.headers(),
            **(
                {"model": told.model, "content": content}
                if told.model
                else {"content": {"text/plain": {"schema": {"type": "string"}} | content["application/json"]}}
            ),
        }
    }
    if told.late is not None:
        responses[503] = {
            "model": told.model,
            "description": "Not yet, or not any more; `message` says why",
            "headers": faults.headers(),
            "content": faults.examples({"answer": told.late}),
        }
    return {
        "summary": told.summary,
        "description": also(*told.also).strip(),
        "tags": ["health" if path.endswith(("/live", "/ready", "/metrics")) else "about"],
        "operation_id": path.strip("/").replace("/", "_"),
        "responses": responses | faults.of_a_page(path),
        "openapi_extra": {"security": SECURITY},
    }
