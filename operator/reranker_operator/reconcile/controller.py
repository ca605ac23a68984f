"""The loop around the rounds: workers that take keys from the queue, retry what failed and look again in time."""

import asyncio
import logging
import random
import time
from collections.abc import Callable

from reranker_operator.kube import KubeError
from reranker_operator.metrics import Metrics
from reranker_operator.reconcile.queue import KeyQueue
from reranker_operator.reconcile.reconciler import RESYNC_SECONDS, Key, Reconciler

_log = logging.getLogger(__name__)


class Controller:
    """Runs rounds for keys, `workers` at the same time. `clock` gives seconds."""

    def __init__(
        self,
        reconciler: Reconciler,
        queue: KeyQueue[Key],
        metrics: Metrics,
        workers: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.queue = queue
        self._clock = clock
        self._reconciler = reconciler
        self._metrics = metrics
        self._workers = workers
        self._begun: dict[Key, float] = {}

    def longest_wait(self) -> float:
        """Seconds for which the service that has waited longest is due."""
        return self.queue.oldest_wait()

    def longest_round(self) -> float:
        """Seconds for which the round that began first runs."""
        return self._clock() - min(self._begun.values()) if self._begun else 0.0

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._workers):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            key = await self.queue.get()
            succeeded = False
            self._begun[key] = self._clock()
            try:
                succeeded = await self._round(key)
            finally:
                del self._begun[key]
                self.queue.done(key, succeeded=succeeded)

    async def _round(self, key: Key) -> bool:
        name = "/".join(key)
        try:
            with self._metrics.reconcile_seconds.time():
                outcome = await self._reconciler.reconcile(key)
        except KubeError as error:
            _log.warning("%s: will be tried again: %s", name, error, extra={"service": name})
            self._metrics.reconcile_errors.labels(type(error).__name__).inc()
            self.queue.retry(key, error.retry_after)
            return False
        except Exception:  # noqa: BLE001
            # A fault of ours must not end the loop for everybody else's services.
            _log.exception("%s: will be tried again after a fault in the operator", name, extra={"service": name})
            self._metrics.reconcile_errors.labels("Fault").inc()
            self.queue.retry(key)
            return False
        self._metrics.report(key, outcome.conditions, outcome.probe)
        if outcome.conditions:
            jittered = RESYNC_SECONDS * (1 + random.random() / 4)  # noqa: S311 only spreads load  # nosec B311
            self.queue.add(key, min(jittered, outcome.again_in if outcome.again_in is not None else jittered))
        return True
