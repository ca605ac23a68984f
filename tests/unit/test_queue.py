"""The way of a request through queue and pool, with a model that scores when it is let."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import threading
import weakref
from collections.abc import Awaitable, Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest

from reranker_runtime.engine import pool as pool_module
from reranker_runtime.engine import queue
from reranker_runtime.engine.pool import Pool
from reranker_runtime.engine.queue import Queue
from reranker_runtime.engine.rows import Ask, Passage, Plan, Row
from reranker_runtime.errors import ScoringFailed, TimedOut, Unavailable
from reranker_runtime.http.app import api_app
from reranker_runtime.metrics import Metrics
from reranker_runtime.service import Phase, Service
from reranker_runtime.settings import read_settings


class FakeScorer:
    """Scores a batch of at most `tokens` passages when it is let; a passage called "breaks" fails."""

    def __init__(self, tokens: int = 1) -> None:
        self.hardware = SimpleNamespace(batch_tokens=tokens, workers=1, threads=1)
        self.turns = threading.Semaphore(0)
        self.begun: list[str] = []
        self.batches: list[list[str]] = []
        self.prefixes: list[int] = []
        self.texts: list[str] = []

    def plan(self, ask: Ask) -> Plan:
        first = len(self.texts)
        self.texts += [passage.text for passage in ask.passages]
        rows = [Row([first + n]) for n in range(len(ask.passages))]
        return Plan(rows, list(range(len(rows))), 0, 0, 0, [7] if ask.query == "shares" else [])

    def prefix(self, ids: Sequence[int], worker: int) -> Any:
        assert self.turns.acquire(timeout=60)
        self.prefixes += ids
        return "prefix"

    def forward(self, rows: Sequence[Row], prefixes: Sequence[Any], worker: int) -> list[str]:
        texts = [self.texts[row.ids[0]] for row in rows]
        self.begun += texts
        self.batches.append(texts)
        assert self.turns.acquire(timeout=60)
        if "breaks" in texts:
            raise ValueError(texts)
        assert set(prefixes) <= {None, "prefix"}
        return texts

    def finish(self, plan: Plan, outputs: dict[int, Any]) -> list[Any]:
        return [outputs[n] for n in sorted(outputs)]


class Play:
    """A queue over the fake scorer, inside an event loop."""

    def __init__(self, tokens: int, variables: dict[str, str]) -> None:
        self.scorer, self.metrics = FakeScorer(tokens), Metrics()
        self.pool = Pool(self.scorer)  # type: ignore[arg-type]
        self.queue = Queue(self.scorer, self.pool, read_settings(variables), self.metrics)  # type: ignore[arg-type]

    def ask(self, *texts: str, query: str = "", image: str | None = None) -> asyncio.Task[Any]:
        return asyncio.create_task(self.queue.rank(Ask(query, [Passage(text, image) for text in texts])))

    async def busy(self, *texts: str) -> asyncio.Task[Any]:
        """A request whose first batch is in the model's hands, so that whatever follows has to wait."""
        task = self.ask(*texts)
        await until(lambda: self.scorer.begun[:1] == [texts[0]])
        return task

    def waiting(self) -> float | None:
        """What Prometheus reads."""
        return self.metrics.registry.get_sample_value("reranker_queue_requests")

    async def waits_for(self, requests: int) -> None:
        await until(lambda: self.waiting() == requests and not self.queue._errands)


async def until(fact: Callable[[], bool]) -> None:
    """Facts that the scoring thread brings about: no event of this loop tells of them."""
    while not fact():  # noqa: ASYNC110
        await asyncio.sleep(0.001)  # leaves that thread the interpreter


@contextlib.contextmanager
def refuses(cause: str, message: str) -> Iterator[pytest.ExceptionInfo[Unavailable]]:
    with pytest.raises(Unavailable, match=message) as refused:
        yield refused
    assert refused.value.cause == cause
    assert refused.value.retry_after


def scenario(script: Callable[[Play], Awaitable[None]], tokens: int = 1, **variables: str) -> Play:
    plays: list[Play] = []

    async def main() -> None:
        play = Play(tokens, variables)
        plays.append(play)
        async with asyncio.timeout(60):
            await script(play)

    asyncio.run(main())
    plays[0].scorer.turns.release(1000)
    plays[0].pool.end()
    return plays[0]


def test_a_small_request_overtakes_all_large_ones() -> None:
    async def script(play: Play) -> None:
        large = [await play.busy(*"abcdef"), *(play.ask(*"ABCDEF") for _ in range(8))]
        await play.waits_for(8)
        small = play.ask("z")
        await play.waits_for(9)
        play.scorer.turns.release(100)
        assert await small == ["z"]
        assert play.scorer.begun.index("z") <= 2
        assert [len(await task) for task in large] == [6] * 9
        assert play.waiting() == 0

    scenario(script)


