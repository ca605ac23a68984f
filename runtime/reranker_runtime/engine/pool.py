"""The threads that score: one queue, many workers, each with a batch of its own.

One for each core of a CPU, each with a single torch thread, because one matrix split over cores wastes most of them;
two for each GPU, so that one prepares while the other computes.
"""

from __future__ import annotations

import contextvars
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Final

from reranker_runtime.engine.rows import Ask, Passage, Plan, Scores, Truncate
from reranker_runtime.engine.scheduler import Piece, Scheduler, Work
from reranker_runtime.errors import RequestError, ScoringFailed

if TYPE_CHECKING:  # torch is behind these; the HTTP side must be importable without it
    from torch import Tensor

    from reranker_runtime.engine.scorer import Scorer
    from reranker_runtime.nets.layout import Prefix

CPU_WARM_UP_TOKENS: Final = 128
RATE_MEMORY: Final = 0.9
"""How much of the measured rate is kept when a batch adds its own."""
log = logging.getLogger(__name__)


class Job:
    """One request inside the pool."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.future: Future[Scores] = Future()
        self.work: Work[Job] = Work(self, plan.costs)
        self.prefix: Prefix | None = None
        self.outputs: dict[int, Tensor] = {}
        self.started: float | None = None
        """When its first row was taken, by the monotonic clock."""
        self.queued = time.monotonic()
        self.answered = False
        self.context = contextvars.copy_context()
        """The request's: what is logged about it carries its id."""


