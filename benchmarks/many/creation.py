"""Figure 1: services with five children each from nothing, beside a bare loader that applies the same objects."""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from many import documents
from many.bench import CONCURRENCY, Bench, Operator, each
from many.feed import Arrivals, Feed
from many.processes import Meter, cpu_seconds

Json = dict[str, Any]

MOST_SECONDS = 900.0
"""For any of the runs."""
_LEASES = "/apis/coordination.k8s.io/v1/namespaces/reranker-system/leases"
_LOADER = Path(__file__).with_name("loader.py")


@dataclass
class Run:
    """All children of all services came to be."""

    seconds: float
    since_first: float
    """From the first child on; `seconds` count from the loader's first request, or the operator's leadership."""
    cpu: dict[str, float]
    """Seconds of processor time, by process; `client` is the loader, or the operator from its leadership on."""
    writes: Counter[tuple[str, str]] = field(default_factory=Counter)
    calls: int = 0
    """The operator's, until the last child; the loader makes 5 a resource."""
    reported: float = 0.0
    """Seconds until the operator had written every status."""
    reported_writes: Counter[tuple[str, str]] = field(default_factory=Counter)
    reported_calls: int = 0


@dataclass
class Creation:
    """What came of it."""

    count: int
    loader: list[Run]
    operator: Run

    def rate(self, run: Run) -> float:
        """Resources a second."""
        return self.count / run.seconds

    @property
    def loader_rate(self) -> float:
        return statistics.mean(map(self.rate, self.loader))

    @property
    def cost(self) -> float:
        """Processor time of the operator's run, control plane included, in units of the loader's."""
        return sum(self.operator.cpu.values()) / statistics.mean(sum(run.cpu.values()) for run in self.loader)

    @property
    def ratio(self) -> float:
        return self.rate(self.operator) / self.loader_rate


async def prepare(bench: Bench, namespace: str) -> list[Json]:
    """The services (and the Secrets that they name) in a namespace of their own; nobody acts on them yet."""
    bench.say(f"creating {bench.count} services in namespace {namespace}")
    await asyncio.to_thread(bench.cluster.create_namespace, namespace)
    secrets, services = documents.SECRETS.format(namespace), documents.SERVICES.format(namespace)

    async def secret(number: int) -> None:
        await bench.api.create(secrets, documents.secret(number, "first"))

    made: list[Json] = []

    async def service(number: int) -> None:
        made.append(await bench.api.create(services, documents.service(number, bench.count, bench.replicas)))

    await each(range(documents.secrets(bench.count)), secret)
    await each(range(bench.count), service)
    await bench.drain("that")
    return made


async def loaded(bench: Bench, namespace: str, concurrency: int = CONCURRENCY) -> Run:
    """The loader's run, in a namespace that is gone afterwards."""
    made = await prepare(bench, namespace)
    file = bench.folder / f"{namespace}.jsonl"

    def line(document: Json) -> str:
        return json.dumps(
            [
                (f"{documents.CHILDREN[child['kind']].format(namespace)}/{child['metadata']['name']}", child)
                for child in documents.children(document)
            ]
        )

    file.write_text("\n".join(map(line, made)))
    bench.say(f"the bare loader applies 5 children each, {concurrency} resources at the same time")
    arrivals = Arrivals(bench.count * len(documents.CHILDREN))

    def look(event: str, kind: str, item: Json) -> None:
        if event == "ADDED":
            arrivals.see(kind, item)

    async with Feed(bench.api, {kind: path.format(namespace) for kind, path in documents.CHILDREN.items()}) as feed:
        with feed.told(look):
            meter = Meter(bench.plane())
            command = [sys.executable, str(_LOADER), str(bench.cluster.kubeconfig), str(file), str(concurrency)]
            process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
            answer, _ = await asyncio.wait_for(process.communicate(), MOST_SECONDS)
            if process.returncode:
                raise RuntimeError("the loader failed; what it said is above")
            await _complete(arrivals, 30)
            cpu = meter.read()
    said = json.loads(answer)
    run = Run(said["seconds"], arrivals.last - arrivals.first, {"client": said["cpu"], **cpu})
    bench.say(f"the loader: {bench.count / run.seconds:.1f} resources/s")
    await bench.drain("the loader")
    await bench.remove_namespace(namespace)
    await bench.drain("that")
    return run


async def operated(bench: Bench, namespace: str, operator: Operator) -> Run:
    """The operator's run: it starts after all services exist, and stays."""
    await prepare(bench, namespace)
    children, statuses = Arrivals(bench.count * len(documents.CHILDREN)), Arrivals(bench.count)
    leading: list[tuple[float, float]] = []

    def look(event: str, kind: str, item: Json) -> None:
        if kind == "Lease":
            if item["metadata"]["name"] == "reranker-operator" and item["spec"].get("holderIdentity"):
                leading.append((time.monotonic(), cpu_seconds(operator.pid)))
        elif kind == "RerankerService":
            if item.get("status", {}).get("observedGeneration"):
                statuses.see(kind, item)
        elif event == "ADDED":
            children.see(kind, item)

    paths = {"RerankerService": documents.SERVICES, "Lease": _LEASES, **documents.CHILDREN}
    async with Feed(bench.api, {kind: path.format(namespace) for kind, path in paths.items()}) as feed:
        with feed.told(look):
            bench.say("the operator starts, and finds them")
            meter = Meter(bench.plane())
            await operator.start()
            await _complete(children, MOST_SECONDS)
            begun, spent = leading[0]
            cpu = {"client": cpu_seconds(operator.pid) - spent} | meter.read()
            said = await operator.said()
            await _complete(statuses, MOST_SECONDS)
            later = await operator.said()
    run = Run(
        seconds=children.last - begun,
        since_first=children.last - children.first,
        cpu=cpu,
        writes=said.writes,
        calls=said.calls.total(),
        reported=max(children.last, statuses.last) - begun,
        reported_writes=later.writes,
        reported_calls=later.calls.total(),
    )
    bench.say(f"the operator: {bench.count / run.seconds:.1f} resources/s")
    return run


async def measure(bench: Bench, namespace: str, operator: Operator, concurrency: int) -> Creation:
    """Loader, operator, loader: what drifts on a busy machine weighs on both. The operator is stopped at the end."""
    first = await loaded(bench, "loader-a", concurrency)
    run = await operated(bench, namespace, operator)
    await operator.stop()  # or it would act on the loader's services too
    await bench.drain("the operator")
    second = await loaded(bench, "loader-b", concurrency)
    return Creation(bench.count, [first, second], run)


async def _complete(arrivals: Arrivals, seconds: float) -> None:
    try:
        await asyncio.wait_for(arrivals.complete.wait(), seconds)
    except TimeoutError:
        raise TimeoutError(f"waited {seconds:.0f} s; {arrivals.count} of {arrivals.wanted} objects came") from None
