"""Batching, templates and the queue, without a model: the parts of the engine that are plain Python."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, processors
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from reranker_runtime.engine.batching import batches
from reranker_runtime.engine.cpus import usable_cpus
from reranker_runtime.engine.tokenise import PairPlanner, Plan, Row, Template, Texts, Truncate
from reranker_runtime.engine.worker import ACTIVE, Worker
from reranker_runtime.errors import InputTooLong, ModelError, ScoringFailed, TimedOut, Unavailable
from reranker_runtime.http.app import api_app
from reranker_runtime.metrics import Metrics
from reranker_runtime.service import Phase, Service
from reranker_runtime.settings import read_settings


@given(st.lists(st.integers(1, 50)), st.integers(1, 100), st.none() | st.integers(1, 5))
def test_every_row_is_in_one_batch_and_no_batch_is_too_large(lengths: list[int], budget: int, most: int | None) -> None:
    made = list(batches(lengths, budget, most))
    assert sorted(row for batch in made for row in batch) == list(range(len(lengths)))
    assert all(len(batch) == 1 or sum(lengths[n] for n in batch) <= budget for batch in made)
    assert all(len(batch) <= (most or len(batch)) for batch in made)
    flat = [lengths[row] for batch in made for row in batch]
    assert flat == sorted(flat, reverse=True)


@pytest.fixture
def pairs(tmp_path: Path) -> Callable[..., PairPlanner]:
    """A planner over one-letter words with the special tokens of one's choice."""

    def make(limit: int, template: str, segments: int = 2) -> PairPlanner:
        vocabulary = {word: n for n, word in enumerate(["?", "<s>", "</s>", *"abcdefgh"])}
        tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="?"))
        tokenizer.pre_tokenizer = Whitespace()
        tokenizer.post_processor = processors.TemplateProcessing(
            single="$A", pair=template, special_tokens=[("<s>", 1), ("</s>", 2)]
        )
        tokenizer.save(str(tmp_path / "tokenizer.json"))
        texts = Texts(tmp_path / "tokenizer.json")
        return PairPlanner(texts, Template.of(texts.probe("a", "a"), 2, segments), limit)

    return make


@pytest.mark.parametrize(
    ("template", "ids", "types"),
    [
        ("<s> $A </s> $B:1 </s>:1", [1, 3, 4, 2, 5, 2], [0, 0, 0, 0, 1, 1]),
        ("<s> $A </s> </s> $B </s>", [1, 3, 4, 2, 2, 5, 2], [0] * 7),
        ("$A $B:1", [3, 4, 5], [0, 0, 1]),
        ("$A </s> $B:1 <s>:1", [3, 4, 2, 5, 1], [0, 0, 0, 1, 1]),
    ],
)
def test_special_tokens_come_from_the_tokenizer(
    pairs: Callable[..., PairPlanner], template: str, ids: list[int], types: list[int]
) -> None:
    assert pairs(20, template).plan("a b", ["c"], Truncate.NONE).rows == [Row(ids, types)]
    assert pairs(20, template, 1).plan("a b", ["c"], Truncate.NONE).rows == [Row(ids, [0] * len(ids))]


def test_truncation_takes_the_passage_first(pairs: Callable[..., PairPlanner]) -> None:
    planner = pairs(7, "<s> $A </s> $B:1 </s>:1")
    plan = planner.plan("a b", ["c d e f", "c d g h", "c"], Truncate.END)
    assert [row.ids for row in plan.rows] == [[1, 3, 4, 2, 5, 6, 2], [1, 3, 4, 2, 5, 2]]
    assert plan.places == [0, 0, 1]
    assert (plan.tokens, plan.truncated, plan.emptied) == (20, 2, 0)
    full = planner.plan("a b c d e", ["f", ""], Truncate.END)
    assert [row.ids for row in full.rows] == [[1, 3, 4, 5, 6, 2, 2]]
    assert (full.truncated, full.emptied) == (2, 1)
    with pytest.raises(InputTooLong, match="Input length 9 exceeds maximum allowed token size 7"):
        planner.plan("a b", ["c d", "c d e f"], Truncate.NONE)


def test_a_limit_without_room_for_text_is_refused(pairs: Callable[..., PairPlanner]) -> None:
    with pytest.raises(ModelError, match="NIM_PIPELINE_MAX_SEQ_LEN"):
        pairs(3, "<s> $A </s> $B:1 </s>:1")