def test_requests_share_batches() -> None:
    async def script(play: Play) -> None:
        tasks = [await play.busy(*"ab")]
        tasks += [play.ask(*"cd"), play.ask(*"ef")]
        await play.waits_for(2)
        play.scorer.turns.release(100)
        assert [await task for task in tasks] == [["a", "b"], ["c", "d"], ["e", "f"]]
        assert play.scorer.batches[1:] == [["c", "d", "e", "f"]]

    scenario(script, tokens=4)


def test_one_failure_spoils_one_request() -> None:
    async def script(play: Play) -> None:
        first = await play.busy("a")
        broken, whole = play.ask("breaks", "b"), play.ask("c", "d")
        await play.waits_for(2)
        play.scorer.turns.release(100)
        with pytest.raises(ScoringFailed, match="ValueError"):
            await broken
        assert [await first, await whole] == [["a"], ["c", "d"]]
        assert await play.ask("e") == ["e"]

    scenario(script, tokens=4)


def test_two_workers_that_end_together_answer_once(caplog: pytest.LogCaptureFixture) -> None:
    class Together(dict[int, Any]):
        """Nobody goes on before both rows are there."""

        barrier = threading.Barrier(2)

        def __setitem__(self, row: int, output: Any) -> None:
            super().__setitem__(row, output)
            self.barrier.wait(60)

    scorer = FakeScorer()
    scorer.hardware.workers = 2
    pool = Pool(scorer)  # type: ignore[arg-type]
    rounds = 20
    scorer.turns.release(2 * rounds)
    for _ in range(rounds):
        with pool._change:  # before a worker can take a row
            job = pool.submit(scorer.plan(Ask("", [Passage("a"), Passage("b")])))
            job.outputs = Together()
        assert job.future.result(60) == ["a", "b"]
    pool.end()
    assert len(scorer.batches) == 2 * rounds
    assert not caplog.records


def test_workers_outlive_a_request_that_fails_in_two_batches_at_once() -> None:
    together, told = threading.Barrier(2), threading.Barrier(2)

    class Slow(logging.Handler):
        """Tells of a failure for as long as it takes the other worker to have one of the same request, too."""

        def emit(self, _: logging.LogRecord) -> None:
            with contextlib.suppress(threading.BrokenBarrierError):
                told.wait(5)

    def forward(*_: object) -> list[str]:
        together.wait(60)
        raise RuntimeError

    scorer, handler = FakeScorer(), Slow()
    scorer.hardware.workers = 2
    scorer.forward = forward  # type: ignore[method-assign,assignment]
    pool = Pool(scorer)  # type: ignore[arg-type]
    logging.getLogger(pool_module.__name__).addHandler(handler)
    try:
        with pool._change:  # before a worker can take a row
            job = pool.submit(scorer.plan(Ask("", [Passage("a"), Passage("b")])))
        with pytest.raises(ScoringFailed, match="RuntimeError"):
            job.future.result(60)
    finally:
        logging.getLogger(pool_module.__name__).removeHandler(handler)
    del scorer.forward
    scorer.turns.release(2)
    both = [pool.submit(scorer.plan(Ask("", [Passage(text)]))) for text in "cd"]
    assert [one.future.result(60) for one in both] == [["c"], ["d"]]
    assert all(thread.is_alive() for thread in pool._threads)
    pool.end()


def test_what_a_failed_batch_held_is_let_go_before_the_next_try() -> None:
    class Activations:
        pass

    held: list[weakref.ref[Activations]] = []

    async def script(play: Play) -> None:
        forward = play.scorer.forward

        def fails_for_two(rows: Sequence[Row], *rest: Any) -> list[str]:
            assert not [one for one in held if one() is not None]
            if len(rows) == 1:
                return forward(rows, *rest)
            activations = Activations()
            held.append(weakref.ref(activations))
            raise MemoryError

        first = await play.busy("first")
        play.scorer.forward = fails_for_two  # type: ignore[method-assign]
        tasks = [play.ask("a"), play.ask("b")]
        await play.waits_for(2)
        play.scorer.turns.release(100)
        assert [await task for task in (first, *tasks)] == [["first"], ["a"], ["b"]]

    scenario(script, tokens=4)
    assert held


def test_text_does_not_wait_for_images_that_are_being_decoded() -> None:
    async def script(play: Play) -> None:
        held, texts = threading.Event(), play.scorer.plan

        def plan(ask: Ask) -> Plan:
            assert not ask.pictured or held.wait(60)
            return texts(ask)

        play.scorer.plan = plan  # type: ignore[method-assign]
        play.scorer.turns.release(100)
        pictures = [play.ask("seen", image="AAAA") for _ in range(8)]
        assert await play.ask("read") == ["read"]
        held.set()
        assert [await task for task in pictures] == [["seen"]] * 8

    scenario(script)


