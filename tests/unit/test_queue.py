"""The queue: one round per service however many events, none lost, none at the same time."""

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from reranker_operator.reconcile.queue import KeyQueue


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def drain(queue: KeyQueue[str]) -> list[str]:
    """Keys that are due now, each worked on and done."""
    taken = []
    while (key := await due(queue)) is not None:
        taken.append(key)
        queue.done(key, succeeded=True)
    return taken


async def due(queue: KeyQueue[str]) -> str | None:
    """The next due key, or None where `get` would wait: decided by turns of the loop, not by time."""
    waiting = asyncio.ensure_future(queue.get())
    for _ in range(10):
        await asyncio.sleep(0)
        if waiting.done():
            return waiting.result()
    waiting.cancel()
    return None


def in_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test in a loop of its own."""

    @functools.wraps(test)
    def run(*args: Any, **named: Any) -> None:
        asyncio.run(test(*args, **named))

    return run


@pytest.fixture
def clock() -> Clock:
    return Clock()


def queue_on(clock: Clock) -> KeyQueue[str]:
    return KeyQueue(clock, jitter=lambda: 0.0)


@in_a_loop
async def test_many_events_about_one_service_are_one_round(clock: Clock) -> None:
    queue = queue_on(clock)
    for key in ("a", "b", "a", "a"):
        queue.add(key)
    assert await drain(queue) == ["a", "b"]


@in_a_loop
async def test_a_later_look_does_not_put_off_an_earlier_one(clock: Clock) -> None:
    queue = queue_on(clock)
    queue.add("a", after=5)
    queue.add("a", after=60)
    clock.now = 5
    assert await drain(queue) == ["a"]
    clock.now = 60
    assert await drain(queue) == []


@in_a_loop
async def test_an_event_brings_a_later_look_forward(clock: Clock) -> None:
    queue = queue_on(clock)
    queue.add("a", after=300)
    queue.add("a")
    assert await drain(queue) == ["a"]


@in_a_loop
async def test_an_event_during_a_round_makes_another_round_after_it(clock: Clock) -> None:
    queue = queue_on(clock)
    queue.add("a")
    first = await queue.get()
    queue.add("a")
    queue.add("b")
    second = await queue.get()  # not "a": it is being worked on
    assert await due(queue) is None
    queue.done(first, succeeded=True)
    assert [first, second, await queue.get()] == ["a", "b", "a"]


@in_a_loop
async def test_failures_are_retried_with_growing_delays_until_a_success(clock: Clock) -> None:
    queue = queue_on(clock)

    async def fail() -> None:
        key = await queue.get()
        queue.retry(key)
        queue.done(key, succeeded=False)

    delays = []
    queue.add("a")
    for _ in range(4):
        await fail()
        before = clock.now
        clock.now = queue._due["a"]
        delays.append(clock.now - before)
    assert delays == [0.5, 1.0, 2.0, 4.0]
    assert await drain(queue) == ["a"]
    queue.add("a")
    await fail()
    assert queue._due["a"] - clock.now == 0.5


@in_a_loop
async def test_the_servers_own_delay_is_kept(clock: Clock) -> None:
    queue = queue_on(clock)
    queue.retry("a", after=7)
    clock.now = 6.9
    assert await drain(queue) == []
    clock.now = 7
    assert await drain(queue) == ["a"]


@in_a_loop
async def test_oldest_wait_tells_a_stuck_loop_from_a_future_look(clock: Clock) -> None:
    queue = queue_on(clock)
    queue.add("later", after=1000)
    assert queue.oldest_wait() == 0
    queue.add("now")
    clock.now = 130
    assert queue.oldest_wait() == 130
