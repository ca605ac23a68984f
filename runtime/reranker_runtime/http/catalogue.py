"""What is served, for clients that ask before they rank: models, metadata, manifest, license, version."""

from __future__ import annotations

import hashlib
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any, Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from reranker_runtime import version
from reranker_runtime.http.describe import catalogue_operation
from reranker_runtime.service import Service

LICENSE: Final = "Apache-2.0"
API: Final = "1.0.0"
"""NIM's, that is spoken here."""


class CatalogueRoutes:
    """Handlers over one service."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def router(self) -> APIRouter:
        router = APIRouter()
        for path, handler in (
            ("/v1/models", self.models),
            ("/v1/metadata", self.metadata),
            ("/v1/manifest", self.manifest),
            ("/v1/license", self.license),
            ("/v1/version", self.version),
        ):
            router.add_api_route(path, handler, methods=["GET"], response_model=None, **catalogue_operation(path))
        # From a base that ends in /v1 already.
        router.add_api_route(
            "/v1/v1/models", self.models, methods=["GET"], response_model=None, include_in_schema=False
        )
        return router

    async def models(self, _: Request) -> Response:
        data = [
            {"id": name, "object": "model", "root": name, "created": self._service.created, "owned_by": "reranker"}
            for name in self._service.settings.names
        ]
        return JSONResponse({"object": "list", "data": data})

    async def version(self, _: Request) -> Response:
        return JSONResponse({"release": version(), "api": API})

    async def license(self, _: Request) -> Response:
        """This program's; a model's license is its publisher's to tell."""
        return JSONResponse(_license())

    async def manifest(self, _: Request) -> Response:
        """The files that are served, as `reranker-runtime verify` lists them."""
        service = self._service
        files = list(service.blueprint.files) if service.blueprint else []
        path = str(service.settings.model_path)
        return JSONResponse(
            {
                "manifest_file": {"path": path, "files": files, "digest": service.digest},
                "repository_override": "",
            }
        )

    async def metadata(self, _: Request) -> Response:
        service = self._service
        settings, blueprint, scorer = service.settings, service.blueprint, service.scorer
        values: dict[str, Any] = {
            "version": version(),
            "assetInfo": list(blueprint.files) if blueprint else [],
            "licenseInfo": {"name": LICENSE, "path": "/v1/license"},
            "modelInfo": [{"shortName": name, "modelUrl": str(settings.model_path)} for name in settings.names],
            "repository_override": "",
            "digest": service.digest,
            "architecture": blueprint.architecture if blueprint else None,
            "family": blueprint.family if blueprint else None,
            "parameters": blueprint.parameters if blueprint else None,
            "images": blueprint.sees_images if blueprint else None,
            "instruction": blueprint.takes_instruction if blueprint else None,
            "dtype": scorer.dtype if scorer else None,
            "device": scorer.device if scorer else None,
            "limits": {
                "maxTokens": scorer.limit if scorer else None,
                "maxPassages": settings.max_passages,
                "splitsLargeRequests": settings.split_large_requests,
                "maxBodyBytes": settings.max_body_bytes,
                "maxImageBytes": settings.max_image_bytes,
                "maxImagePixels": settings.max_image_pixels,
                "maxQueue": settings.max_queue,
                "maxQueueSeconds": settings.max_queue_seconds,
                "requestTimeoutSeconds": settings.request_timeout,
                "tokensPerMinute": settings.tokens_per_minute,
            },
            "revision": settings.revision,
        }
        return JSONResponse(values)


def _license() -> dict[str, Any]:
    try:
        text = distribution("reranker-operator").read_text("licenses/LICENSE") or ""
    except PackageNotFoundError:  # run from a source tree that nobody installed
        text = ""
    return {
        "name": LICENSE,
        "path": "LICENSE",
        "sha": hashlib.sha256(text.encode()).hexdigest(),
        "size": len(text.encode()),
        "url": "https://www.apache.org/licenses/LICENSE-2.0",
        "type": "file",
        "content": text,
    }
