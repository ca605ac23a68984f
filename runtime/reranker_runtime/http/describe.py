"""What the OpenAPI description says of each route: fields and bounds from the types that read them, and examples that
were made by the code that answers, so that none can go stale.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from reranker_runtime.errors import (
    InputTooLong,
    InvalidRequest,
    RateLimited,
    RequestError,
    ScoringFailed,
    TimedOut,
    Unauthenticated,
    Unavailable,
)
from reranker_runtime.http import answers
from reranker_runtime.http.dialects.dialect import Dialect, Result, Rules
from reranker_runtime.http.dialects.either import EITHER
from reranker_runtime.http.dialects.fields import Body
from reranker_runtime.http.dialects.nim import NIM, RankingRequest
from reranker_runtime.http.dialects.rerank import RERANK, RerankRequest
from reranker_runtime.http.dialects.score import SCORE, ScoreRequest
from reranker_runtime.http.dialects.tei import TEI, TeiRequest
from reranker_runtime.http.keys import PUBLIC
from reranker_runtime.settings import MOST_PASSAGES, Settings

QUERY: Final = "which way should i go?"
TEXTS: Final = ["two roads diverged in a yellow wood", "a recipe for bread"]
SAMPLE: Final = Result([-1.2421875, -8.2421875], 29, "my-reranker", "9f0c2a51d3be4e0f8a6d7c4b5e3f2a10")
RULES: Final = Rules(strict=False, most=512, split=False)


@dataclass(frozen=True)
class Api:
    """What is told of one dialect."""

    request: type[Body]
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
        "server runs with RERANKER_STRICT_JSON. A header X-Reranker-Truncated counts the passages of which nothing was "
        "read, because the query alone fills the model's limit.",
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


class Fault(NamedTuple):
    """A failure as it is told."""

    what: str
    error: RequestError
    early: bool = False
    """Whether it is told before the body is read."""


FAULTS: Final = (
    Fault(
        "The body is no JSON, or in strict mode holds an unknown field",
        InvalidRequest("the body is not JSON: EOF while parsing a value at line 1 column 0", status=400),
    ),
    Fault(
        "No valid key, where keys are asked for",
        Unauthenticated("a valid API key is needed: send it as 'Authorization: Bearer KEY' or in X-API-Key; ..."),
        early=True,
    ),
    Fault(
        "The model is not served here",
        InvalidRequest(
            "model 'other' is not served here; served: my-reranker. Leave model out to use it",
            status=404,
            detail={"served": ["my-reranker"]},
            field="model",
        ),
    ),
    Fault(
        "The body did not arrive in time",
        TimedOut("the body did not arrive within 60 seconds; ...", status=408),
        early=True,
    ),
    Fault(
        "The body is too large",
        InvalidRequest("the body is larger than 67108864 bytes; ...", status=413),
        early=True,
    ),
    Fault(
        "The body is compressed",
        InvalidRequest("Content-Encoding: gzip is not read here; send the body as it is, ...", status=415),
        early=True,
    ),
    Fault(
        "A field is wrong, a text too long, or there are too many",
        InputTooLong(16384, 8192, ("passages", 0), "with the query"),
    ),
    Fault(
        "The client has used up its tokens for now; Retry-After says when to come back",
        RateLimited("client search has used up its 100000 tokens a minute; come back in 12 s, ...", retry_after=12),
        early=True,
    ),
    Fault(
        "The server or the model failed",
        ScoringFailed("the server failed; its log has the details under this request's X-Request-Id"),
    ),
    Fault(
        "Not ready; Retry-After says when to come back",
        Unavailable("not ready: the model is being loaded", cause="loading"),
        early=True,
    ),
    Fault(
        "Overloaded; Retry-After says when to come back",
        Unavailable("the queue is full (1024 requests are waiting); try again shortly", cause="queue_full"),
    ),
    Fault("The request took too long", TimedOut("the request took longer than 120 seconds and was given up; ...")),
)
RETRY: Final = "Seconds after which it is worth trying again."
SECURITY: Final[list[dict[str, list[str]]]] = [{}, {"Bearer": []}, {"X-API-Key": []}]
SCHEMES: Final = {
    "Bearer": {"type": "http", "scheme": "bearer"},
    "X-API-Key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


def fit(description: dict[str, Any], settings: Settings) -> None:
    """Put into an OpenAPI description what settings decide: where a key is needed, and the most passages."""
    public = PUBLIC if settings.public_paths is None else settings.public_paths
    for path, methods in description["paths"].items():
        for told in methods.values():
            if settings.keyed and path not in public:
                told["security"] = SECURITY[1:]
            elif not settings.keyed:
                told.pop("security", None)
    if not settings.split_large_requests:
        _bound(description["paths"], settings.max_passages)


def _bound(schema: Any, most: int) -> None:
    inside = schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ()
    if isinstance(schema, dict) and schema.get("maxItems") == MOST_PASSAGES:
        schema["maxItems"] = most
    for each in inside:
        _bound(each, most)


def operation(path: str, dialect: Dialect) -> dict[str, Any]:
    """Arguments of `add_api_route` for a ranking route."""
    mixed = dialect is EITHER
    dialects = [TEI, RERANK] if mixed else [dialect]
    told = [APIS[each.name] for each in dialects]
    schemas = [api.request.described() for api in told]
    content = {
        "schema": {"anyOf": schemas} if mixed else schemas[0],
        "examples": {api.request.__name__: {"value": api.example} for api in told},
    }
    answer = told[0].answer | told[1].answer if mixed else told[0].answer
    return {
        "summary": told[0].summary,
        "description": told[0].description,
        "operation_id": path.strip("/").replace("/", "_").replace("{model:path}", "model"),
        "tags": ["ranking"],
        # Bodies are parsed by hand: leniently or strictly, within a limit in bytes.
        "openapi_extra": {
            "requestBody": {"required": True, "content": {"application/json": content}},
            "security": SECURITY,
            **({"parameters": [_model_in_path()]} if "{model" in path else {}),
        },
        "responses": {
            200: {
                "model": answer,
                "description": "The ranking",
                "content": _examples(
                    {api.request.__name__: _answered(d, api) for d, api in zip(dialects, told, strict=True)}
                ),
            },
            **_faults(dialects, early=dialect),
        },
    }


def _model_in_path() -> dict[str, Any]:
    return {
        "name": "model",
        "in": "path",
        "required": True,
        "schema": {"type": "string"},
        "description": "As NVIDIA's hosted API has it; what the body says counts.",
    }


def _answered(dialect: Dialect, api: Api) -> Any:
    return dialect.read(json.dumps(api.example).encode(), RULES).answer(SAMPLE)


def _faults(dialects: list[Dialect], early: Dialect) -> dict[int | str, dict[str, Any]]:
    """`early` tells what fails before a body is read, `dialects` whatever else."""
    responses: dict[int | str, dict[str, Any]] = {}
    for fault in FAULTS:
        for dialect in [early] if fault.early else dialects:
            status, body = dialect.fault(fault.error, dialect.words)
            response = responses.setdefault(status, {"description": fault.what, "content": _examples({})})
            if fault.error.retry_after is not None:
                response["headers"] = {
                    "Retry-After": {"schema": {"type": "integer", "minimum": 1}, "description": RETRY}
                }
            shape = answers.EitherFault if dialect is EITHER else APIS[dialect.name].fault
            response["model"] = response["model"] | shape if "model" in response else shape
            examples = response["content"]["application/json"]["examples"]
            examples[f"{dialect.name} {fault.error.status}"] = {"value": body}
    return responses


def _examples(values: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"examples": {name: {"value": value} for name, value in values.items()}}}


CATALOGUE: Final[dict[str, tuple[str, Any]]] = {
    "/v1/models": ("The names that requests may give as model", answers.Models),
    "/v1/metadata": ("What is served, from which files, within which limits", answers.Metadata),
    "/v1/manifest": ("The files that are served", answers.Manifest),
    "/v1/license": ("This program's license", answers.License),
    "/v1/version": ("The release, and NIM's API that it speaks", answers.Version),
    "/v1/health/live": ("Whether the process answers", answers.Live),
    "/v1/health/ready": ("Whether it ranks: 503 with the reason until it does", answers.Ready),
}


def catalogue_operation(path: str) -> dict[str, Any]:
    """Arguments of `add_api_route` for a route that tells something."""
    summary, model = CATALOGUE[path]
    responses: dict[int | str, dict[str, Any]] = {200: {"model": model}}
    if path.endswith("/ready"):
        responses[503] = {"model": model, "description": "Not yet, or not any more; `message` says why"}
    responses[401] = {"model": answers.NimFault, "description": "No valid key, where keys are asked for"}
    return {
        "summary": summary,
        "tags": ["health" if "health" in path else "about"],
        "operation_id": path.strip("/").replace("/", "_"),
        "responses": responses,
        "openapi_extra": {"security": SECURITY},
    }
