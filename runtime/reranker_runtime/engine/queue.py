"""A request's way to its scores: admitted or refused early, tokenised off the event loop, scored, or given up.

Everything here runs in the event loop, except tokenising and scoring themselves.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from reranker_runtime.engine.errand import Abandoned, Errand
from reranker_runtime.engine.estimate import whole
from reranker_runtime.engine.pool import Job, Pool
from reranker_runtime.engine.rows import Ask, Plan, Scores
from reranker_runtime.errors import TimedOut, Unavailable
from reranker_runtime.metrics import Metrics
from reranker_runtime.settings import Settings

if TYPE_CHECKING:  # torch is behind this; the HTTP side must be importable without it
    from reranker_runtime.engine.scorer import Scorer


LONG: Final = 2_000_000
"""Characters of a request that take about a second to tokenise."""
IMAGE_BYTES: Final = 4 << 30
"""Of images that wait as pixels; one request alone may have as many as its planner allows."""
LOOK_SECONDS: Final = 0.01
"""Between two looks for room: workers take rows without a word to the event loop."""


@dataclass(slots=True)
class Times:
    """How far a request came, and when, by the monotonic clock in seconds; None: it never did."""

    begun: float = field(default_factory=time.monotonic)
    tokenised: float | None = None
    started: float | None = None
    """When its first row was taken by a worker."""
    scored: float | None = None


def free(_: Plan) -> None:
    """Where nobody counts."""


def refused(cause: str, message: str, retry_after: float = 1.0) -> Unavailable:
    """The error to raise; `Service.running` counts it, once for a request of however many parts."""
    return Unavailable(message, cause=cause, retry_after=max(1, math.ceil(retry_after)))


def full(settings: Settings) -> Unavailable:
    return refused("queue_full", f"the queue is full ({settings.max_queue} requests are waiting); try again shortly")


def given_up(settings: Settings) -> TimedOut:
    return TimedOut(
        f"the request took longer than {settings.request_timeout:g} seconds and was given up; "
        "send fewer passages, or raise NIM_REQUEST_TIMEOUT_S"
    )


def stopping() -> Unavailable:
    return refused("stopping", "the server stopped before the request was done; ask another replica")


class Queue:
    """Bounded in requests, in tokens and in time."""

    def __init__(self, scorer: Scorer, pool: Pool, settings: Settings, metrics: Metrics) -> None:
        self._scorer, self._pool, self._settings, self._metrics = scorer, pool, settings, metrics
        self._loop = asyncio.get_running_loop()
        self._tokenizers = ThreadPoolExecutor(settings.tokenizers, thread_name_prefix="tokenise")
        self._long_texts = ThreadPoolExecutor(1, thread_name_prefix="tokenise-long")
        self._images = ThreadPoolExecutor(settings.tokenizers, thread_name_prefix="see")
        self._turns = {
            self._tokenizers: asyncio.Semaphore(settings.tokenizers),
            self._long_texts: asyncio.Semaphore(1),
            self._images: asyncio.Semaphore(settings.tokenizers),
        }
        """Of parts that are let in whatever they hold: as many as the threads work at."""
        self._errands: set[Errand] = set()
        """Of the requests that are being tokenised."""
        self._closed = False
        self._jobs: set[Job] = set()
        # Asked when read: workers take rows without a word to the event loop.
        metrics.queued.set_function(lambda: self._waiting)
        metrics.queued_tokens.set_function(lambda: pool.waiting)
        metrics.rate.set_function(lambda: pool.rate)
        metrics.wait.set_function(lambda: pool.backlog)
        pool.on_batch = self._count_batch
        pool.on_start = metrics.queue_seconds.observe

    @property
    def _waiting(self) -> int:
        return len(self._errands) + sum(job.started is None for job in list(self._jobs))

    def _count_batch(self, rows: int, tokens: int, seconds: float) -> None:
        self._metrics.batch_rows.observe(rows)
        self._metrics.batch_tokens.observe(tokens)
        self._metrics.batch_seconds.observe(seconds)
        self._metrics.batch_fill.observe(tokens / self._scorer.hardware.batch_tokens)

    async def rank(
        self,
        ask: Ask,
        times: Times | None = None,
        charge: Callable[[Plan], None] = free,
        first: Times | None = None,
        parts: Sequence[Ask] = (),
    ) -> Scores:
        """Tokenise, queue, score; raises `RequestError`. Cancelling the caller's task takes the request out.

        `times` is told how far it came; `charge` may refuse what was tokenised by raising. `first` is of the part with
        which the same request was let in: its time runs from then, and it is not refused for a wait any more. `parts`
        are all of that request's, this one among them; none where it is whole.
        """
        if first is None and self._waiting >= self._settings.max_queue:
            raise full(self._settings)
        times = times or Times()
        left = (first or times).begun + self._settings.request_timeout - time.monotonic()
        try:
            async with asyncio.timeout(left):
                return await self._score(ask, times, charge, parts, admitted=first is not None)
        except TimeoutError:
            raise given_up(self._settings) from None

    async def _score(
        self, ask: Ask, times: Times, charge: Callable[[Plan], None], parts: Sequence[Ask], *, admitted: bool
    ) -> Scores:
        latest = None if admitted else self._loop.time() + self._settings.max_queue_seconds
        threads = self._threads(ask)
        errand = Errand(self._metrics.tokenised.inc)
        self._errands.add(errand)
        try:
            async with self._turns[threads] if admitted else nullcontext():
                if admitted:
                    await self._room(pictured=ask.pictured)
                async with asyncio.timeout_at(latest):
                    plan = await self._loop.run_in_executor(threads, errand.run, self._scorer.plan, ask)
                times.tokenised = time.monotonic()
                if self._closed:
                    raise stopping()
                if not admitted:
                    self._make_room(plan)
                    self._admit(plan, ask, parts)
                charge(plan)
                job = self._pool.submit(plan)
        except TimeoutError:
            raise self._waited_too_long() from None
        except Abandoned:
            raise stopping() from None
        finally:
            errand.abandon()  # a thread that is still at it stops at the next part of the texts
            self._errands.discard(errand)
        self._jobs.add(job)
        future = asyncio.wrap_future(job.future)
        timer = None if latest is None else self._loop.call_at(latest, self._expire, job)
        try:
            return await future
        finally:
            if timer is not None:
                timer.cancel()
            times.started, times.scored = job.started, time.monotonic()
            self._jobs.discard(job)
            self._pool.drop(job)

    def _threads(self, ask: Ask) -> ThreadPoolExecutor:
        """What takes seconds has threads of its own: two such requests would be in everybody's way."""
        if ask.pictured:
            return self._images
        return self._tokenizers if ask.letters < LONG else self._long_texts

    async def _room(self, *, pictured: bool) -> None:
        """Wait until no more waits than may, for a part of a request that was let in.

        To refuse it would throw away what was ranked of the request, or refuse one part for its siblings. So the queue
        holds more than its bounds by what `_turns` allow, and never by a part of every request that was let in.
        """
        most = self._settings.max_queue_tokens
        while self._pool.waiting > most or (pictured and self._held > IMAGE_BYTES):  # noqa: ASYNC110 - see there
            await asyncio.sleep(LOOK_SECONDS)

    @property
    def _held(self) -> int:
        """Bytes of the images that wait or are being scored."""
        return sum(job.plan.image_bytes for job in self._jobs)

    def _make_room(self, plan: Plan) -> None:
        """Refuse what would make the queue too large; an empty one takes any."""
        waiting, work = self._pool.waiting, plan.work
        if not waiting:
            return
        # Text holds nothing: only who brings images asks what the others hold.
        held = self._held if plan.image_bytes else 0
        if plan.image_bytes and held + plan.image_bytes > IMAGE_BYTES:
            raise refused(
                "queue_images",
                f"the queue is full ({held >> 20} MiB of images are waiting, this request has "
                f"{plan.image_bytes >> 20}); try again shortly",
                self._pool.backlog,
            )
        if waiting + work > self._settings.max_queue_tokens:
            raise refused(
                "queue_tokens",
                f"the queue is full ({waiting} of {self._settings.max_queue_tokens} tokens are waiting, this request "
                f"has {work}); try again shortly",
                self._pool.backlog,
            )

    def _admit(self, plan: Plan, ask: Ask, parts: Sequence[Ask]) -> None:
        """Refuse now what could not be served in time; an empty queue takes any.

        The rate is measured by what is scored. One that fell meanwhile must not shut the door on what would raise it.
        """
        rate, limit = self._pool.rate, self._settings.request_timeout
        if not rate or not self._pool.waiting:
            return
        alone = whole(plan, ask, parts, self._scorer.limit) / rate
        if alone > limit:
            raise refused(
                "estimated_time",
                f"the request alone would take about {alone:.0f} seconds where {limit:g} are allowed, and is tried "
                "only when nothing waits: send fewer passages, or raise NIM_REQUEST_TIMEOUT_S",
                self._pool.backlog,
            )
        own = plan.work / rate
        wait = self._pool.seconds(plan.work) - own
        done = wait + alone
        if wait > self._settings.max_queue_seconds or done > limit:
            raise refused(
                "estimated_wait",
                f"the request would wait about {wait:.0f} seconds and be answered after {done:.0f} "
                f"(allowed: {self._settings.max_queue_seconds:g} and {limit:g}); "
                "try again later, or add replicas",
                wait,
            )

    def close(self) -> None:
        """Answer whatever is not done: the process is about to end."""
        self._closed = True
        for errand in self._errands:
            errand.abandon()
        for job in list(self._jobs):
            self._pool.fail(job, stopping())

    def _expire(self, job: Job) -> None:
        if job.started is None and not job.future.done():
            self._pool.fail(job, self._waited_too_long())

    def _waited_too_long(self) -> Unavailable:
        limit = self._settings.max_queue_seconds
        return refused(
            "queue_timeout",
            f"the request waited {limit:g} seconds and was not started; try again later, or add replicas",
            limit,
        )
