"""Figure 5: a rotated Secret changes the templates that use it, and no other."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

from many import documents
from many.bench import Bench
from many.feed import Feed

Json = dict[str, Any]

ROTATION_SECONDS = 20.0
"""Templates that have not changed by then are said not to."""
AFTERWARDS_SECONDS = 3.0
"""How long a template that must not change is given the chance to."""
ROTATIONS = 5


@dataclass
class Rotations:
    """Seconds from the answer to the change until the last template that uses the Secret had changed."""

    seconds: list[float] = field(default_factory=list)
    unchanged: int = 0
    """Templates that should have changed and did not."""
    strangers: int = 0
    """Templates that changed and should not have."""


async def measure(bench: Bench, namespace: str) -> Rotations:
    """Change some Secrets, one after another."""
    result = Rotations()
    path = documents.DEPLOYMENTS.format(namespace)
    async with Feed(bench.api, {"Deployment": path}) as feed:
        for number in range(min(ROTATIONS, documents.secrets(bench.count))):
            bench.say(f"rotating secret-{number:02}, which {documents.SECRET_USERS} services use")
            before = await _templates(bench, path)
            waiting, done = set(documents.users(number)), asyncio.Event()

            def look(_event: str, _kind: str, item: Json) -> None:
                name = item["metadata"]["name"]
                if name in waiting and item["spec"]["template"] != before[name]:  # noqa: B023
                    waiting.discard(name)  # noqa: B023
                    if not waiting:  # noqa: B023
                        done.set()  # noqa: B023

            with feed.told(look):
                secret = f"{documents.SECRETS.format(namespace)}/secret-{number:02}"
                begin = time.monotonic()
                await bench.api.merge(secret, {"stringData": {documents.SECRET_KEY: f"rotated at {begin}"}})
                try:
                    await asyncio.wait_for(done.wait(), ROTATION_SECONDS)
                    result.seconds.append(time.monotonic() - begin)
                except TimeoutError:
                    bench.say(f"{len(waiting)} templates did not change within {ROTATION_SECONDS:.0f} s")
                    result.unchanged += len(waiting)
                await asyncio.sleep(AFTERWARDS_SECONDS)
            after = await _templates(bench, path)
            changed = {name for name, template in after.items() if template != before.get(name)}
            result.strangers += len(changed - set(documents.users(number)))
            if waiting:
                break
    return result


async def _templates(bench: Bench, path: str) -> dict[str, Json]:
    listing = await bench.api.get(path)
    return {item["metadata"]["name"]: item["spec"]["template"] for item in listing["items"]}
