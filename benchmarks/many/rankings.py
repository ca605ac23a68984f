"""Answers at the address of every Service, in place of the pods behind it: what the operator's own rankings meet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from localkube.api import Api
from many import documents
from many.feed import Feed
from reranker_operator.contract import API_PORT, RANKING_PATH
from reranker_operator.desired.metadata import TEMPLATE_HASH

Json = dict[str, Any]


class Rankings:
    """Ranks passages in the order they came in.

    Like a pod, it tells of which template it is: the one that the Service's Deployment has at that moment.
    """

    def __init__(self) -> None:
        self.asked = 0
        """Rankings so far."""
        self._templates: dict[str, str] = {}
        self._servers: dict[str, asyncio.Task[asyncio.Server]] = {}
        app = web.Application()
        app.router.add_post(RANKING_PATH, self._rank)
        self._runner = web.AppRunner(app, access_log=None)

    @asynccontextmanager
    async def served(self, api: Api, namespace: str) -> AsyncIterator[None]:
        """Listen at the cluster address of each Service of a namespace while the block runs."""
        await self._runner.setup()
        paths = {"Service": documents.CHILDREN["Service"], "Deployment": documents.DEPLOYMENTS}
        feed = Feed(api, {kind: path.format(namespace) for kind, path in paths.items()})
        with feed.told(self._look):
            async with feed:
                yield
        for opening in self._servers.values():
            (await opening).close()
        await self._runner.cleanup()

    def _look(self, event: str, kind: str, item: Json) -> None:
        if kind == "Deployment":
            template = item["spec"]["template"]["metadata"]["labels"]
            self._templates[item["metadata"]["name"]] = template[TEMPLATE_HASH]
            return
        address = item["spec"]["clusterIP"]
        if event == "DELETED":
            self._servers.pop(address).add_done_callback(lambda opening: opening.result().close())
        elif address not in self._servers:
            self._servers[address] = asyncio.create_task(self._listen(address))

    async def _listen(self, address: str) -> asyncio.Server:
        assert self._runner.server is not None
        return await asyncio.get_running_loop().create_server(self._runner.server, address, API_PORT)

    async def _rank(self, request: web.Request) -> web.Response:
        self.asked += 1
        service = request.host.partition(".")[0]
        passages = (await request.json())["passages"]
        rankings = [{"index": place, "logit": -float(place)} for place in range(len(passages))]
        headers = {"X-Reranker-Revision": self._templates.get(service, "")}
        return web.json_response({"rankings": rankings}, headers=headers)
