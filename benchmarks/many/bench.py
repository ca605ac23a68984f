"""What every figure needs: the cluster, its API, the operator's process and what it says of itself."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from prometheus_client.parser import text_string_to_metric_families

from localkube.api import Api
from localkube.cluster import Cluster
from localkube.operator_process import OperatorProcess
from localkube.progress import Say
from many.processes import quiet

Json = dict[str, Any]
T = TypeVar("T")

CONCURRENCY = 8
CALM_CALLS = 5.0
"""Calls a second below which the operator does nothing but look now and then."""
CALM_SECONDS = 3.0
DRAIN_SECONDS = 240.0
_LOOK_SECONDS = 0.25


@dataclass(frozen=True)
class Said:
    """What the operator's metrics say at one moment."""

    at: float
    depth: int
    rounds: int
    calls: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By verb and kind."""

    @property
    def writes(self) -> Counter[tuple[str, str]]:
        return Counter({key: count for key, count in self.calls.items() if key[0] != "GET"})


@dataclass
class Bench:
    """One cluster, and how many services."""

    cluster: Cluster
    api: Api
    folder: Path
    say: Say
    count: int
    replicas: int = 0

    def plane(self) -> dict[str, int]:
        """The control plane's processes."""
        return {child.name: child.process.pid for child in self.cluster.control_plane.children}

    async def drain(self, what: str) -> None:
        """Wait until the control plane has worked off what is behind `what`: the next measurement begins fresh."""
        self.say(f"waiting for the control plane to be quiet after {what}")
        if not await quiet(self.plane().values(), DRAIN_SECONDS):
            self.say(f"the control plane is still busy after {DRAIN_SECONDS:.0f} s; going on")

    async def remove_namespace(self, name: str) -> None:
        """Delete a namespace with all that is in it."""
        self.say(f"removing namespace {name}")
        path = f"/api/v1/namespaces/{name}"
        await self.api.delete(path)
        await asyncio.to_thread(self.cluster.portal.wait, path, lambda item: item is None, timeout=600, what=path)


class Operator:
    """The operator's process."""

    def __init__(self, bench: Bench, arguments: Sequence[str] = ()) -> None:
        self.bench = bench
        self.process = OperatorProcess(bench.cluster, bench.folder / "operator", arguments=arguments)

    @property
    def pid(self) -> int:
        return self.process.child.process.pid

    async def start(self) -> None:
        """Start, and wait until it is ready."""
        await asyncio.to_thread(self.process.start)

    async def stop(self) -> None:
        await asyncio.to_thread(self.process.stop)

    async def said(self) -> Said:
        """Its metrics, read."""
        text = await asyncio.to_thread(self.process.metrics)
        depth = rounds = 0
        calls: Counter[tuple[str, str]] = Counter()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == "reranker_operator_queue_depth":
                    depth = int(sample.value)
                elif sample.name == "reranker_operator_reconcile_seconds_count":
                    rounds = int(sample.value)
                elif sample.name == "reranker_operator_api_calls_total":
                    calls[sample.labels["verb"], sample.labels["kind"]] += int(sample.value)
        return Said(time.monotonic(), depth, rounds, calls)

    async def calm(self, seconds: float, rounds: int = 0) -> Said:
        """Wait until so many rounds are done, the queue is empty and (nearly) no calls are made any more.

        Returns what was said at the beginning of that calm. Raises TimeoutError.
        """
        deadline = time.monotonic() + seconds
        begin = await self.said()
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            now = await self.said()
            passed = now.at - begin.at
            if (
                now.depth
                or now.rounds < rounds
                or now.calls.total() - begin.calls.total() > CALM_CALLS * max(passed, 1)
            ):
                begin = now
            elif passed >= CALM_SECONDS:
                return begin
            if now.at > deadline:
                raise TimeoutError(
                    f"waited {seconds:.0f} s for the operator to be calm; {now.rounds} rounds done, {now.depth} waiting"
                )


async def each(items: Iterable[T], work: Callable[[T], Awaitable[None]], concurrency: int = CONCURRENCY) -> None:
    """Do `work` for all items, some at the same time."""
    left = iter(items)

    async def one() -> None:
        for item in left:
            await work(item)

    await asyncio.gather(*(one() for _ in range(concurrency)))
