"""Health and metrics: on the API port for clients, on the internal port for the kubelet and monitoring."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from reranker_runtime.http import answers, faults
from reranker_runtime.http.describe import Page, page
from reranker_runtime.metrics import Metrics
from reranker_runtime.service import MESSAGES, Phase, Service

LIVE: Final = {"object": "health.response", "message": "Service is live.", "status": "live"}


class HealthRoutes:
    """Handlers over one service."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def router(self) -> APIRouter:
        router = APIRouter()
        live = Page("Whether the process answers", answers.Live, LIVE)
        ready = Page(
            "Whether it ranks: 503 with the reason until it does",
            answers.Ready,
            readiness(Phase.READY, MESSAGES[Phase.READY]),
            late=readiness(Phase.LOADING, MESSAGES[Phase.LOADING]),
        )
        for path, handler, told in (("/v1/health/live", self.live, live), ("/v1/health/ready", self.ready, ready)):
            router.add_api_route(path, handler, methods=["GET"], response_model=None, **page(path, told))
        numbers = Page("Prometheus metrics", None, _some_metrics())
        for path in ("/v1/metrics", "/metrics"):
            router.add_api_route(
                path,
                self.metrics,
                methods=["GET"],
                response_model=None,
                response_class=Response,  # of no one type: what is refused is JSON
                **page(path, numbers),
            )
        return router

    async def live(self, _: Request) -> Response:
        """The process answers; being alive is not being ready."""
        return JSONResponse(LIVE)

    async def ready(self, _: Request) -> Response:
        """200 from the warm-up ranking until the stop; else 503 and the reason."""
        phase = self._service.phase
        return JSONResponse(readiness(phase, self._service.message), 200 if phase is Phase.READY else 503)

    async def metrics(self, _: Request) -> Response:
        return Response(generate_latest(self._service.metrics.registry), media_type=CONTENT_TYPE_LATEST)


def readiness(phase: Phase, message: str) -> dict[str, Any]:
    ready = phase is Phase.READY
    return {
        "object": "health.response",
        "message": message if ready else f"Service is not ready: {message}",
        "status": "ready" if ready else "not_ready",
        "ready": ready,
        "phase": phase.value,
    }


def _some_metrics() -> str:
    metrics = Metrics()
    metrics.requests.labels("/v1/ranking", faults.SERVED, "search", "200").inc(3)
    lines = generate_latest(metrics.registry).decode().splitlines(keepends=True)
    return "".join(line for line in lines if "reranker_requests_total" in line)