@pytest.mark.parametrize(
    ("files", "least"),
    [
        ({"cpu.max": "100000 100000"}, 1),
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 1),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({}, None),
    ],
)
def test_cpu_limits_of_containers(tmp_path: Path, files: dict[str, str], least: int | None) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert usable_cpus(tmp_path) == (least or usable_cpus(tmp_path / "none"))


class FakeScorer:
    """Scores one passage a batch, each when it is let; a passage called "breaks" fails."""

    def __init__(self) -> None:
        self.turns = threading.Semaphore(0)
        self.begun: list[str] = []

    def plan(self, query: str, passages: Sequence[str], truncate: Truncate) -> Plan:
        return Plan([Row([0], [0]) for _ in passages], list(passages), 0, 0, 0)  # type: ignore[arg-type]

    def batches(self, plan: Plan) -> list[list[int]]:
        return [[n] for n in range(len(plan.rows))]

    def forward(self, plan: Plan, batch: list[int]) -> dict[int, Any]:
        text = str(plan.places[batch[0]])
        self.begun.append(text)
        assert self.turns.acquire(timeout=60)
        if text == "breaks":
            raise ValueError(text)
        return {batch[0]: text}

    def finish(self, plan: Plan, outputs: dict[int, Any]) -> list[Any]:
        return list(outputs.values())


def scenario(play: Callable[[Worker, FakeScorer], Awaitable[None]], **variables: str) -> Metrics:
    metrics = Metrics()

    async def main() -> None:
        scorer = FakeScorer()
        async with asyncio.timeout(60):
            await play(Worker(scorer, read_settings(variables), metrics), scorer)  # type: ignore[arg-type]

    asyncio.run(main())
    return metrics


def ask(worker: Worker, *passages: str) -> asyncio.Task[Any]:
    return asyncio.create_task(worker.rank("", passages, Truncate.NONE))


async def until(fact: Callable[[], bool]) -> None:
    """Facts that the scoring thread brings about: no event of this loop tells of them."""
    while not fact():  # noqa: ASYNC110
        await asyncio.sleep(0)


async def busy(worker: Worker, scorer: FakeScorer, *passages: str) -> asyncio.Task[Any]:
    """A request whose first batch is in the model's hands, so that whatever follows has to wait."""
    task = ask(worker, *passages)
    await until(lambda: scorer.begun == [passages[0]])
    return task


def waiting(metrics: Metrics) -> float | None:
    """What Prometheus reads."""
    return metrics.registry.get_sample_value("reranker_queue_requests")


def test_a_small_request_overtakes_as_many_large_ones_as_may_be_active() -> None:
    async def play(worker: Worker, scorer: FakeScorer) -> None:
        large = [await busy(worker, scorer, *"abcdef")]
        large += [ask(worker, *"ABCDEF") for _ in range(2 * ACTIVE)]
        await until(lambda: len(worker._waiting) == 2 * ACTIVE)
        small = ask(worker, "z")
        await until(lambda: len(worker._waiting) == 2 * ACTIVE + 1)
        assert waiting(worker._metrics) == 2 * ACTIVE + 1
        scorer.turns.release()
        await until(lambda: len(scorer.begun) == 2)
        assert waiting(worker._metrics) == ACTIVE + 1
        scorer.turns.release(100)
        assert await small == ["z"]
        assert scorer.begun.index("z") <= ACTIVE + 1
        assert [len(await task) for task in large] == [6] * (2 * ACTIVE + 1)

    assert waiting(scenario(play)) == 0


def test_a_large_request_that_is_first_in_line_is_not_overtaken_for_ever() -> None:
    async def play(worker: Worker, scorer: FakeScorer) -> None:
        tasks = [await busy(worker, scorer, "first")]
        tasks += [ask(worker, "small") for _ in range(ACTIVE)]
        tasks.append(ask(worker, "large", "large"))
        tasks += [ask(worker, "small") for _ in range(3 * ACTIVE)]
        await until(lambda: len(worker._waiting) == 4 * ACTIVE + 1)
        scorer.turns.release(100)
        for task in tasks:
            await task
        assert scorer.begun.index("large") <= 2 * ACTIVE

    scenario(play)


def test_the_wait_counts_from_arrival() -> None:
    async def play(worker: Worker, scorer: FakeScorer) -> None:
        held = threading.Event()

        def plan(*_: object) -> Plan:
            assert held.wait(60)
            return Plan([], [], 0, 0, 0)

        scorer.plan = plan  # type: ignore[method-assign]
        with pytest.raises(Unavailable, match=r"waited 0.01 seconds"):
            await ask(worker, "a")
        held.set()

    metrics = scenario(play, RERANKER_MAX_QUEUE_SECONDS="0.01")
    assert metrics.refused.labels("queue_timeout")._value.get() == 1


