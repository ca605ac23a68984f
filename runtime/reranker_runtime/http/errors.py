"""Every failure in the shape of the API that was called; in NIM's where none was."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from reranker_runtime.errors import InvalidRequest, RequestError, ScoringFailed, Unauthenticated, brief
from reranker_runtime.http.dialects.dialect import Dialect
from reranker_runtime.http.doors import dialect_at
from reranker_runtime.http.record import record

ROUTES: Final = (
    "POST /v1/ranking, /v1/rerank, /v2/rerank, /rerank and /v1/score, GET /v1/models, /v1/health/live, "
    "/v1/health/ready, /v1/metadata, /v1/metrics and, for all of them with examples, /docs"
)

CLOSED: Final = 499
"""nginx's status for a caller that hung up."""


def answer(error: RequestError, dialect: Dialect) -> JSONResponse:
    """The response that states an error."""
    status, body = dialect.fault(error, dialect.words)
    headers = {}
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    if error.status == HTTPStatus.UNSUPPORTED_MEDIA_TYPE:
        headers["Accept-Encoding"] = "identity"
    return JSONResponse(body, status, headers)


async def on_request_error(request: Request, error: Exception) -> Response:
    """Ours, raised by a route."""
    if not isinstance(error, RequestError):
        raise error
    note = record(request)
    note.error = error.told(note.dialect.words)
    return answer(error, note.dialect)


async def on_disconnect(_: Request, __: Exception) -> Response:
    """The caller hung up: nobody receives this, but logs and metrics tell it from a failure."""
    return Response(status_code=CLOSED)


async def on_exception(request: Request, _: Exception) -> Response:
    """What nobody foresaw; the traceback goes to the log only."""
    error = failed()
    note = record(request)
    note.error = error.message
    return answer(error, note.dialect)


async def on_http_exception(request: Request, error: Exception) -> Response:
    """Starlette's own: no such route, wrong method."""
    if not isinstance(error, HTTPException):
        raise error
    path, dialect = request.url.path, record(request).dialect
    told = InvalidRequest(f"{request.method} {path}: {error.detail}", status=error.status_code)
    if error.status_code == 404:  # noqa: PLR2004
        told = InvalidRequest(f"there is no {path} here; there are {ROUTES}", status=404)
    elif error.status_code == 405:  # noqa: PLR2004
        told = wrong_method(request.method, path, (error.headers or {}).get("Allow", "another method"))
        dialect = dialect_at(path)
    response = answer(told, dialect)
    response.headers.update(error.headers or {})
    return response


def wrong_method(method: str, path: str, allowed: str) -> InvalidRequest:
    return InvalidRequest(f"{method} is not allowed on {path}; use {allowed}", status=405)


def not_served(asked: str, served: Sequence[str]) -> InvalidRequest:
    return InvalidRequest(
        f"model {brief(asked)!r} is not served here; served: {', '.join(served)}. Leave model out to use it",
        status=404,
        detail={"served": list(served)},
        field="model",
    )


def failed() -> ScoringFailed:
    return ScoringFailed("the server failed; its log has the details under this request's X-Request-Id")
