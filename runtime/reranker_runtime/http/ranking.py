"""Every ranking route: whatever the API, a body is read, its asks are ranked by the one service, and answered."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Final, TypeVar

from fastapi import APIRouter
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from reranker_runtime.engine.queue import Times
from reranker_runtime.engine.rows import Ask, Plan, Scores
from reranker_runtime.errors import RequestError
from reranker_runtime.http.describe import operation
from reranker_runtime.http.dialects.dialect import Asked, Dialect, Result, Rules
from reranker_runtime.http.dialects.either import EITHER, spoken
from reranker_runtime.http.doors import DOORS, Door
from reranker_runtime.http.errors import not_served
from reranker_runtime.http.intake import Intake
from reranker_runtime.http.quota import Quota
from reranker_runtime.http.record import Record, record
from reranker_runtime.service import Service

Value = TypeVar("Value")

log = logging.getLogger(__name__)


AT_ONCE: Final = 8
"""Rankings of one request that are in the queue together, of which each has a few passages only."""


class RankingRoutes:
    """Handlers over one service."""

    def __init__(self, service: Service, quota: Quota, unread: Callable[[], int]) -> None:
        self._service, self._quota = service, quota
        settings = service.settings
        self._rules = Rules.of(settings)
        self._intake = Intake(settings, service.metrics, unread)
        self._names = {_fold(name): name for name in settings.names}

    def router(self) -> APIRouter:
        router = APIRouter()
        for door in DOORS:
            router.add_api_route(
                door.path,
                self._handler(door),
                methods=["POST"],
                response_model=None,
                include_in_schema=not door.twin,
                **{} if door.twin else operation(door, self._service.settings),
            )
        return router

    def _handler(self, door: Door) -> Callable[[Request], Awaitable[Response]]:
        async def rank(request: Request) -> Response:
            return await self._rank(request, door.dialect)

        return rank

    async def _rank(self, request: Request, dialect: Dialect) -> Response:
        note = record(request)
        note.dialect = dialect
        self._service.check_ready()  # before the body: what will be refused need not be sent
        self._quota.check(note.client)
        async with self._intake.body(request) as body:
            note.received = time.monotonic()
            if dialect is EITHER:
                dialect = note.dialect = spoken(body, self._rules)
            # In the event loop: parsing holds the interpreter's lock from end to end, a thread would free nobody.
            asked = dialect.read(body, self._rules)
            del body
            self._log_texts(asked)
            asks = asked.asks()
            note.model = self._model(asked.model)
            note.parsed = time.monotonic()
            scores = await _unless_left(request, self._score(asks, note))
            return self._answer(asked, scores, note)

    def _log_texts(self, asked: Asked) -> None:
        if self._service.settings.log_texts:
            for ask in asked.asks():
                log.debug("query %r, passages %r", ask.query, [passage.text for passage in ask.passages])

    def _model(self, asked: str | None) -> str:
        served = self._service.settings.names
        name = served[0] if not asked else self._names.get(_fold(asked))
        if name is None:
            raise not_served(str(asked), served)
        return name

    def _answer(self, asked: Asked, scores: Sequence[Scores], note: Record) -> Response:
        plans = [each.plan for each in scores]
        note.passages = sum(plan.passages for plan in plans)
        note.tokens = sum(plan.tokens for plan in plans)
        note.truncated = sum(plan.truncated for plan in plans)
        self._service.metrics.request_passages.observe(note.passages)
        emptied = sum(plan.emptied for plan in plans)
        logits = [logit for each in scores for logit in each.logits]
        result = Result(logits, note.tokens, note.model, note.identity)
        headers = {"X-Reranker-Truncated": str(emptied)} if emptied else None
        return JSONResponse(asked.answer(result), headers=headers)

    async def _score(self, asks: Sequence[Ask], note: Record) -> list[Scores]:
        """Scores of each ask, in parts of what one ranking may hold; the first failure ends them all."""
        with self._service.running():
            return await self._score_parts(self._parts(asks), note)

    def _parts(self, asks: Sequence[Ask]) -> list[Ask]:
        most = self._rules.most
        return [
            replace(ask, passages=ask.passages[begin : begin + most])
            for ask in asks
            for begin in range(0, len(ask.passages), most)
        ]

    async def _score_parts(self, parts: Sequence[Ask], note: Record) -> list[Scores]:
        if len(parts) == 1:
            return [await self._score_one(parts[0], 0, parts, note)]
        # No more than one ranking may hold is in the queue together, where other requests wait behind it.
        largest = max(len(part.passages) for part in parts)
        slots = asyncio.Semaphore(max(1, min(AT_ONCE, self._rules.most // largest)))

        async def in_turn(part: Ask, before: int) -> Scores:
            if before:  # let in by its first part, before others of it wait: a request is not in its own way
                await note.admitted.wait()
            async with slots:
                return await self._score_one(part, before, parts, note)

        tasks = []
        before = 0
        for part in parts:
            tasks.append(asyncio.ensure_future(in_turn(part, before)))
            before += len(part.passages)
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    async def _score_one(self, ask: Ask, before: int, parts: Sequence[Ask], note: Record) -> Scores:
        first = note.rankings[0] if note.admitted.is_set() else None
        times = Times()
        note.rankings.append(times)

        def charge(plan: Plan) -> None:
            # A request is let in or refused once, whatever parts it has.
            (self._quota.charge if note.admitted.is_set() else self._quota.take)(note.client, plan.tokens)
            note.admitted.set()

        try:
            return await self._service.rank(ask, times, charge, first, parts)
        except RequestError as error:
            raise error.moved(lambda number: before + number) from None


async def _unless_left(request: Request, work: Awaitable[Value]) -> Value:
    """What the work comes to, unless the caller hangs up first: then it is given up, and `ClientDisconnect` raised."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()


async def _left(request: Request) -> None:
    """Returns when the caller hangs up; the body has been read, so nothing else can arrive."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _fold(name: str) -> str:
    # LiteLLM rewrites my_org/my_model to my.org/my.model.
    return name.replace("_", ".")
