"""Figures 2 and 3: an operator with nothing to do, at its start and afterwards, leaves everything as it is."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from many import documents
from many.bench import Bench, Operator
from many.feed import Feed
from many.processes import cpu_seconds, memory, quiet
from reranker_operator.desired.metadata import FIELD_MANAGER

Json = dict[str, Any]

SETTLE_SECONDS = 900.0
RESTART_SECONDS = 300.0
_REPLICA_SETS = "/apis/apps/v1/namespaces/{}/replicasets"
_EVENTS = "/api/v1/namespaces/{}/events"


@dataclass
class Restart:
    """Ready -> calm, by a process that found everything in order."""

    ready: float
    """Seconds from the process's start."""
    calm: float
    rounds: int
    calls: Counter[tuple[str, str]]
    cpu: float
    changed: Counter[str]
    """Objects whose resourceVersion moved, that are new or that are gone: how many, by kind."""
    objects: int


@dataclass
class Idle:
    """A while without events."""

    seconds: float
    cores: float
    resident: float
    peak: float
    """MiB; `peak` since the process's start."""
    rounds: int
    calls: int
    rankings: int
    changed: Counter[str]


async def settle(bench: Bench, namespace: str, operator: Operator) -> None:
    """Start the operator, and wait until every model is verified and every Deployment rolled out."""
    bench.say("the operator starts; a hollow kubelet ends the model Jobs' pods, and the Deployments come")
    settled: set[str] = set()
    done = asyncio.Event()

    def look(_event: str, _kind: str, item: Json) -> None:
        said = {each["type"]: each["status"] for each in item.get("status", {}).get("conditions", ())}
        wanted = "Ready" if bench.replicas else "ModelVerified"
        if said.get(wanted) == "True" and said["Progressing"] != "True":
            settled.add(item["metadata"]["name"])
        if len(settled) >= bench.count:
            done.set()

    await operator.start()
    feed = Feed(bench.api, {"RerankerService": documents.SERVICES.format(namespace)})
    with feed.told(look):
        async with feed:
            try:
                await asyncio.wait_for(done.wait(), SETTLE_SECONDS)
            except TimeoutError:
                raise TimeoutError(f"only {len(settled)} of {bench.count} services settled") from None
    await operator.calm(SETTLE_SECONDS)
    await bench.drain("settling")


async def restart(bench: Bench, namespace: str, operator: Operator) -> Restart:
    """Stop the operator, and start it with nothing to do."""
    bench.say("restarting the operator with nothing to do")
    await operator.stop()
    await quiet(bench.plane().values(), 60)
    before = await versions(bench, namespace)
    begin = time.monotonic()
    await operator.start()
    ready = time.monotonic() - begin
    calm = await operator.calm(RESTART_SECONDS, rounds=bench.count)
    cpu = cpu_seconds(operator.pid)
    changed = difference(before, await versions(bench, namespace))
    return Restart(ready, calm.at - begin, calm.rounds, calm.calls, cpu, changed, len(before))


async def idle(
    bench: Bench, namespace: str, operator: Operator, seconds: float, rankings: Callable[[], int] = lambda: 0
) -> Idle:
    """Leave the operator alone for a while; `rankings` counts those that it has asked for."""
    bench.say(f"watching the operator do nothing for {seconds:.0f} s")
    before, said, ranked = await versions(bench, namespace), await operator.said(), rankings()
    begin, used = time.monotonic(), cpu_seconds(operator.pid)
    await asyncio.sleep(seconds)
    passed, cpu = time.monotonic() - begin, cpu_seconds(operator.pid) - used
    resident, peak = memory(operator.pid)
    after = await operator.said()
    changed = difference(before, await versions(bench, namespace))
    calls = after.calls.total() - said.calls.total()
    rounds, asked = after.rounds - said.rounds, rankings() - ranked
    return Idle(passed, cpu / passed, resident, peak, rounds, calls, asked, changed)


async def versions(bench: Bench, namespace: str) -> dict[tuple[str, str], str]:
    """resourceVersions by kind and uid, of services, their children, everything that those make, and our events.

    The disruption controller says of every budget now and then that it has no pods: others' events are left out.
    """
    paths = {
        "RerankerService": documents.SERVICES,
        **documents.CHILDREN,
        "Deployment": documents.DEPLOYMENTS,
        "ReplicaSet": _REPLICA_SETS,
        "Pod": documents.PODS,
        "Secret": documents.SECRETS,
        "Event": _EVENTS,
    }
    found: dict[tuple[str, str], str] = {}
    for kind, path in paths.items():
        listing = await bench.api.get(path.format(namespace))
        for item in listing["items"]:
            if kind == "Event" and item.get("source", {}).get("component") != FIELD_MANAGER:
                continue
            found[kind, item["metadata"]["uid"]] = item["metadata"]["resourceVersion"]
    return found


def difference(before: dict[tuple[str, str], str], after: dict[tuple[str, str], str]) -> Counter[str]:
    """How many objects of each kind moved, came or went."""
    return Counter(kind for kind, _uid in {key for key, _version in before.items() ^ after.items()})