def test_a_failure_that_nobody_foresaw_is_answered_in_nims_shape_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    class BrokenScorer(FakeScorer):
        def plan(self, query: str, passages: Sequence[str], truncate: Truncate) -> Plan:
            raise ZeroDivisionError

    async def main() -> httpx.Response:
        service = Service(read_settings({"NIM_MODEL_PATH": "/m"}))
        service._worker = Worker(BrokenScorer(), service.settings, service.metrics)  # type: ignore[arg-type]
        service.enter(Phase.READY)
        transport = httpx.ASGITransport(api_app(service))
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return await client.post("/v1/ranking", json={"query": {"text": "a"}, "passages": [{"text": "b"}]})

    answer = asyncio.run(main())
    said = answer.json()
    assert answer.status_code == 500
    assert (said["object"], said["detail"], said["type"]) == ("error", {}, "internal_server_error")
    assert "X-Request-Id" in said["message"]
    assert answer.headers["X-Request-Id"]
    assert "ZeroDivisionError" in caplog.text


def test_a_small_request_does_not_wait_behind_the_whole_of_a_large_one() -> None:
    async def play(worker: Worker, scorer: FakeScorer) -> None:
        large = await busy(worker, scorer, *"abcdef")
        small = ask(worker, "z")
        await until(lambda: len(worker._waiting) == 1)
        scorer.turns.release(100)
        assert await small == ["z"]
        assert await large == list("abcdef")
        assert scorer.begun.index("z") <= 2

    scenario(play)


def test_a_full_queue_refuses_and_those_who_leave_make_room() -> None:
    async def play(worker: Worker, scorer: FakeScorer) -> None:
        running = await busy(worker, scorer, "a", "b")
        waiting = [ask(worker, "c"), ask(worker, "d")]
        await until(lambda: len(worker._waiting) == 2)
        with pytest.raises(Unavailable, match="queue is full") as refused:
            await ask(worker, "e")
        assert refused.value.retry_after
        waiting[0].cancel()
        await until(lambda: len(worker._waiting) == 1)
        late = ask(worker, "f")
        await until(lambda: len(worker._waiting) == 2)
        scorer.turns.release(100)
        assert [await task for task in (running, waiting[1], late)] == [["a", "b"], ["d"], ["f"]]
        assert {"c", "e"}.isdisjoint(scorer.begun)

    metrics = scenario(play, NIM_MAX_QUEUE_SIZE="2")
    assert metrics.refused.labels("queue_full")._value.get() == 1
    assert waiting(metrics) == 0


def test_only_a_few_requests_are_active_at_once() -> None:
    async def play(worker: Worker, scorer: FakeScorer) -> None:
        tasks = [await busy(worker, scorer, "first", "second")]
        tasks += [ask(worker, str(n), "again") for n in range(ACTIVE)]
        await until(lambda: len(worker._waiting) == ACTIVE)
        scorer.turns.release()
        await until(lambda: len(scorer.begun) == 2)
        assert len(worker._waiting) == 1
        scorer.turns.release(100)
        assert len([await task for task in tasks]) == ACTIVE + 1

    scenario(play)


def test_who_waits_too_long_is_told_while_others_run() -> None:
    async def play(worker: Worker, scorer: FakeScorer) -> None:
        running = await busy(worker, scorer, "a")
        with pytest.raises(Unavailable, match=r"waited 0.01 seconds"):
            await ask(worker, "late")
        assert not worker._waiting
        scorer.turns.release(100)
        assert await running == ["a"]
        assert "late" not in scorer.begun

    scenario(play, RERANKER_MAX_QUEUE_SECONDS="0.01")


def test_a_request_that_runs_too_long_is_given_up_between_batches() -> None:
    async def play(worker: Worker, scorer: FakeScorer) -> None:
        with pytest.raises(TimedOut, match="NIM_REQUEST_TIMEOUT_S"):
            await ask(worker, "a", "b", "c")
        scorer.turns.release(100)
        await until(lambda: not worker._active)
        assert {"b", "c"}.isdisjoint(scorer.begun)

    scenario(play, NIM_REQUEST_TIMEOUT_S="0.05")


def test_one_failure_spoils_one_request() -> None:
    async def play(worker: Worker, scorer: FakeScorer) -> None:
        scorer.turns.release(100)
        with pytest.raises(ScoringFailed, match="ValueError"):
            await ask(worker, "breaks")
        assert await ask(worker, "a") == ["a"]

    scenario(play)
