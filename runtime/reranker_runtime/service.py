"""The server's life between start and stop: load in the background, warm up, rank, drain.

Importable without torch: the port is open and answers health before torch is even imported.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from reranker_runtime import version
from reranker_runtime.artifacts.digest import check_digest, digest
from reranker_runtime.engine.pool import Pool
from reranker_runtime.engine.queue import Queue, Times
from reranker_runtime.engine.rows import Ask, Plan, Scores
from reranker_runtime.errors import ModelError, Reason, RerankerError, Unavailable
from reranker_runtime.metrics import Metrics
from reranker_runtime.models.blueprint import Blueprint
from reranker_runtime.settings import Settings

if TYPE_CHECKING:  # see the first lines
    from reranker_runtime.engine.scorer import Scorer

log = logging.getLogger(__name__)


class Phase(StrEnum):
    """Where the server is in its life; only READY answers rankings."""

    LOADING = "loading"
    WARMING_UP = "warming up"
    READY = "ready"
    FAILED = "failed"
    STOPPING = "stopping"


MESSAGES = {
    Phase.LOADING: "the model is being loaded",
    Phase.WARMING_UP: "the model is loaded and scores a warm-up ranking",
    Phase.READY: "Service is ready.",
    Phase.STOPPING: "the server is stopping; ask another replica",
}


def not_ready(phase: Phase, message: str) -> Unavailable:
    return Unavailable(f"not ready: {message}", cause=phase.value)


class Service:
    """One model being served. Everything here runs in the event loop, except `_load`."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.metrics = settings, Metrics()
        self.created = int(time.time())
        self.phase, self.message = Phase.LOADING, MESSAGES[Phase.LOADING]
        self.blueprint: Blueprint | None = None
        self.scorer: Scorer | None = None
        self.digest: str | None = None
        self._queue: Queue | None = None
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def enter(self, phase: Phase, message: str = "") -> None:
        """Move on; a server that is stopping does not become ready again."""
        if self.phase in (Phase.STOPPING, Phase.FAILED):
            return
        self.phase, self.message = phase, message or MESSAGES[phase]
        self.metrics.ready.set(phase is Phase.READY)

    async def load(self) -> None:
        """Load and warm up in a thread; raises `ModelError`, after saying so to those who ask for readiness."""
        loop = asyncio.get_running_loop()
        loaded: asyncio.Future[tuple[Scorer, Pool]] = loop.create_future()
        # A daemon thread and no executor: a stop must not wait until torch is imported.
        threading.Thread(target=self._load, args=(loop, loaded), name="load", daemon=True).start()
        try:
            self.scorer, pool = await loaded
        except RerankerError as error:
            self.enter(Phase.FAILED, error.message)
            raise
        self._queue = Queue(self.scorer, pool, self.settings, self.metrics)
        self.metrics.build.labels(version(), self.scorer.torch, self.scorer.device, self.scorer.dtype).set(1)
        for name, (used, size) in self.scorer.memory.items():
            self.metrics.device_memory.labels(name).set_function(used)
            self.metrics.device_memory_size.labels(name).set(size)
        self.enter(Phase.READY)

    def _load(self, loop: asyncio.AbstractEventLoop, loaded: asyncio.Future[tuple[Scorer, Pool]]) -> None:
        def tell(do: Callable[..., None], *args: Any) -> None:
            def unless_over() -> None:
                if not loaded.cancelled():
                    do(*args)

            try:
                loop.call_soon_threadsafe(unless_over)
            except RuntimeError:  # stopped while loading
                log.debug("loaded after the end")

        begin = time.monotonic()
        try:
            from reranker_runtime.models.registry import describe  # noqa: PLC0415 - cheap, and first: errors before torch

            blueprint = self.blueprint = describe(self.settings.require_model())
            blueprint.effective_limit(self.settings.max_tokens)
            fingerprint = threading.Thread(target=self._fingerprint, args=(blueprint,), daemon=True)
            if self.settings.model_digest:  # never load weights that are not the ones asked for
                self._fingerprint(blueprint)
                check_digest(blueprint.directory, self.settings.model_digest, self.digest or "")
            else:
                fingerprint.start()
            from reranker_runtime.engine.scorer import Scorer  # noqa: PLC0415 - imports torch: seconds

            scorer = Scorer(blueprint, self.settings)
            tell(self.enter, Phase.WARMING_UP)
            pool = Pool(scorer, self.settings.max_rows)
            pool.warm_up()
            seconds = time.monotonic() - begin
            log.info(
                "ready after %.1f s: %s (%s) on %s in %s, %d workers of %d tokens, "
                "%d tokens a sequence, about %d tokens/s",
                seconds, blueprint.architecture, blueprint.family, scorer.device, scorer.dtype,
                scorer.hardware.workers, scorer.hardware.batch_tokens, scorer.limit, pool.rate,
            )  # fmt: skip
            tell(loaded.set_result, (scorer, pool))
        except RerankerError as error:
            tell(loaded.set_exception, error)
        except Exception as error:  # a library's own failure is still one line for the person
            log.debug("loading failed", exc_info=True)
            problem = ModelError(
                Reason.LOAD_FAILED,
                f"cannot load the model in {self.settings.model_path}: {type(error).__name__}: {_first_line(error)}; "
                "NIM_LOG_LEVEL=debug logs the details",
            )
            tell(loaded.set_exception, problem)

    def _fingerprint(self, blueprint: Blueprint) -> None:
        try:
            self.digest = digest(blueprint.directory, blueprint.files)
        except ModelError as error:
            log.warning("no digest: %s", error)

    def check_ready(self) -> None:
        """Raises `Unavailable` while nothing is ranked; asked before a body is read, too."""
        if self.phase is not Phase.READY:
            self.metrics.refused.labels("not_ready").inc()
            raise not_ready(self.phase, self.message)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Around the rankings of one request, whose end a stop waits for and whose refusal is counted.

        Raises `Unavailable` unless ready.
        """
        self.check_ready()
        self._running += 1
        self._idle.clear()
        self.metrics.running.set(self._running)
        try:
            yield
        except Unavailable as error:
            self.metrics.refused.labels(error.cause).inc()
            raise
        finally:
            self._running -= 1
            self.metrics.running.set(self._running)
            if not self._running:
                self._idle.set()

    async def rank(
        self, ask: Ask, times: Times, charge: Callable[[Plan], None], first: Times | None, parts: Sequence[Ask]
    ) -> Scores:
        """One ranking of a request that is `running`, counted; raises `RequestError`. The rest is the queue's."""
        scores = await self._queued.rank(ask, times, charge, first, parts)
        self.metrics.count(scores.plan, times)
        return scores

    @property
    def _queued(self) -> Queue:
        if self._queue is None:
            raise RuntimeError("ready without a queue")
        return self._queue

    async def drain(self) -> None:
        """Stop taking work; return when what runs is finished, or was answered 503 because the grace ran out."""
        self.enter(Phase.STOPPING)
        try:
            async with asyncio.timeout(self.settings.grace):
                await self._idle.wait()
        except TimeoutError:
            log.warning("stopping: %d requests were not done within %g s", self._running, self.settings.grace)
            self._queued.close()


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0]
