"""A queue and its pool, with a model that scores when it is let."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest

from reranker_runtime.engine.pool import Pool
from reranker_runtime.engine.queue import Queue
from reranker_runtime.engine.rows import Ask, Passage, Plan, Row, Scores
from reranker_runtime.errors import Unavailable
from reranker_runtime.http.app import api_app
from reranker_runtime.metrics import Metrics
from reranker_runtime.service import Phase, Service
from reranker_runtime.settings import read_settings


class FakeScorer:
    """Scores a batch of at most `tokens` passages when it is let; a passage called "breaks" fails."""

    def __init__(self, tokens: int = 1) -> None:
        self.hardware = SimpleNamespace(batch_tokens=tokens, workers=1, threads=1)
        self.limit = 512
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

    def sees(self, mebibytes: int) -> None:
        """From now on each passage is an image of so many."""
        texts = self.plan

        def plan(ask: Ask) -> Plan:
            made = texts(ask)
            pixels = np.zeros((mebibytes, 1024, 1024), np.uint8)
            return Plan([Row(row.ids, image=pixels) for row in made.rows], made.places, 0, 0, 0)

        self.plan = plan  # type: ignore[method-assign]

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
        self.scorer, self.metrics, self.variables = FakeScorer(tokens), Metrics(), variables
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

    @contextlib.asynccontextmanager
    async def served(self, **variables: str) -> AsyncIterator[httpx.AsyncClient]:
        """The API over this queue; all scores are 0."""

        def finish(plan: Plan, outputs: dict[int, Any]) -> Scores:
            return Scores([0.0] * len(outputs), plan)

        self.scorer.finish = finish  # type: ignore[assignment,method-assign]
        service = Service(read_settings({"NIM_MODEL_PATH": "/m"} | self.variables | variables))
        service._queue = self.queue
        service.enter(Phase.READY)
        transport = httpx.ASGITransport(api_app(service))
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            yield client

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
