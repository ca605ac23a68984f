"""`reranker-operator health`: what HEALTHCHECK asks with."""

import asyncio
import socket
import sys
from pathlib import Path

from reranker_operator.health import Health, served
from reranker_operator.metrics import Metrics

COMMAND = Path(sys.executable).parent / "reranker-operator"


async def ask(port: int, *flags: str) -> tuple[int, str, str]:
    """Exit status, stdout and stderr."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        COMMAND, "health", "--health-port", str(port), *flags, stdout=pipe, stderr=pipe
    )
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


def free_port() -> int:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        return int(holder.getsockname()[1])


def test_health_says_what_the_operator_says() -> None:
    async def scene() -> list[tuple[int, str, str]]:
        health, port = Health(), free_port()
        health.say("waiting for the CRD")
        async with served(health, Metrics(), port, 0):
            answers = [await ask(port), await ask(port, "--live")]
            health.say("leading")
            health.ready = True
            return [*answers, await ask(port)]

    waiting, alive, leading = asyncio.run(scene())
    assert waiting[:2] == (1, "")
    assert "answered 503: waiting for the CRD for " in waiting[2]
    assert alive[0] == 0
    assert "answered 200: ok: waiting for the CRD" in alive[1]
    assert leading[0] == 0
    assert leading[1].endswith("/readyz answered 200: leading\n")


def test_health_of_nobody_is_one_line() -> None:
    port = free_port()
    status, out, err = asyncio.run(ask(port))
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert f"no answer from 127.0.0.1:{port}/readyz" in err
    assert "is `reranker-operator run` running" in err
    off = asyncio.run(ask(0))
    assert off[0] == 2
    assert "serves no health" in off[2]
