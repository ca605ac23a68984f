"""Health and metrics: on the API port for clients, on the internal port for the kubelet and monitoring."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from reranker_runtime.http.describe import catalogue_operation
from reranker_runtime.service import Phase, Service

METRICS: Final[dict[str, Any]] = {
    "summary": "Prometheus metrics",
    "tags": ["health"],
    "response_class": PlainTextResponse,
}


class HealthRoutes:
    """Handlers over one service."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def router(self) -> APIRouter:
        router = APIRouter()
        for path, handler in (("/v1/health/live", self.live), ("/v1/health/ready", self.ready)):
            router.add_api_route(path, handler, methods=["GET"], response_model=None, **catalogue_operation(path))
        for path in ("/v1/metrics", "/metrics"):
            router.add_api_route(
                path, self.metrics, methods=["GET"], response_model=None, **METRICS, operation_id=path[1:]
            )
        return router

    async def live(self, _: Request) -> Response:
        """The process answers; being alive is not being ready."""
        return JSONResponse({"object": "health.response", "message": "Service is live.", "status": "live"})

    async def ready(self, _: Request) -> Response:
        """200 from the warm-up ranking until the stop; else 503 and the reason."""
        ready = self._service.phase is Phase.READY
        message = self._service.message if ready else f"Service is not ready: {self._service.message}"
        return JSONResponse(
            {
                "object": "health.response",
                "message": message,
                "status": "ready" if ready else "not_ready",
                "ready": ready,
                "phase": self._service.phase.value,
            },
            status_code=200 if ready else 503,
        )

    async def metrics(self, _: Request) -> Response:
        return Response(generate_latest(self._service.metrics.registry), media_type=CONTENT_TYPE_LATEST)
