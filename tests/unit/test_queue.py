"""The way of a request through the queue, with a model that scores when it is let."""

from __future__ import annotations

import threading

import httpx
import pytest
from queueing import Play, refuses, scenario

from reranker_runtime.engine import queue
from reranker_runtime.engine.rows import Ask, Plan
from reranker_runtime.errors import TimedOut
from reranker_runtime.http.app import api_app
from reranker_runtime.service import Phase, Service
from reranker_runtime.settings import read_settings


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
        play.scorer.sees(20)
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


def test_a_request_that_runs_too_long_is_given_up_between_batches() -> None:
    async def script(play: Play) -> None:
        with pytest.raises(TimedOut, match="NIM_REQUEST_TIMEOUT_S"):
            await play.ask("a", "b", "c")
        assert play.pool.waiting == 0

    play = scenario(script, NIM_REQUEST_TIMEOUT_S="0.05")
    assert {"b", "c"}.isdisjoint(play.scorer.begun)