def test_a_prefix_that_fails_fails_its_request_and_never_scores_without_it() -> None:
    async def script(play: Play) -> None:
        first = await play.busy("first")
        shares, other = play.ask("a", "b", query="shares"), play.ask("c", "d")
        await play.waits_for(2)

        def prefix(*_: object) -> Any:
            raise ValueError

        play.scorer.prefix = prefix  # type: ignore[method-assign]
        play.scorer.turns.release(100)
        with pytest.raises(ScoringFailed, match="ValueError"):
            await shares
        assert [await first, await other] == [["first"], ["c", "d"]]
        assert {"a", "b"}.isdisjoint(play.scorer.begun)

    scenario(script, tokens=4)


def test_a_prefix_is_computed_once_and_before_its_rows() -> None:
    async def script(play: Play) -> None:
        first = await play.busy("first")
        shares = play.ask(*"abc", query="shares")
        await play.waits_for(1)
        play.scorer.turns.release(100)
        assert [await first, await shares] == [["first"], ["a", "b", "c"]]
        assert play.scorer.prefixes == [7]

    scenario(script)


def test_the_wait_counts_from_arrival() -> None:
    async def script(play: Play) -> None:
        held = threading.Event()

        def plan(*_: object) -> Plan:
            assert held.wait(60)
            return Plan([], [], 0, 0, 0)

        play.scorer.plan = plan  # type: ignore[method-assign]
        with refuses("queue_timeout", r"waited 0.01 seconds"):
            await play.ask("a")
        held.set()

    scenario(script, RERANKER_MAX_QUEUE_SECONDS="0.01")


def test_a_failure_that_nobody_foresaw_is_answered_in_nims_shape_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def script(play: Play) -> None:
        def plan(*_: object) -> Plan:
            raise ZeroDivisionError

        play.scorer.plan = plan  # type: ignore[method-assign]
        service = Service(read_settings({"NIM_MODEL_PATH": "/m"}))
        service._queue = play.queue
        service.enter(Phase.READY)
        transport = httpx.ASGITransport(api_app(service))
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            answer = await client.post("/v1/ranking", json={"query": {"text": "a"}, "passages": [{"text": "b"}]})
        said = answer.json()
        assert answer.status_code == 500
        assert (said["object"], said["detail"], said["type"]) == ("error", {}, "internal_server_error")
        assert "X-Request-Id" in said["message"]
        assert answer.headers["X-Request-Id"]

    scenario(script)
    assert "ZeroDivisionError" in caplog.text


def test_a_request_of_many_parts_is_refused_once() -> None:
    async def script(play: Play) -> None:
        service = Service(read_settings({"NIM_MODEL_PATH": "/m"}))
        service._queue = play.queue
        service.enter(Phase.READY)
        waiting = [await play.busy("a"), play.ask("b")]
        await play.waits_for(1)
        transport = httpx.ASGITransport(api_app(service))
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            body = {"text_1": [f"query {n}" for n in range(20)], "text_2": ["a text"] * 20}
            assert (await client.post("/v1/score", json=body)).status_code == 503
        assert service.metrics.refused.labels("queue_full")._value.get() == 1
        play.scorer.turns.release(100)
        assert [await task for task in waiting] == [["a"], ["b"]]

    scenario(script, NIM_MAX_QUEUE_SIZE="1")


def test_answers_that_are_not_read_count_as_waiting() -> None:
    async def script(play: Play) -> None:
        service = Service(read_settings({"NIM_MODEL_PATH": "/m", "RERANKER_MAX_WAITING_BYTES": "2048"}))
        service._queue = play.queue
        service.enter(Phase.READY)
        play.scorer.turns.release(100)
        unread = [1024]
        transport = httpx.ASGITransport(api_app(service, unread=lambda: unread[0]))
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            body = {"query": {"text": "a" * 1024}, "passages": [{"text": "b"}]}
            refused = await client.post("/v1/ranking", json=body)
            assert (refused.status_code, refused.json()["detail"]) == (503, {"cause": "waiting_bytes"})
            assert "answers not yet read" in refused.json()["message"]

    scenario(script)


def test_a_full_queue_refuses_and_those_who_leave_make_room() -> None:
    async def script(play: Play) -> None:
        running = await play.busy("a", "b")
        waiting = [play.ask("c"), play.ask("d")]
        await play.waits_for(2)
        with refuses("queue_full", "queue is full"):
            await play.ask("e")
        waiting[0].cancel()
        await play.waits_for(1)
        late = play.ask("f")
        await play.waits_for(2)
        play.scorer.turns.release(100)
        assert [await task for task in (running, waiting[1], late)] == [["a", "b"], ["d"], ["f"]]
        assert {"c", "e"}.isdisjoint(play.scorer.begun)

    scenario(script, NIM_MAX_QUEUE_SIZE="2")


