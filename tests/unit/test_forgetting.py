"""What was read of Secrets and claims is kept while somebody refers to it, and no longer."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from reranker_operator.api import RerankerService
from reranker_operator.desired import Defaults, desired
from reranker_operator.kube import Kind
from reranker_operator.reconcile.cache import Cache
from reranker_operator.reconcile.contents import Contents
from reranker_operator.reconcile.observe import Observer
from reranker_operator.reconcile.references import References, resolve

NOW = datetime.datetime(2026, 11, 25, 12, 0, tzinfo=datetime.UTC)
TOKENS = {"metadata": {"name": "tokens", "namespace": "search", "uid": "s", "resourceVersion": "5"}, "kind": "Secret"}
OWN_KEY = {"metadata": {"name": "reranker-operator-key", "uid": "k"}, "kind": "Secret", "data": {"key": "aaaa"}}
WEIGHTS = {"metadata": {"name": "weights", "namespace": "search", "uid": "c", "resourceVersion": "5"}, "spec": {}}


class Server:
    """In the API server's place: a Secret and a claim, of which nothing changes."""

    def __init__(self) -> None:
        self.read: list[str] = []

    async def list_all(
        self, kind: Kind, *_: object, metadata_only: bool, **__: object
    ) -> tuple[list[dict[str, Any]], str]:
        named = {Kind.SECRET: [TOKENS], Kind.CLAIM: [WEIGHTS]} if metadata_only else {}  # none of it is ours
        return named.get(kind, []), "5"

    async def watch(self, *_: object, **__: object) -> AsyncGenerator[tuple[str, dict[str, Any]]]:
        await asyncio.Event().wait()
        yield "BOOKMARK", {}

    async def get(self, kind: Kind, _namespace: str, name: str) -> dict[str, Any]:
        self.read.append(name)
        return WEIGHTS if kind is Kind.CLAIM else TOKENS if name == "tokens" else OWN_KEY


def service(name: str) -> RerankerService:
    variable = {"name": "A_TOKEN", "valueFrom": {"secretKeyRef": {"name": "tokens", "key": "used"}}}
    source = {"persistentVolumeClaim": {"claimName": "weights"}}
    spec = {"model": {"source": source}, "server": {"env": [variable]}}
    metadata = {"name": name, "namespace": "search", "uid": name}
    document = {"apiVersion": "reranking.dev/v1alpha1", "kind": "RerankerService", "metadata": metadata, "spec": spec}
    return RerankerService.parse(document)


@contextlib.asynccontextmanager
async def watching(server: Server) -> AsyncIterator[Cache]:
    cache = Cache(server, ["search"], lambda _key: None)  # type: ignore[arg-type]
    running = asyncio.create_task(cache.run())
    try:
        await cache.complete(lambda _words: None)
        yield cache
    finally:
        running.cancel()


def test_a_secret_is_read_again_once_its_last_referrer_is_gone() -> None:
    async def scene() -> list[str]:
        server = Server()
        async with watching(server) as cache:
            contents = Contents(server, cache, "reranker-system")  # type: ignore[arg-type]
            for name in ("first", "second"):
                await resolve(cache, contents, service(name), None)
            contents.forget(cache.refer(("search", "first"), ()))
            await resolve(cache, contents, service("second"), None)
            assert server.read.count("tokens") == 1
            contents.forget(cache.refer(("search", "second"), ()))
            await resolve(cache, contents, service("second"), None)
        return server.read

    assert asyncio.run(scene()).count("tokens") == 2


def test_a_claim_is_read_again_once_its_service_was_forgotten() -> None:
    async def scene() -> list[str]:
        server, asked = Server(), service("docs")
        async with watching(server) as cache:
            observer = Observer(server, cache)  # type: ignore[arg-type]
            looked_up = References([], [], None, None)
            for _ in range(2):
                observed = await observer.observe(asked, desired(asked, Defaults()), looked_up, NOW)
                assert observed.claim == WEIGHTS
            assert server.read == ["weights"]
            observer.forget(("search", "docs"))
            await observer.observe(asked, desired(asked, Defaults()), looked_up, NOW)
        return server.read

    assert asyncio.run(scene()) == ["weights", "weights"]
