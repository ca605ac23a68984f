"""Serves containers' logs to the API server, so that `kubectl logs` works.

Only the API server may ask: both sides show certificates of the cluster's authority.
"""

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path

from aiohttp import web

from localkube.pod import PodWorker

_CHUNK = 64 * 1024
_FOLLOW_SECONDS = 0.25

FindPod = Callable[[str, str], PodWorker | None]


async def serve_logs(address: str, certificates: Path, name: str, find: FindPod) -> int:
    """Serve at this address with the certificate `name`; returns the port."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(certificates / "ca.crt"))
    context.load_cert_chain(certificates / f"{name}.crt", certificates / f"{name}.key")
    context.verify_mode = ssl.CERT_REQUIRED
    app = web.Application()

    async def handle(request: web.Request) -> web.StreamResponse:
        return await _answer(request, find)

    app.router.add_get("/containerLogs/{namespace}/{pod}/{container}", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, address, 0, ssl_context=context)
    await site.start()
    return int(runner.addresses[0][1])


async def _answer(request: web.Request, find: FindPod) -> web.StreamResponse:
    where = request.match_info
    worker = find(where["namespace"], where["pod"])
    container = worker.container(where["container"]) if worker else None
    if worker is None or container is None:
        return web.Response(status=404, text=f"no container {where['container']} of {where['pod']} runs here\n")
    query = request.query
    previous = query.get("previous") == "true"
    path = container.previous_log_path() if previous else container.log_path()
    if not path.exists():
        which = "previous terminated container" if previous else "container"
        return web.Response(status=400, text=f"{which} {container.name!r} in pod {where['pod']!r} has no log\n")
    answer = web.StreamResponse(headers={"Content-Type": "text/plain"})
    await answer.prepare(request)
    with path.open("rb") as log:
        if "tailLines" in query:
            _seek_lines(path, log.seek, int(query["tailLines"]))
        left = int(query.get("limitBytes", 2**62))
        while left > 0:
            ended = "running" not in container.state or container.log_path() != path
            if chunk := log.read(min(_CHUNK, left)):
                left -= len(chunk)
                await answer.write(chunk)
            elif query.get("follow") != "true" or ended:
                break
            else:
                await asyncio.sleep(_FOLLOW_SECONDS)
    await answer.write_eof()
    return answer


def _seek_lines(path: Path, seek: Callable[[int], int], count: int) -> None:
    """Go to where the last `count` lines begin."""
    lines = path.read_bytes().splitlines(keepends=True)
    kept = lines[len(lines) - count :] if 0 < count < len(lines) else lines if count else []
    seek(sum(map(len, lines)) - sum(map(len, kept)))
