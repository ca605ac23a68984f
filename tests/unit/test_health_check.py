"""`reranker-operator health`: what HEALTHCHECK asks with."""

import asyncio
import socket
import sys
from pathlib import Path

import pytest

from reranker_operator.health import STUCK_SECONDS, Health, served
from reranker_operator.metrics import Metrics
from reranker_operator.reconcile.controller import Controller
from reranker_operator.reconcile.queue import KeyQueue
from reranker_operator.reconcile.reconciler import Key, Outcome

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


def test_a_leader_that_does_not_come_to_know_what_there_is_is_not_ready() -> None:
    async def scene() -> list[tuple[int, str, str]]:
        now = [0.0]
        health, port = Health(lambda: now[0]), free_port()
        health.ready = True
        health.learn()
        health.say("leading, listing jobs")
        async with served(health, Metrics(), port, 0):
            now[0] = STUCK_SECONDS
            answers = [await ask(port)]
            now[0] = STUCK_SECONDS + 1
            answers += [await ask(port), await ask(port, "--live")]
            health.watch(None)
            return [*answers, await ask(port)]

    listing, late, alive, later = asyncio.run(scene())
    assert listing[0] == 0
    assert late[0] == 1
    assert "answered 503: leading, listing jobs: no service is seen to, for 121 s now" in late[2]
    # Started again, it would wait for the same.
    assert alive[0] == 0
    assert later[0] == 0


class Stuck:
    """In the reconciler's place: a round begins, and ends when it may."""

    def __init__(self) -> None:
        self.begun, self.may_end = asyncio.Event(), asyncio.Event()

    async def reconcile(self, _key: Key) -> Outcome:
        self.begun.set()
        await self.may_end.wait()
        return Outcome({})


@pytest.mark.parametrize(
    ("services", "said"), [("a", "a round has taken 121 s"), ("ab", "a service has waited 121 s for its round")]
)
def test_a_loop_that_does_not_turn_is_told_and_has_the_process_started_again(services: str, said: str) -> None:
    """One worker, whose round does not end; another service waits for it, or none does."""

    async def scene() -> list[tuple[int, str, str]]:
        now = [0.0]
        health, port, stuck = Health(), free_port(), Stuck()
        queue: KeyQueue[Key] = KeyQueue(lambda: now[0])
        loop = Controller(stuck, queue, Metrics(), workers=1, clock=lambda: now[0])  # type: ignore[arg-type]
        working = asyncio.create_task(loop.run())
        health.say("leading")
        health.watch(loop)
        for name in services:
            queue.add(("search", name))
        await stuck.begun.wait()
        async with served(health, Metrics(), port, 0):
            now[0] = STUCK_SECONDS
            answers = [await ask(port, "--live")]
            now[0] = STUCK_SECONDS + 1
            answers += [await ask(port, "--live")]
            stuck.may_end.set()
            answers += [await ask(port, "--live")]
        working.cancel()
        await asyncio.wait([working])
        return answers

    in_time, late, later = asyncio.run(scene())
    assert (in_time[0], later[0]) == (0, 0)
    assert late[0] == 1
    assert late[2].endswith(f"/healthz answered 503: {said}\n")


def test_health_of_nobody_is_one_line() -> None:
    port = free_port()
    status, out, err = asyncio.run(ask(port))
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert f"no answer from 127.0.0.1:{port}/readyz" in err
    assert "is `reranker-operator run` running" in err
    off = asyncio.run(ask(0))
    assert off[0] == 2
    assert "serves no health" in off[2]