def test_the_queue_is_bounded_in_tokens_and_an_empty_one_takes_any() -> None:
    async def script(play: Play) -> None:
        running = await play.busy(*"abcdefgh")
        with refuses("queue_tokens", r"7 of 8 tokens are waiting, this request has 2"):
            await play.ask("x", "y")
        more = play.ask("z")
        await play.waits_for(1)
        play.scorer.turns.release(100)
        assert [len(await running), await more] == [8, ["z"]]

    scenario(script, RERANKER_MAX_QUEUE_TOKENS="8")


def test_the_estimated_wait_is_that_of_all_that_waits() -> None:
    """Not that of a request of no tokens, which would go first and hence never wait."""

    async def script(play: Play) -> None:
        running = await play.busy(*"abcdefgh")
        play.pool._rate = 2.0
        assert play.metrics.registry.get_sample_value("reranker_estimated_wait_seconds") == 3.5
        with refuses("queue_tokens", "7 of 8 tokens are waiting") as refused:
            await play.ask("x", "y")
        assert refused.value.retry_after == 4
        play.scorer.turns.release(100)
        await running
        assert play.metrics.registry.get_sample_value("reranker_estimated_wait_seconds") == 0

    scenario(script, RERANKER_MAX_QUEUE_TOKENS="8")


def test_images_that_wait_are_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "IMAGE_BYTES", 30 << 20)

    async def script(play: Play) -> None:
        texts = play.scorer.plan

        def plan(ask: Ask) -> Plan:
            made = texts(ask)
            pixels = np.zeros((20, 1024, 1024), np.uint8)
            return Plan([Row(row.ids, image=pixels) for row in made.rows], made.places, 0, 0, 0)

        play.scorer.plan = plan  # type: ignore[method-assign]
        running = await play.busy("a", "b")
        with refuses("queue_images", "20 MiB of images are waiting, this request has 20"):
            await play.ask("c")
        play.scorer.turns.release(100)
        assert await running == ["a", "b"]
        assert await play.ask("d") == ["d"]

    scenario(script)


def test_what_could_not_be_served_in_time_is_refused_at_once() -> None:
    async def script(play: Play) -> None:
        running = await play.busy(*"abcdefgh")
        play.pool._rate = 1.0
        with refuses("estimated_wait", "would wait about 7 seconds and be answered after 15") as refused:
            await play.ask(*"ABCDEFGH")
        assert refused.value.retry_after == 7
        small = play.ask("z")  # goes ahead of the large one, so its wait is short
        await play.waits_for(1)
        play.scorer.turns.release(100)
        assert [len(await running), await small] == [8, ["z"]]

    scenario(script, RERANKER_MAX_QUEUE_SECONDS="5")


def test_who_waits_too_long_is_told_while_others_run(caplog: pytest.LogCaptureFixture) -> None:
    async def script(play: Play) -> None:
        running = await play.busy("a")
        with refuses("queue_timeout", r"waited 0.01 seconds"):
            await play.ask("late")
        assert play.pool.waiting == 0
        play.scorer.turns.release(100)
        assert await running == ["a"]
        assert "late" not in play.scorer.begun

    scenario(script, RERANKER_MAX_QUEUE_SECONDS="0.01")
    assert not caplog.records


def test_an_idle_pool_keeps_no_request() -> None:
    async def script(play: Play) -> None:
        first = await play.busy("a", "b", "c")
        jobs = [weakref.ref(job) for job in play.queue._jobs]
        play.scorer.turns.release(100)
        assert await first == ["a", "b", "c"]
        del first
        await asyncio.sleep(0)
        await until(lambda: gc.collect() >= 0 and not any(job() for job in jobs))

    scenario(script)


def test_small_batches_do_not_lower_the_rate() -> None:
    scorer = FakeScorer(tokens=1000)
    pool = Pool(scorer)  # type: ignore[arg-type]
    for tokens, rate in ((1000, 1000), (10, 1000), (500, 950), (2000, 1055)):
        pool._measure(1, tokens, 1.0)
        assert pool.rate == pytest.approx(rate)
    pool.end()


def test_a_request_that_runs_too_long_is_given_up_between_batches() -> None:
    async def script(play: Play) -> None:
        with pytest.raises(TimedOut, match="NIM_REQUEST_TIMEOUT_S"):
            await play.ask("a", "b", "c")
        assert play.pool.waiting == 0

    play = scenario(script, NIM_REQUEST_TIMEOUT_S="0.05")
    assert {"b", "c"}.isdisjoint(play.scorer.begun)
