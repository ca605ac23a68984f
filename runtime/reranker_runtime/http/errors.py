"""Every failure in NIM's shape: {"object": "error", "message", "detail", "type"}.

`detail` is an object, never null: LangChain evaluates `"reqId" in detail`. DataStax reads `message`.
"""

from __future__ import annotations

from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from reranker_runtime.errors import InvalidRequest, RequestError, ScoringFailed

ROUTES: Final = "POST /v1/ranking, GET /v1/models, /v1/health/live, /v1/health/ready, /v1/metadata and /v1/metrics"

CLOSED: Final = 499
"""nginx's status for a caller that hung up."""


def body(message: str, kind: str, detail: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"object": "error", "message": message, "detail": detail or {}, "type": kind}


def answer(error: RequestError) -> JSONResponse:
    """The response that states an error."""
    headers = {"Retry-After": str(error.retry_after)} if error.retry_after is not None else None
    return JSONResponse(body(error.message, error.kind, error.detail), error.status, headers)


async def on_request_error(_: Request, error: Exception) -> Response:
    """Ours, raised by a route."""
    if not isinstance(error, RequestError):
        raise error
    return answer(error)


async def on_disconnect(_: Request, __: Exception) -> Response:
    """The caller hung up: nobody receives this, but logs and metrics tell it from a failure."""
    return Response(status_code=CLOSED)


async def on_exception(_: Request, __: Exception) -> Response:
    """What nobody foresaw; the traceback goes to the log only."""
    return answer(ScoringFailed("the server failed; its log has the details under this request's X-Request-Id"))


async def on_http_exception(request: Request, error: Exception) -> Response:
    """Starlette's own: no such route, wrong method."""
    if not isinstance(error, HTTPException):
        raise error
    message = f"{request.method} {request.url.path}: {error.detail}"
    if error.status_code == 404:  # noqa: PLR2004
        message = f"there is no {request.url.path} here; there are {ROUTES}"
    elif error.status_code == 405:  # noqa: PLR2004
        allowed = (error.headers or {}).get("Allow", "another method")
        message = f"{request.method} is not allowed on {request.url.path}; use {allowed}"
    response = answer(InvalidRequest(message, status=error.status_code))
    response.headers.update(error.headers or {})
    return response