class Pool:
    """Owns the scoring threads. Any thread may submit and drop."""

    def __init__(self, scorer: Scorer, max_rows: int | None = None) -> None:
        self._scorer = scorer
        hardware = scorer.hardware
        self._scheduler: Scheduler[Job] = Scheduler(hardware.batch_tokens, hardware.workers, max_rows)
        self._change = threading.Condition()
        self._workers, self._budget, self._max_rows = hardware.workers, hardware.batch_tokens, max_rows
        self._rate = 0.0
        self._ended = False
        self.on_batch: Callable[[int, int, float], None] = lambda *_: None
        self.on_start: Callable[[float], None] = lambda _: None
        # Daemons: a batch that hangs in a driver must not keep a stopped process alive.
        self._threads = [
            threading.Thread(target=self._run, args=(worker,), name=f"score-{worker}", daemon=True)
            for worker in range(self._workers)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Tokens not yet taken by a worker."""
        with self._change:
            return self._scheduler.tokens

    @property
    def rate(self) -> float:
        """Tokens per second that all workers score together, as measured; 0 before the first batch."""
        return self._rate

    @property
    def backlog(self) -> float:
        """Seconds that all workers need for what waits now; 0 while nothing was measured."""
        return self.waiting / self._rate if self._rate else 0.0

    def seconds(self, tokens: int) -> float:
        """How long a request of so many tokens would take if it came now; 0 while nothing was measured."""
        with self._change:
            ahead = self._scheduler.ahead(tokens)
        return (ahead + tokens) / self._rate if self._rate else 0.0

    def submit(self, plan: Plan) -> Job:
        """Queue a plan; its future holds the scores, or a `RequestError`."""
        job = Job(plan)
        with self._change:
            self._scheduler.add(job.work)
            self._change.notify_all()
        return job

    def drop(self, job: Job) -> None:
        """Nobody waits for it any more: what is not being scored this moment never will be."""
        with self._change:
            self._scheduler.drop(job.work)
            job.future.cancel()

    def fail(self, job: Job, error: RequestError) -> None:
        """Answer a job with an error, unless it has an answer."""
        with self._change:
            self._scheduler.drop(job.work)
        if self._claim(job):
            job.future.set_exception(error)

    def rank(self, query: str, texts: Sequence[str], truncate: Truncate = Truncate.NONE) -> Scores:
        """Plan and score in one call, for whoever has no event loop."""
        return self.submit(self._scorer.plan(Ask(query, [Passage(text) for text in texts], truncate))).future.result()

    def warm_up(self) -> None:
        """Rankings that touch every layer, at a short and a great length, and then enough to measure the rate."""
        limit = self._scorer.limit
        # On a GPU what does not fit shows here and not in a request; on a CPU the longest rows would only take long.
        longest = limit if self._scorer.hardware.on_gpu else min(limit, CPU_WARM_UP_TOKENS)
        self.rank("warm up", ["a passage", "a passage " * longest], Truncate.END)
        self._rate = 0.0
        self.rank("warm up", [f"passage {n} " * (4 + n) for n in range(8 * self._workers)], Truncate.END)

    def end(self) -> None:
        """Let the threads finish their batches and stop."""
        with self._change:
            self._ended = True
            self._change.notify_all()
        for thread in self._threads:
            thread.join()

    def _run(self, worker: int) -> None:
        import torch  # noqa: PLC0415 - imported long since: it is the scorer's

        torch.set_num_threads(self._scorer.hardware.threads)  # of this thread
        while (pieces := self._next()) is not None:
            self._attempt(pieces, worker)
            del pieces  # a worker that waits keeps no request's images or prefix

    def _attempt(self, pieces: Sequence[Piece[Job]], worker: int) -> None:
        if self._scored(pieces, worker):
            for piece in pieces:
                self._finish(piece.work.owner)
        elif len(pieces) > 1:  # the others in the batch shall not suffer for one
            for piece in pieces:
                self._attempt([piece], worker)

    def _scored(self, pieces: Sequence[Piece[Job]], worker: int) -> bool:
        """Whether it went well; a failure is the request's where it was alone.

        Returning ends the error, whose frames hold whatever the failed batch had on the device.
        """
        try:
            self._score(pieces, worker)
        except Exception as error:  # noqa: BLE001 - the thread must outlive whatever one request provokes
            if len(pieces) == 1:
                job = pieces[0].work.owner
                self.fail(job, _known(error, job))
            return False
        return True

    def _next(self) -> list[Piece[Job]] | None:
        with self._change:
            while not self._ended:
                pieces = self._scheduler.take()
                now = time.monotonic()
                for piece in pieces:
                    job = piece.work.owner
                    if job.started is None:
                        job.started = now
                        self.on_start(now - job.queued)
                    piece.work.held = bool(job.plan.prefix) and job.prefix is None
                if pieces:
                    return pieces
                self._change.wait()
        return None

    def _score(self, pieces: Sequence[Piece[Job]], worker: int) -> None:
        begin = time.monotonic()
        for piece in pieces:
            if piece.work.owner.plan.prefix and piece.work.owner.prefix is None:
                self._compute_prefix(piece.work, worker)
        jobs = [(piece.work.owner, row) for piece in pieces for row in piece.rows]
        rows = [job.plan.rows[row] for job, row in jobs]
        outputs = self._scorer.forward(rows, [job.prefix for job, _ in jobs], worker)
        seconds = time.monotonic() - begin
        self.on_batch(len(rows), sum(len(row.ids) for row in rows), seconds)
        self._measure(len(rows), sum(job.work.lengths[row] for job, row in jobs), seconds)
        for (job, row), output in zip(jobs, outputs, strict=True):
            job.outputs[row] = output

    def _compute_prefix(self, work: Work[Job], worker: int) -> None:
        job = work.owner
        try:
            job.prefix = self._scorer.prefix(job.plan.prefix, worker)
        finally:
            with self._change:
                work.held = False
                self._change.notify_all()

    def _finish(self, job: Job) -> None:
        if len(job.outputs) < len(job.plan.rows) or not self._claim(job):
            return
        try:
            scores = self._scorer.finish(job.plan, job.outputs)
        except Exception as error:  # noqa: BLE001 - as in _scored: the thread lives on
            job.future.set_exception(_known(error, job))
        else:
            job.future.set_result(scores)

    def _claim(self, job: Job) -> bool:
        """Whether this thread is the one to answer: two may have scored a request's last rows, or nobody waits."""
        with self._change:
            first, job.answered = not job.answered, True
            return first and job.future.set_running_or_notify_cancel()

    def _measure(self, rows: int, tokens: int, seconds: float) -> None:
        rate = self._workers * tokens / max(seconds, 1e-6)
        # A small batch is slow for its size, and says nothing of how soon a long queue would be done.
        full = 2 * tokens >= self._budget or rows == self._max_rows
        if not self._rate:
            self._rate = rate
        elif full or rate > self._rate:
            self._rate = RATE_MEMORY * self._rate + (1 - RATE_MEMORY) * rate


def _known(error: Exception, job: Job) -> RequestError:
    """What the caller may be told; what nobody foresaw is logged in full."""
    if isinstance(error, RequestError):
        return error.with_traceback(None)  # see _scored: the answer may be waited for while the next batch runs
    # A copy: another worker may be in the same request's context, and no two threads can be.
    job.context.copy().run(log.error, "scoring failed", exc_info=error)
    return ScoringFailed(f"scoring failed ({type(error).__name__}); the server's log has the details")
