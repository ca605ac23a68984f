"""What callers are told of a queue that cannot take them, or a model that cannot score: in each API's shape."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from queueing import Play, refuses, scenario

NIM: dict[str, Any] = {"query": {"text": "q"}, "passages": [{"text": "x"}]}
DOCUMENTS: dict[str, Any] = {"query": "q", "documents": ["x"]}
TEXTS: dict[str, Any] = {"query": "q", "texts": ["x"]}
PAIRS: dict[str, Any] = {"text_1": "q", "text_2": ["x"]}
BODIES = [
    ("/v1/ranking", "nim", NIM),
    ("/v1/retrieval/{model}/reranking", "nim", NIM),
    ("/v1/rerank", "rerank", DOCUMENTS),
    ("/v2/rerank", "rerank", DOCUMENTS),
    ("/rerank", "rerank", DOCUMENTS),
    ("/rerank", "tei", TEXTS),
    ("/v1/score", "score", PAIRS),
]


async def assert_told(client: httpx.AsyncClient, name: str, status: int, tei: int) -> None:
    """Every API answers with this failure, as its description says."""
    paths = (await client.get("/openapi.json")).json()["paths"]
    for path, dialect, body in BODIES:
        answer = await client.post(path.replace("{model}", "m"), json=body)
        assert answer.status_code == (tei if dialect == "tei" else status), answer.text
        told = paths[path]["post"]["responses"][str(answer.status_code)]
        example = told["content"]["application/json"]["examples"][f"{dialect}: {name}"]["value"]
        if name == "failed":  # the words depend on what failed
            assert [*answer.json()] == [*example]
        else:
            assert answer.json() == example
        if status == 503:
            assert int(answer.headers["Retry-After"]) > 0
            assert "Retry-After" in told["headers"]
        if dialect == "tei":
            assert answer.json()["error_type"] == (
                "Overloaded" if tei == 429 else "Backend" if tei != 503 else "Unhealthy"
            )


def test_a_full_queue_is_told_in_every_api() -> None:
    async def script(play: Play) -> None:
        running = await play.busy("a")
        waiting = play.ask("b")
        await play.waits_for(1)
        async with play.served() as client:
            await assert_told(client, "queue full", 503, 429)
        play.scorer.turns.release(100)
        assert [len((await task).logits) for task in (running, waiting)] == [1, 1]

    scenario(script, NIM_MAX_QUEUE_SIZE="1")


def test_a_request_that_takes_too_long_is_told_in_every_api() -> None:
    async def script(play: Play) -> None:
        async with play.served() as client:
            await assert_told(client, "out of time", 504, 504)

    scenario(script, NIM_REQUEST_TIMEOUT_S="0.02")


def test_a_model_that_fails_is_told_in_every_api() -> None:
    async def script(play: Play) -> None:
        def forward(*_: object) -> list[str]:
            raise ValueError

        play.scorer.forward = forward  # type: ignore[method-assign]
        async with play.served() as client:
            await assert_told(client, "failed", 500, 424)

    scenario(script)


def test_a_server_that_stops_is_told_in_every_api() -> None:
    async def script(play: Play) -> None:
        play.queue.close()
        async with play.served() as client:
            await assert_told(client, "stopping", 503, 503)

    scenario(script)


def test_what_would_be_done_too_late_is_refused_at_once_with_the_wait() -> None:
    """It would not wait too long, and alone it would be in time."""

    async def script(play: Play) -> None:
        running = await play.busy(*"abcdefgh")
        play.pool._rate = 1.0
        body = NIM | {"passages": [{"text": letter} for letter in "ABCDEFGH"]}
        async with play.served() as client:
            answer = await client.post("/v1/ranking", json=body)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "7")
        assert answer.json()["detail"] == {"cause": "estimated_wait"}
        assert "would wait about 7 seconds and be answered after 15 (allowed: 30 and 10)" in answer.json()["message"]
        play.scorer.turns.release(100)
        assert len((await running).logits) == 8

    scenario(script, NIM_REQUEST_TIMEOUT_S="10")


def test_what_takes_too_long_by_itself_is_not_told_to_try_again() -> None:
    async def script(play: Play) -> None:
        running = await play.busy("a", "b")
        play.pool._rate = 1.0
        with refuses("estimated_time", "alone would take about 8 seconds where 5 are allowed") as refused:
            await play.ask(*"ABCDEFGH")
        assert "send fewer passages, or raise NIM_REQUEST_TIMEOUT_S" in refused.value.message
        assert "again" not in refused.value.message
        play.scorer.turns.release(100)
        assert await running == ["a", "b"]
        assert len(await play.ask(*"ABCDEFGH")) == 8  # nothing waits: the estimate may be wrong

    scenario(script, NIM_REQUEST_TIMEOUT_S="5")


SPLIT = {"NIM_REQUEST_TIMEOUT_S": "5", "RERANKER_MAX_PASSAGES": "2", "RERANKER_SPLIT_LARGE_REQUESTS": "true"}


def test_a_request_in_parts_is_refused_at_once_for_all_of_them() -> None:
    async def script(play: Play) -> None:
        running = await play.busy("a", "b")
        play.pool._rate = 1.0
        async with play.served() as client:
            answer = await client.post("/v1/rerank", json=DOCUMENTS | {"documents": [f"{n}" for n in range(8)]})
        assert answer.status_code == 503
        assert "alone would take about 8 seconds where 5 are allowed" in answer.json()["message"]
        play.scorer.turns.release(100)
        assert len((await running).logits) == 2
        assert play.scorer.begun == ["a", "b"]

    scenario(script, **SPLIT)


@pytest.mark.parametrize("documents", [["x", "y", "z", "w"], ["x", "y", "z" * 1000]])
def test_a_request_in_parts_is_let_in_for_what_is_read_of_them(documents: list[str]) -> None:
    async def script(play: Play) -> None:
        play.scorer.limit = 2
        running = await play.busy("a", "b")
        play.pool._rate = 1.0
        async with play.served() as client:
            asked = asyncio.create_task(client.post("/v1/rerank", json=DOCUMENTS | {"documents": documents}))
            await play.waits_for(1)
            play.scorer.turns.release(100)
            assert (await asked).status_code == 200
        assert len((await running).logits) == 2

    scenario(script, **SPLIT)
