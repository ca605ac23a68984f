"""What is served, for clients that ask before they rank: models, metadata, manifest, license, version."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from reranker_runtime import version
from reranker_runtime.http import answers
from reranker_runtime.http.describe import Page, page
from reranker_runtime.http.faults import SERVED
from reranker_runtime.service import Service
from reranker_runtime.settings import Settings

LICENSE: Final = "Apache-2.0"
API: Final = "1.0.0"
"""NIM's, that is spoken here."""
MODELS_TOO: Final = ("/v1/v1/models",)
"""From a base that ends in /v1 already."""


@dataclass(frozen=True)
class Shown:
    """What is told of a model, as far as it is known while it is loaded."""

    files: Sequence[str] = ()
    digest: str | None = None
    architecture: str | None = None
    family: str | None = None
    parameters: int | None = None
    images: bool | None = None
    instruction: bool | None = None
    dtype: str | None = None
    device: str | None = None
    limit: int | None = None


SAMPLE: Final = Shown(
    files=("config.json", "model.safetensors", "tokenizer.json"),
    digest="sha256:" + "9f0c2a51d3be4e0f" * 4,
    architecture="BertForSequenceClassification",
    family="bert",
    parameters=22_713_601,
    images=False,
    instruction=False,
    dtype="float32",
    device="cpu",
    limit=512,
)


class CatalogueRoutes:
    """Handlers over one service."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def router(self) -> APIRouter:
        router = APIRouter()
        for path, (handler, told) in self._pages().items():
            router.add_api_route(path, handler, methods=["GET"], response_model=None, **page(path, told))
            for other in told.also:
                router.add_api_route(other, handler, methods=["GET"], response_model=None, include_in_schema=False)
        return router

    def _pages(self) -> dict[str, tuple[Callable[[Request], Awaitable[Response]], Page]]:
        # The description needs no key: of the model it shows a made-up one.
        sample = self._service.settings.model_copy(
            update={"model_path": Path("/models/my-reranker"), "served_names": (SERVED,), "revision": "7"}
        )
        return {
            "/v1/models": (
                self.models,
                Page(
                    "The names that requests may give as model",
                    answers.Models,
                    models(sample, 1_767_225_600),
                    also=MODELS_TOO,
                ),
            ),
            "/v1/metadata": (
                self.metadata,
                Page(
                    "What is served, from which files, within which limits", answers.Metadata, metadata(sample, SAMPLE)
                ),
            ),
            "/v1/manifest": (
                self.manifest,
                Page("The files that are served", answers.Manifest, manifest(sample, SAMPLE)),
            ),
            "/v1/license": (
                self.license,
                Page("This program's license", answers.License, license_of("Apache License, Version 2.0 ...")),
            ),
            "/v1/version": (
                self.version,
                Page("The release, and NIM's API that it speaks", answers.Version, VERSION),
            ),
        }

    async def models(self, _: Request) -> Response:
        return JSONResponse(models(self._service.settings, self._service.created))

    async def version(self, _: Request) -> Response:
        return JSONResponse(VERSION)

    async def license(self, _: Request) -> Response:
        """This program's; a model's license is its publisher's to tell."""
        try:
            text = distribution("reranker-operator").read_text("licenses/LICENSE") or ""
        except PackageNotFoundError:  # run from a source tree that nobody installed
            text = ""
        return JSONResponse(license_of(text))

    async def manifest(self, _: Request) -> Response:
        """The files that are served, as `reranker-runtime verify` lists them."""
        return JSONResponse(manifest(self._service.settings, self._shown()))

    async def metadata(self, _: Request) -> Response:
        return JSONResponse(metadata(self._service.settings, self._shown()))

    def _shown(self) -> Shown:
        blueprint, scorer = self._service.blueprint, self._service.scorer
        return Shown(
            files=blueprint.files if blueprint else (),
            digest=self._service.digest,
            architecture=blueprint.architecture if blueprint else None,
            family=blueprint.family if blueprint else None,
            parameters=blueprint.parameters if blueprint else None,
            images=blueprint.sees_images if blueprint else None,
            instruction=blueprint.takes_instruction if blueprint else None,
            dtype=scorer.dtype if scorer else None,
            device=scorer.device if scorer else None,
            limit=scorer.limit if scorer else None,
        )


VERSION: Final = {"release": version(), "api": API}


def models(settings: Settings, created: int) -> dict[str, Any]:
    data = [
        {"id": name, "object": "model", "root": name, "created": created, "owned_by": "reranker"}
        for name in settings.names
    ]
    return {"object": "list", "data": data}


def manifest(settings: Settings, shown: Shown) -> dict[str, Any]:
    return {
        "manifest_file": {"path": str(settings.model_path), "files": list(shown.files), "digest": shown.digest},
        "repository_override": "",
    }


def metadata(settings: Settings, shown: Shown) -> dict[str, Any]:
    return {
        "version": version(),
        "assetInfo": list(shown.files),
        "licenseInfo": {"name": LICENSE, "path": "/v1/license"},
        "modelInfo": [{"shortName": name, "modelUrl": str(settings.model_path)} for name in settings.names],
        "repository_override": "",
        "digest": shown.digest,
        "architecture": shown.architecture,
        "family": shown.family,
        "parameters": shown.parameters,
        "images": shown.images,
        "instruction": shown.instruction,
        "dtype": shown.dtype,
        "device": shown.device,
        "limits": {
            "maxTokens": shown.limit,
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


def license_of(text: str) -> dict[str, Any]:
    return {
        "name": LICENSE,
        "path": "LICENSE",
        "sha": hashlib.sha256(text.encode()).hexdigest(),
        "size": len(text.encode()),
        "url": "https://www.apache.org/licenses/LICENSE-2.0",
        "type": "file",
        "content": text,
    }
