"""NIM's ranking route and its aliases, and the routes by which clients find out what is served."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from fastapi import APIRouter
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from reranker_runtime import version
from reranker_runtime.engine.rows import Passage
from reranker_runtime.errors import InvalidRequest, TimedOut
from reranker_runtime.http.schemas import RankingRequest, parse
from reranker_runtime.service import Service

ALIAS: Final = "/{base:path}/reranking"
"""LiteLLM and NVIDIA's hosted API put the model into the path; RAGFlow adds it to any base."""
RANKING_DESCRIPTION: Final[dict[str, Any]] = {
    # Bodies are parsed by hand: leniently or strictly, within a limit in bytes.
    "requestBody": {"required": True, "content": {"application/json": {"schema": RankingRequest.openapi_schema()}}},
}


class NimRoutes:
    """Handlers over one service."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def router(self) -> APIRouter:
        router = APIRouter()
        for path in ("/v1/ranking", ALIAS):
            router.add_api_route(
                path,
                self.ranking,
                methods=["POST"],
                response_model=None,
                summary="Order passages by their relevance to a query",
                include_in_schema=path != ALIAS,
                openapi_extra=RANKING_DESCRIPTION,
            )
        for path, handler, summary in (
            ("/v1/models", self.models, "The names that requests may give as model"),
            ("/v1/metadata", self.metadata, "What is served, from which files, within which limits"),
            ("/v1/version", self.version, "The release"),
        ):
            router.add_api_route(path, handler, methods=["GET"], response_model=None, summary=summary)
        return router

    async def ranking(self, request: Request) -> Response:
        settings = self._service.settings
        try:
            async with asyncio.timeout(settings.request_timeout):
                raw = await _read(request, settings.max_body_bytes)
        except TimeoutError:
            raise TimedOut(
                f"the body did not arrive within {settings.request_timeout:g} seconds; send it faster, "
                "or raise NIM_REQUEST_TIMEOUT_S",
                status=408,
            ) from None
        # In the event loop: parsing holds the interpreter's lock from end to end, so a thread would free nobody.
        parsed = parse(raw, strict=settings.strict_json, most=settings.max_passages)
        del raw  # which may be large, while the request may wait
        self._check_model(parsed.model)
        return await self._answer(request, parsed)

    async def _answer(self, request: Request, parsed: RankingRequest) -> Response:
        passages = [Passage(passage.text or "", passage.image) for passage in parsed.passages]
        ranking = asyncio.ensure_future(self._service.rank(parsed.query.text, passages, parsed.truncation))
        leaving = asyncio.ensure_future(_left(request))
        try:
            await asyncio.wait((ranking, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not ranking.done():
                raise ClientDisconnect
            scores = ranking.result()
        finally:
            ranking.cancel()
            leaving.cancel()
        plan = scores.plan
        order = sorted(range(len(passages)), key=lambda n: (-scores.logits[n], n))[: parsed.most]
        request.state.summary = {"passages": len(passages), "tokens": plan.tokens, "truncated": plan.truncated}
        headers = {"X-Reranker-Truncated": str(plan.emptied)} if plan.emptied else None
        return JSONResponse(
            {
                "rankings": [{"index": n, "logit": scores.logits[n]} for n in order],
                "usage": {"prompt_tokens": plan.tokens, "total_tokens": plan.tokens},
            },
            headers=headers,
        )

    def _check_model(self, asked: str | None) -> None:
        names = self._service.settings.names
        if asked is not None and _fold(asked) not in map(_fold, names):
            raise InvalidRequest(
                f"model {asked!r} is not served here; served: {', '.join(names)}. Leave model out to use it",
                status=404,
                detail={"served": list(names)},
            )

    async def models(self, _: Request) -> Response:
        data = [
            {"id": name, "object": "model", "root": name, "created": self._service.created, "owned_by": "reranker"}
            for name in self._service.settings.names
        ]
        return JSONResponse({"object": "list", "data": data})

    async def version(self, _: Request) -> Response:
        return JSONResponse({"release": version(), "api": "1.0.0"})

    async def metadata(self, _: Request) -> Response:
        service = self._service
        settings, blueprint, scorer = service.settings, service.blueprint, service.scorer
        values: dict[str, Any] = {
            "version": version(),
            "assetInfo": list(blueprint.files) if blueprint else [],
            "licenseInfo": {},
            "modelInfo": [{"shortName": name, "modelUrl": str(settings.model_path)} for name in settings.names],
            "repository_override": "",
            "digest": service.digest,
            "architecture": blueprint.architecture if blueprint else None,
            "family": blueprint.family if blueprint else None,
            "parameters": blueprint.parameters if blueprint else None,
            "images": blueprint.sees_images if blueprint else None,
            "dtype": scorer.dtype if scorer else None,
            "device": scorer.device if scorer else None,
            "limits": {
                "maxTokens": scorer.limit if scorer else None,
                "maxPassages": settings.max_passages,
                "maxBodyBytes": settings.max_body_bytes,
                "maxQueue": settings.max_queue,
                "maxQueueSeconds": settings.max_queue_seconds,
                "requestTimeoutSeconds": settings.request_timeout,
            },
            "revision": settings.revision,
        }
        return JSONResponse(values)


def _fold(name: str) -> str:
    # LiteLLM rewrites my_org/my_model to my.org/my.model.
    return name.replace("_", ".")


async def _left(request: Request) -> None:
    """Returns when the caller hangs up; the body has been read, so nothing else can arrive."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _read(request: Request, limit: int) -> bytes:
    too_large = InvalidRequest(
        f"the body is larger than {limit} bytes; send fewer or shorter passages, or raise RERANKER_MAX_BODY_BYTES",
        status=413,
    )
    stated = request.headers.get("content-length", "")
    if stated.isdecimal() and int(stated) > limit:
        raise too_large
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise too_large
        parts.append(part)
    return b"".join(parts)
