"""What the prober meets: a Service that ranks and notes how it was asked, and a clock that the test turns."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from test_probe import RANKED, Secrets

from reranker_operator.reconcile.probe import Probe, Prober, Target


class Ranker:
    """A Service, each answer of which is as `answer`, `status` and `revision` say then."""

    def __init__(self) -> None:
        self.answer, self.status, self.revision = RANKED, 200, "t"
        self.asked: list[tuple[str, str]] = []
        """Host and Authorization of each request."""
        self.names: list[str | None] = []
        """The name that each TLS client asked for."""

    @asynccontextmanager
    async def served(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
        """Serve on loopback while the block runs; gives the port."""
        if tls is not None:
            tls.sni_callback = lambda _socket, name, _context: self.names.append(name)
        app = web.Application()
        app.router.add_post("/v1/ranking", self._rank)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        try:
            yield runner.addresses[0][1]
        finally:
            await runner.cleanup()

    async def _rank(self, request: web.Request) -> web.Response:
        self.asked.append((request.headers["Host"], request.headers.get("Authorization", "")))
        return web.Response(text=self.answer, status=self.status, headers={"X-Reranker-Revision": self.revision})


class Watch:
    """A prober of one target, whose clock stands until it is turned; `told` where an earlier one has seen it rank."""

    def __init__(self, kube: Secrets, target: Target, *, told: bool = False) -> None:
        self._now = datetime.datetime(2026, 11, 25, tzinfo=datetime.UTC)
        self._target, self._told = target, told
        self.woken = 0
        self._prober = Prober(kube, self._wake, lambda: self._now)  # type: ignore[arg-type]

    def turn(self, seconds: float) -> None:
        """Let so much time pass."""
        self._now += datetime.timedelta(seconds=seconds)

    def due_in(self) -> float:
        """Seconds until it is asked again."""
        return self._prober.due_in(self._target, told=self._told)

    async def look(self) -> Probe:
        """Look, and wait for the answer where it is time to ask."""
        is_due = self.due_in() <= 0
        self._prober.look(self._target, told=self._told)
        if is_due:
            await until(lambda: self._latest is not None and self._latest.at == self._now)
        assert self._latest is not None
        return self._latest

    @property
    def _latest(self) -> Probe | None:
        return self._prober.latest(self._target)

    def _wake(self, _key: tuple[str, str]) -> None:
        self.woken += 1


async def until(holds: Callable[[], Any]) -> None:
    """Let the loop turn until this is so: an answer that is no news wakes nobody."""
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.001)
