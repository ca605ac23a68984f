"""The two ASGI apps, out of their routes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from fastapi import APIRouter, FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp

from reranker_runtime import version
from reranker_runtime.errors import RequestError
from reranker_runtime.http.catalogue import MODELS_TOO, CatalogueRoutes
from reranker_runtime.http.describe import SCHEMES, fit
from reranker_runtime.http.doors import DOORS
from reranker_runtime.http.envelope import Envelope
from reranker_runtime.http.errors import on_disconnect, on_exception, on_http_exception, on_request_error
from reranker_runtime.http.faults import with_nulls
from reranker_runtime.http.health import HealthRoutes
from reranker_runtime.http.keys import Keys
from reranker_runtime.http.pages import PageRoutes
from reranker_runtime.http.quota import Quota
from reranker_runtime.http.ranking import RankingRoutes
from reranker_runtime.http.tracing import Tracing
from reranker_runtime.service import Service

DESCRIPTION: Final = """\
Orders passages by their relevance to a query, behind the APIs that rerank clients speak: NVIDIA NeMo Retriever
Reranking NIM, Cohere, Jina, vLLM, Voyage and text-embeddings-inference. Whatever the API, the same model scores the
same texts alike; failures are told in the shape of the API that was called.

In NIM's shape are told: paths that do not exist (404), and, without an X-Request-Id, what is refused before it was
read: too many connections (503, with Retry-After), headers that do not arrive (408) or are too many (431), what is not
HTTP/1.1 (400).
"""


def api_app(
    service: Service,
    keys: Keys | None = None,
    tracing: Tracing | None = None,
    unread: Callable[[], int] = lambda: 0,
) -> ASGIApp:
    """What users and clients call; `unread` says how many bytes of its answers wait to be read."""
    ranking = RankingRoutes(service, Quota(service.settings.tokens_per_minute), unread)
    routes = (ranking, CatalogueRoutes(service), HealthRoutes(service), PageRoutes(service))
    app = _app(*(each.router() for each in routes))
    fit(app.openapi(), service.settings)
    told = {"/", "/docs", "/openapi.json", *MODELS_TOO, *(door.path for door in DOORS)}
    paths = frozenset(app.openapi()["paths"]) | told
    return Envelope(app, service, paths, keys, tracing)


def internal_app(service: Service) -> ASGIApp:
    """What the kubelet, monitoring and the operator call."""
    app = _app(HealthRoutes(service).router())
    return Envelope(app, service, frozenset(app.openapi()["paths"]))


def _app(*routers: APIRouter) -> FastAPI:
    app = FastAPI(
        title="Reranker runtime",
        summary="NVIDIA NeMo Retriever Reranking NIM's HTTP API, and its peers', over a local model directory.",
        description=DESCRIPTION,
        version=version(),
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        # FastAPI's own pages load scripts from elsewhere; http/pages.py has one that does not.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # a redirect turns a POST with a stray slash into a puzzle
        exception_handlers={
            RequestError: on_request_error,
            HTTPException: on_http_exception,
            ClientDisconnect: on_disconnect,
            Exception: on_exception,
        },
    )
    for router in routers:
        app.include_router(router)
    description = app.openapi_schema = with_nulls(app.openapi())
    description.setdefault("components", {})["securitySchemes"] = SCHEMES
    return app
