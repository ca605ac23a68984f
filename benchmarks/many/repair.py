"""Figure 4: children that somebody deletes or edits are put back, one after another."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from kit.report import percentile

from many import documents
from many.bench import Bench
from many.feed import Feed

Json = dict[str, Any]

REPAIR_SECONDS = 30.0
"""What is not back by then is called lost."""
GAP_SECONDS = 0.05
_SEED = 20240817
_PATHS = {**documents.CHILDREN, "Deployment": documents.DEPLOYMENTS}


@dataclass
class Repairs:
    """Seconds from the event of the damage to the event of its repair."""

    seconds: list[float] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    by_damage: dict[str, list[float]] = field(default_factory=dict)

    def at(self, percent: int) -> float:
        return percentile(self.seconds, percent)


async def measure(bench: Bench, namespace: str, damages: int) -> Repairs:
    """Damage random children of random services."""
    bench.say(f"damaging {damages} children, one after another")
    chance = random.Random(_SEED)
    repairs = Repairs()
    async with Feed(bench.api, paths(namespace)) as feed:
        for number in range(damages):
            kind, delete = chance.choice(list(_PATHS)), chance.random() < 0.5  # noqa: PLR2004
            await _one(bench, feed, repairs, namespace, kind, documents.name_of(chance.randrange(bench.count)), delete)
            if number % 50 == 49:  # noqa: PLR2004
                bench.say(f"{number + 1} of {damages} damaged, {len(repairs.seconds)} repaired")
            if len(repairs.lost) > damages / 10:
                bench.say("too many are lost; going on without the rest")
                break
            await asyncio.sleep(GAP_SECONDS)
    return repairs


def paths(namespace: str) -> dict[str, str]:
    return {kind: path.format(namespace) for kind, path in _PATHS.items()}


async def _one(
    bench: Bench, feed: Feed, repairs: Repairs, namespace: str, kind: str, service: str, delete: bool
) -> None:
    collection = paths(namespace)[kind]
    live = await _child(bench, collection, kind, service)
    name, right = live["metadata"]["name"], _content(kind, live)
    damaged: list[float] = []
    repaired: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    def look(event: str, of: str, item: Json) -> None:
        if of != kind or item["metadata"]["name"] != name or repaired.done():
            return
        wrong = event == "DELETED" or (not delete and _content(kind, item) != right)
        if wrong and not damaged:
            damaged.append(time.monotonic())
        elif damaged and not wrong and (not delete or item["metadata"]["uid"] != live["metadata"]["uid"]):
            repaired.set_result(time.monotonic() - damaged[0])

    what = f"{kind} {'deleted' if delete else 'edited'}"
    with feed.told(look):
        if delete:
            await bench.api.request("DELETE", f"{collection}/{name}", body={"propagationPolicy": "Background"})
        else:
            await bench.api.merge(f"{collection}/{name}", _EDITS[kind](live))
        try:
            seconds = await asyncio.wait_for(repaired, REPAIR_SECONDS)
        except TimeoutError:
            repairs.lost.append(f"{what}: {name}")
            said = await _accepted(bench, f"{documents.SERVICES.format(namespace)}/{service}")
            bench.say(f"{name}: {what}, and not repaired within {REPAIR_SECONDS:.0f} s; Accepted says: {said}")
            return
    repairs.seconds.append(seconds)
    repairs.by_damage.setdefault(what, []).append(seconds)


async def _child(bench: Bench, collection: str, kind: str, service: str) -> Json:
    if kind != "Job":
        return await bench.api.get(f"{collection}/{service}")
    # A Job's name ends with its hash.
    listing = await bench.api.request(
        "GET", collection, params={"labelSelector": f"app.kubernetes.io/instance={service}"}
    )
    found: Json = listing["items"][0]
    return found


async def _accepted(bench: Bench, path: str) -> str:
    """What a service's status says of why its children are not as they should be."""
    conditions = (await bench.api.get(path)).get("status", {}).get("conditions", ())
    return next((each["message"] for each in conditions if each["type"] == "Accepted"), "nothing")


def _content(kind: str, item: Json) -> Any:
    """What an edit changes, and a repair puts back."""
    if kind == "ServiceAccount":
        return item.get("automountServiceAccountToken")
    if kind == "Job":
        return item["metadata"]["annotations"].get(_JOB_ANNOTATION)
    if kind == "Service":
        return [port["port"] for port in item["spec"]["ports"]]
    return item["spec"]


_JOB_ANNOTATION = "reranking.dev/model-hash"


def _edit_environment(live: Json) -> Json:
    template = deepcopy(live["spec"]["template"])
    template["spec"]["containers"][0]["env"][0]["value"] = "/somewhere/else"
    return {"spec": {"template": template}}


_EDITS: dict[str, Callable[[Json], Json]] = {
    "ServiceAccount": lambda _live: {"automountServiceAccountToken": True},
    "Service": lambda live: {"spec": {"ports": [{**live["spec"]["ports"][0], "port": 9999}]}},
    # A Job's spec cannot be changed.
    "Job": lambda _live: {"metadata": {"annotations": {_JOB_ANNOTATION: "another"}}},
    "NetworkPolicy": lambda _live: {"spec": {"ingress": [{}]}},
    "PodDisruptionBudget": lambda _live: {"spec": {"maxUnavailable": 7}},
    "Deployment": _edit_environment,
}
