"""The bare loader: applies documents as fast as the API server takes them, and does nothing else.

A process of its own, as an operator is: `python loader.py KUBECONFIG DOCUMENTS CONCURRENCY`. DOCUMENTS holds a line of
JSON for each resource: a list of pairs of URL path and object. Prints the seconds it took and its processor time.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
import yaml

_QUERY = "?fieldManager=reranker-operator&force=true"


async def load(config: dict[str, Any], resources: list[list[tuple[str, bytes]]], concurrency: int) -> float:
    """Apply all; each resource's objects one after another, `concurrency` resources at the same time."""
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
    headers = {"Authorization": f"Bearer {user['token']}", "Content-Type": "application/apply-patch+yaml"}
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cadata=authority), limit=0)
    async with aiohttp.ClientSession(cluster["server"], headers=headers, connector=connector) as session:
        left = iter(resources)

        async def work() -> None:
            for resource in left:
                for path, body in resource:
                    async with session.patch(path + _QUERY, data=body) as answer:
                        text = await answer.read()
                        if answer.status >= 300:  # noqa: PLR2004
                            raise SystemExit(f"{path}: {answer.status}: {text.decode()[:500]}")

        begin = time.monotonic()
        await asyncio.gather(*(work() for _ in range(concurrency)))
        return time.monotonic() - begin


def main() -> None:
    kubeconfig, documents, concurrency = sys.argv[1:]
    config = yaml.safe_load(Path(kubeconfig).read_text())
    lines = Path(documents).read_text().splitlines()
    # Encoded beforehand: what is measured is the server.
    resources = [[(path, json.dumps(body).encode()) for path, body in json.loads(line)] for line in lines]
    before = time.process_time()
    seconds = asyncio.run(load(config, resources, int(concurrency)))
    print(json.dumps({"seconds": seconds, "cpu": time.process_time() - before}))


if __name__ == "__main__":
    main()
