"""What the workers of a pool do with requests: batches, prefixes, failures, the rate."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import threading
import weakref
from collections.abc import Sequence
from typing import Any

import pytest
from queueing import FakeScorer, Play, scenario, until

from reranker_runtime.engine import pool as pool_module
from reranker_runtime.engine.pool import Pool
from reranker_runtime.engine.rows import Ask, Passage, Row
from reranker_runtime.errors import ScoringFailed


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
