"""One leader among several operators, by a `Lease`: the official client's election, made safe to lean on.

The client's loop ends at the first lost connection and keeps its lease when the process stops. Here a lost connection
is one failed renewal among several allowed, and a stopping leader gives its lease back so that the next one need not
wait for it to run out.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import aiohttp
from kubernetes.aio import client
from kubernetes.aio.leaderelection.electionconfig import Config
from kubernetes.aio.leaderelection.leaderelection import LeaderElection
from kubernetes.aio.leaderelection.leaderelectionrecord import LeaderElectionRecord
from kubernetes.aio.leaderelection.resourcelock.leaselock import LeaseLock

_ATTEMPT_SECONDS = 5.0
_RELEASE_TRIES = 3

_log = logging.getLogger(__name__)
_Answer = TypeVar("_Answer")


class _Lock(LeaseLock):
    """A lease lock to which an unreachable API server is a failed attempt."""

    attempt_seconds = _ATTEMPT_SECONDS
    renewed = 0.0
    """Start of the last successful write, by the monotonic clock: the lease is ours from then on."""

    async def get(self, name: str, namespace: str) -> tuple[bool, Any]:
        return await self._attempt(super().get(name, namespace), lambda error: (False, _unreachable(error)))

    async def create(self, name: str, namespace: str, election_record: LeaderElectionRecord) -> bool:
        lease = client.V1Lease(metadata=client.V1ObjectMeta(name=name), spec=self.update_lease(election_record))
        return await self._attempt(self._create(namespace, lease), lambda _error: False)

    async def update(self, name: str, namespace: str, updated_record: LeaderElectionRecord) -> bool:
        begun = time.monotonic()
        updated = await self._attempt(super().update(name, namespace, updated_record), lambda _error: False)
        if updated:
            self.renewed = begun
        return updated

    async def _create(self, namespace: str, lease: client.V1Lease) -> bool:
        # kubernetes 37.0.2 passes pretty=True here, which its own request validation refuses.
        begun = time.monotonic()
        try:
            await self.api_instance.create_namespaced_lease(namespace, lease)
        except client.ApiException as error:
            _log.warning("lease %s/%s was not created: %s", namespace, self.name, error.reason)
            return False
        self.renewed = begun
        return True

    async def _attempt(self, call: Awaitable[_Answer], failed: Callable[[Exception], _Answer]) -> _Answer:
        try:
            async with asyncio.timeout(self.attempt_seconds):
                return await call
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            _log.warning("lease %s: the API server cannot be reached: %s", self.name, error or type(error).__name__)
            return failed(error)


class Election:
    """Runs for leader until it leads; `lost` ends when leadership is lost."""

    def __init__(self, api: client.ApiClient, namespace: str, name: str, identity: str, lease_seconds: int) -> None:
        self.leading = asyncio.Event()
        self._lock = _Lock(name, namespace, identity, api)
        self._lock.attempt_seconds = min(_ATTEMPT_SECONDS, lease_seconds / 4)
        self._trust_seconds = lease_seconds * 0.8
        renew_within, retry = lease_seconds * 2 / 3, max(1.0, lease_seconds / 7.5)
        config = Config(self._lock, lease_seconds, renew_within, retry, self._started, self._stopped)
        self._election = LeaderElection(config)

    async def run(self) -> None:
        """Stand for election; returns when leadership, once won, is lost.

        The client counts its deadline from before a renewal and asks no clock during one, so an API server that hangs
        could leave two leaders: `_guard` ends ours while the lease still holds the others back.
        """
        tasks = {asyncio.create_task(self._election.run()), asyncio.create_task(self._guard())}
        try:
            ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                task.result()
        finally:
            for task in tasks:
                task.cancel()

    async def _guard(self) -> None:
        await self.leading.wait()
        while True:
            left = self._lock.renewed + self._trust_seconds - time.monotonic()
            if left <= 0:
                return
            await asyncio.sleep(left)

    async def release(self) -> None:
        """Give the lease back, so that another operator can take over at once."""
        if not self.leading.is_set():
            return
        for _ in range(_RELEASE_TRIES):
            if await self._release():
                return
        _log.warning("lease %s: not given back, another operator waits until it runs out", self._lock.name)

    async def _release(self) -> bool:
        """Whether the lease is no longer ours; a renewal that was under way may come between reading and writing."""
        held, record = await self._lock.get(self._lock.name, self._lock.namespace)
        lease = self._lock.lease_reference
        if not held or lease is None or lease.spec is None:
            return False
        if record.holder_identity != self._lock.identity:
            return True
        lease.spec.holder_identity = ""
        try:
            await self._lock.api_instance.replace_namespaced_lease(self._lock.name, self._lock.namespace, lease)
        except (client.ApiException, aiohttp.ClientError, OSError) as error:
            _log.info("lease %s: not given back yet: %s", self._lock.name, error)
            return False
        return True

    async def _started(self) -> None:
        self.leading.set()

    async def _stopped(self) -> None:
        self.leading.clear()


def _unreachable(error: Exception) -> client.ApiException:
    return client.ApiException(status=0, reason=str(error) or type(error).__name__)
