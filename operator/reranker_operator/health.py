"""Health and metrics over HTTP, for the kubelet and Prometheus."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Protocol

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from reranker_operator.metrics import Metrics

STUCK_SECONDS = 120.0
"""A service that waits this long for its round means that the loop does not turn; a leader that after this time does
not know what there is sees to nobody."""

_log = logging.getLogger("reranker_operator")


class Health:
    """What the process is doing, in one word, and whether its loop turns."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.state = "starting"
        self.ready = False
        self._clock = clock
        self._loop: Loop | None = None
        self._learns_since: float | None = None

    def say(self, state: str) -> None:
        """Tell what the process is doing, in the log too where that is news."""
        if state != self.state:
            self.state = state
            _log.info("%s", state)

    def learn(self) -> None:
        """From now on the process leads, and comes to know what there is."""
        self._learns_since = self._clock()

    def watch(self, loop: "Loop | None") -> None:
        """From now on the process is as well as this loop; None: as it stands by."""
        self._loop, self._learns_since = loop, None

    def idle(self) -> str | None:
        """Why the process is of no use, if it is of none. To start it again would not help: rights or a server fail."""
        if self._learns_since is None or (took := self._clock() - self._learns_since) <= STUCK_SECONDS:
            return None
        return f"{self.state}: no service is seen to, for {took:.0f} s now"

    def problem(self) -> str | None:
        """Why the process should be started again, if it should."""
        if self._loop is None:
            return None
        if (waited := self._loop.longest_wait()) > STUCK_SECONDS:
            return f"a service has waited {waited:.0f} s for its round"
        if (took := self._loop.longest_round()) > STUCK_SECONDS:
            return f"a round has taken {took:.0f} s"
        return None


class Loop(Protocol):
    """What turns; times are seconds."""

    def longest_wait(self) -> float:
        """For how long the service that has waited longest is due."""

    def longest_round(self) -> float:
        """For how long the round that began first runs."""


@asynccontextmanager
async def served(health: Health, metrics: Metrics, health_port: int, metrics_port: int) -> AsyncIterator[None]:
    """Serve both while the block runs; port 0 leaves one out."""
    started = time.monotonic()

    async def healthz(_: web.Request) -> web.Response:
        problem = health.problem()
        return web.Response(status=503 if problem else 200, text=(problem or f"ok: {health.state}") + "\n")

    async def readyz(_: web.Request) -> web.Response:
        waited = f" for {time.monotonic() - started:.0f} s" if not health.ready else ""
        idle = health.idle()
        ready = health.ready and idle is None
        return web.Response(status=200 if ready else 503, text=f"{idle or health.state + waited}\n")

    async def scrape(_: web.Request) -> web.Response:
        body = await asyncio.to_thread(generate_latest, metrics.registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    routes = {health_port: {"/healthz": healthz, "/readyz": readyz}}
    routes.setdefault(metrics_port, {})["/metrics"] = scrape
    runners: list[web.AppRunner] = []
    try:
        for port, paths in routes.items():
            if port == 0:
                continue
            app = web.Application()
            for path, handler in paths.items():
                app.router.add_get(path, handler)
            runner = web.AppRunner(app, access_log=None)
            runners.append(runner)
            await runner.setup()
            await web.TCPSite(runner, port=port).start()
        yield
    finally:
        for runner in runners:
            await runner.cleanup()
