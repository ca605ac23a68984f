"""The queue and the scoring thread: bounded, fair between requests, and quick to forget who left.

Requests wait in order. A few are active at once and take turns batch by batch. Beside these, a waiting request is let
in early while fewer than those few are as small as it, so that a small one never waits behind the whole of large ones;
a large one that is first in line still gets the next free place. A request whose caller left or whose time ran out is
dropped before its next batch.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from reranker_runtime.engine.tokenise import Plan, Truncate
from reranker_runtime.errors import RequestError, ScoringFailed, TimedOut, Unavailable
from reranker_runtime.metrics import Metrics
from reranker_runtime.settings import Settings

if TYPE_CHECKING:  # torch is behind these; the HTTP side must be importable without it
    from torch import Tensor

    from reranker_runtime.engine.scorer import Scorer, Scores

ACTIVE: Final = 4
log = logging.getLogger(__name__)


class Job:
    """One request inside the scoring thread. The future belongs to the event loop."""

    def __init__(self, plan: Plan, batches: Sequence[list[int]], future: asyncio.Future[Scores]) -> None:
        self.plan = plan
        self.batches = deque(batches)
        self.remaining = sum(self.tokens(batch) for batch in batches)
        self.outputs: dict[int, Tensor] = {}
        self.future = future
        self.started = False
        self.queued_at = time.monotonic()

    def tokens(self, batch: list[int]) -> int:
        return sum(len(self.plan.rows[n].ids) for n in batch)


class Worker:
    """Owns the thread that calls the model; everything else about it runs in the event loop."""

    def __init__(self, scorer: Scorer, settings: Settings, metrics: Metrics) -> None:
        self._scorer, self._settings, self._metrics = scorer, settings, metrics
        self._loop = asyncio.get_running_loop()
        self._tokenizers = ThreadPoolExecutor(settings.tokenizers, thread_name_prefix="tokenise")
        self._waiting: deque[Job] = deque()
        self._active: deque[Job] = deque()
        self._tokenising = 0
        self._change = threading.Condition()
        # Asked when read: the scoring thread takes requests off the queue without a word to the event loop.
        metrics.queued.set_function(lambda: self._tokenising + len(self._waiting))
        # A daemon: a batch that hangs in a driver must not keep a stopped process alive.
        threading.Thread(target=self._run, name="score", daemon=True).start()

    async def rank(self, query: str, passages: Sequence[str], truncate: Truncate) -> Scores:
        """Tokenise, queue, score; raises `RequestError`. Cancelling the caller's task takes the request out."""
        if self._tokenising + len(self._waiting) >= self._settings.max_queue:
            self._metrics.refused.labels("queue_full").inc()
            raise Unavailable(
                f"the queue is full ({self._settings.max_queue} requests are waiting); try again shortly",
                cause="queue_full",
            )
        try:
            async with asyncio.timeout(self._settings.request_timeout):
                return await self._queue(query, passages, truncate)
        except TimeoutError:
            raise TimedOut(
                f"the request took longer than {self._settings.request_timeout:g} seconds and was given up; "
                "send fewer passages, or raise NIM_REQUEST_TIMEOUT_S"
            ) from None

    async def _queue(self, query: str, passages: Sequence[str], truncate: Truncate) -> Scores:
        latest = self._loop.time() + self._settings.max_queue_seconds
        self._tokenising += 1
        try:
            async with asyncio.timeout_at(latest):
                plan = await self._loop.run_in_executor(self._tokenizers, self._scorer.plan, query, passages, truncate)
        except TimeoutError:
            raise self._waited_too_long() from None
        finally:
            self._tokenising -= 1
        job = Job(plan, self._scorer.batches(plan), self._loop.create_future())
        with self._change:
            self._waiting.append(job)
            self._change.notify()
        timer = self._loop.call_at(latest, self._expire, job)
        try:
            return await job.future
        finally:
            timer.cancel()
            self._forget(job)

    def _expire(self, job: Job) -> None:
        if not job.started and not job.future.done():
            job.future.set_exception(self._waited_too_long())

    def _waited_too_long(self) -> Unavailable:
        self._metrics.refused.labels("queue_timeout").inc()
        return Unavailable(
            f"the request waited {self._settings.max_queue_seconds:g} seconds and was not started; "
            "try again later, or add replicas",
            cause="queue_timeout",
            retry_after=max(1, round(self._settings.max_queue_seconds)),
        )

    def _forget(self, job: Job) -> None:
        with self._change:
            if job in self._waiting:
                self._waiting.remove(job)

    def _run(self) -> None:
        while True:
            job = self._next()
            if job.future.done():  # cancelled, expired or timed out: reading this flag needs no lock
                continue
            try:
                scores = self._score_one_batch(job)
            except RequestError as error:
                self._tell(job, job.future.set_exception, error)
            except Exception as error:  # the thread must outlive whatever one request provokes
                log.exception("scoring failed")
                message = f"scoring failed ({type(error).__name__}); the server's log has the details"
                self._tell(job, job.future.set_exception, ScoringFailed(message))
            else:
                if scores is not None:
                    self._tell(job, job.future.set_result, scores)
                else:
                    self._active.append(job)

    def _next(self) -> Job:
        with self._change:
            while not self._active and not self._waiting:
                self._change.wait()
            while self._waiting and len(self._active) < ACTIVE:
                self._start(self._waiting[0])
            for job in list(self._waiting):
                if sum(active.remaining <= job.remaining for active in self._active) < ACTIVE:
                    self._start(job)
            return self._active.popleft()

    def _start(self, job: Job) -> None:
        self._waiting.remove(job)
        job.started = True
        self._metrics.queue_seconds.observe(time.monotonic() - job.queued_at)
        self._active.append(job)

    def _score_one_batch(self, job: Job) -> Scores | None:
        batch = job.batches.popleft()
        begin = time.monotonic()
        job.outputs |= self._scorer.forward(job.plan, batch)
        self._metrics.batch_seconds.observe(time.monotonic() - begin)
        tokens = job.tokens(batch)
        job.remaining -= tokens
        self._metrics.batch_tokens.observe(tokens)
        return None if job.batches else self._scorer.finish(job.plan, job.outputs)

    def _tell(self, job: Job, do: Callable[[Any], None], value: Any) -> None:
        def tell() -> None:
            if not job.future.done():
                do(value)

        try:
            self._loop.call_soon_threadsafe(tell)
        except RuntimeError:  # the loop is closed: the process is ending and nobody listens
            log.debug("a score came after the end")
