"""Requests that are ranked in parts: let in once, for all of them, by a guess from the first."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from queueing import Play, scenario, until

from reranker_runtime.engine import queue
from reranker_runtime.engine.rows import Ask, Passage, Plan, Row
from reranker_runtime.errors import InvalidRequest

SPLIT = {"RERANKER_MAX_PASSAGES": "2", "RERANKER_SPLIT_LARGE_REQUESTS": "true"}


def pairs(count: int) -> dict[str, Any]:
    """Each a part of its own."""
    return {"text_1": [f"q{n}" for n in range(count)], "text_2": [f"d{n}" for n in range(count)]}


@pytest.mark.parametrize(
    ("rate", "waiting", "limits"),
    [
        (1 / 60, 7, {"NIM_REQUEST_TIMEOUT_S": "600", "RERANKER_MAX_QUEUE_SECONDS": "600"}),
        (0.1, 7, {"RERANKER_MAX_QUEUE_SECONDS": "30"}),
        (1000.0, 7, {"NIM_MAX_QUEUE_SIZE": "4"}),
        (1000.0, 5, {"RERANKER_MAX_QUEUE_TOKENS": "4", "NIM_NUM_TOKENIZERS": "1"}),
    ],
)
def test_a_request_in_parts_is_not_refused_for_its_own_parts(rate: float, waiting: int, limits: dict[str, str]) -> None:
    async def script(play: Play) -> None:
        play.pool._rate = rate
        async with play.served() as client:
            asked = asyncio.create_task(client.post("/v1/score", json=pairs(8)))
            await until(lambda: play.pool.waiting == waiting or asked.done())
            play.scorer.turns.release(100)
            answer = await asked
        assert answer.status_code == 200, answer.text

    scenario(script, **limits)


def test_images_of_a_request_in_parts_wait_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "IMAGE_BYTES", 30 << 20)

    async def script(play: Play) -> None:
        play.scorer.sees(20)
        body = pairs(4) | {"text_2": [{"image": "AAAA"}] * 4}
        async with play.served() as client:
            asked = asyncio.create_task(client.post("/v1/score", json=body))
            await until(lambda: len(play.queue._jobs) == 2 or asked.done())
            play.scorer.turns.release(100)
            answer = await asked
        assert answer.status_code == 200, answer.text

    scenario(script, NIM_NUM_TOKENIZERS="1")


def test_the_queue_holds_a_part_too_many_and_not_all_of_them() -> None:
    async def script(play: Play) -> None:
        waiting, submit = [], play.pool.submit

        def watched(plan: Plan) -> Any:
            job = submit(plan)
            waiting.append(play.pool.waiting)
            return job

        play.pool.submit = watched  # type: ignore[method-assign]
        running = await play.busy("a")
        async with play.served() as client:
            asked = asyncio.create_task(client.post("/v1/score", json=pairs(8)))
            await until(lambda: len(waiting) == 6 or asked.done())
            play.scorer.turns.release(100)
            assert (await asked).status_code == 200
        assert len((await running).logits) == 1
        assert max(waiting) == 5

    scenario(script, RERANKER_MAX_QUEUE_TOKENS="4", NIM_NUM_TOKENIZERS="1")


def test_a_request_of_which_a_part_was_ranked_is_not_refused_any_more() -> None:
    async def script(play: Play) -> None:
        async with play.served() as client:
            body = {"query": "q", "documents": [f"{n}" for n in range(6)]}
            asked = asyncio.create_task(client.post("/v1/rerank", json=body))
            await until(lambda: play.scorer.begun == ["0"])
            play.scorer.turns.release(1)
            await until(lambda: play.scorer.begun == ["0", "1"])
            others = [play.ask(f"{n}", query="other") for n in range(8)]
            await until(lambda: play.pool.waiting == 8)
            play.scorer.turns.release(1)
            await until(lambda: play.pool.waiting == 9 or asked.done())  # one of the eight is being scored
            play.scorer.turns.release(100)
            answer = await asked
            assert answer.status_code == 200, answer.text
            assert [len((await other).logits) for other in others] == [1] * 8

    scenario(script, **SPLIT, RERANKER_MAX_QUEUE_TOKENS="8")


def test_what_is_wrong_with_the_first_part_ends_the_others_before_they_are_read() -> None:
    async def script(play: Play) -> None:
        read: list[str] = []

        def plan(ask: Ask) -> Plan:
            read.append(ask.query)
            raise InvalidRequest("not this one")

        play.scorer.plan = plan  # type: ignore[method-assign]
        async with play.served() as client:
            assert (await client.post("/v1/score", json=pairs(8))).status_code == 422
        assert read == ["q0"]

    scenario(script)


TEMPLATE, IMAGE, LIMIT = 20, 90, 100
"""Tokens of what stands around each text, of an image, and of any row; a text has one for each letter."""


def counts_letters(play: Play) -> None:
    def tokens(ask: Ask, passage: Passage) -> int:
        if passage.image is not None:
            return IMAGE
        length = len(passage.text)
        if ask.chunking is not None:
            length = min(length, ask.chunking.tokens or length)
        return min(TEMPLATE + length, LIMIT)

    texts = play.scorer.plan

    def plan(ask: Ask) -> Plan:
        made = texts(ask)
        rows = [Row(row.ids * tokens(ask, passage)) for row, passage in zip(made.rows, ask.passages, strict=True)]
        return Plan(rows, made.places, 0, 0, 0)

    play.scorer.plan, play.scorer.limit = plan, LIMIT  # type: ignore[method-assign]


def texts(*counts: tuple[int, int]) -> list[dict[str, Any]]:
    """So many texts of so many letters, and so on."""
    return [{"text": "x" * letters} for count, letters in counts for _ in range(count)]


PICTURE = {"image": "AAAA"}


@pytest.mark.parametrize(
    ("passages", "fields"),
    [
        pytest.param(texts((2, 2), (6, 1000)), {"max_tokens_per_doc": 10}, id="short, then cut"),
        pytest.param(texts((2, 1000), (6, 2)), {"max_tokens_per_doc": 10}, id="cut, then short"),
        pytest.param(texts((2, 2), (4, 1000)), {"max_chunks_per_doc": 1}, id="short, then cut to chunks"),
        pytest.param(texts((2, 2), (6, 60)), {}, id="short, then long"),
        pytest.param(texts((2, 80), (20, 1)), {}, id="long, then short"),
        pytest.param([PICTURE, PICTURE, *texts((10, 1))], {}, id="images, then texts"),
        pytest.param([*texts((2, 1)), *[PICTURE] * 5], {}, id="texts, then images"),
    ],
)
def test_a_request_is_let_in_whose_first_part_is_unlike_the_others(
    passages: list[dict[str, Any]], fields: dict[str, Any]
) -> None:
    """Each takes less than 600 tokens."""

    async def script(play: Play) -> None:
        running = await play.busy("a", "b")
        counts_letters(play)
        play.pool._rate = 1.0
        body = {"query": {"text": "q"}, "passages": passages, "truncate": "END"} | fields
        async with play.served() as client:
            asked = asyncio.create_task(client.post("/v1/ranking", json=body))
            await until(lambda: (play.waiting() == 1 and not play.queue._errands) or asked.done())
            play.scorer.turns.release(100)
            answer = await asked
        assert answer.status_code == 200, answer.text
        assert len((await running).logits) == 2

    scenario(script, **SPLIT, NIM_REQUEST_TIMEOUT_S="600")


@pytest.mark.parametrize(
    ("passages", "tokens"),
    [
        (texts((1, 2), (1, 40), (10, 60)), 22 + 60 + 10 * 80),
        (texts((1, 2), (1, 40), (10, 1000)), 22 + 60 + 10 * 100),
        ([PICTURE, *texts((1, 1)), *[PICTURE] * 4, *texts((10, 1))], 5 * 90 + 11 * 21),
    ],
)
def test_the_guess_knows_a_template_a_limit_and_images(passages: list[dict[str, Any]], tokens: int) -> None:
    async def script(play: Play) -> None:
        running = await play.busy("a", "b")
        counts_letters(play)
        play.pool._rate = 1.0
        async with play.served() as client:
            answer = await client.post("/v1/ranking", json={"query": {"text": "q"}, "passages": passages})
        assert answer.status_code == 503
        assert f"alone would take about {tokens} seconds where 600 are allowed" in answer.json()["message"]
        play.scorer.turns.release(100)
        assert len((await running).logits) == 2
        assert play.scorer.begun == ["a", "b"]

    scenario(script, **SPLIT, NIM_REQUEST_TIMEOUT_S="600")
