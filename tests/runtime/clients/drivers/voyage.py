"""Voyage's SDK."""

import asyncio
from typing import Any

import voyageai


def told(answer: Any) -> list[tuple[int, float]]:
    assert answer.total_tokens > 0
    return [(each.index, each.relevance_score) for each in answer.results]


def client(kind: Any, ask: Any) -> Any:
    return kind(api_key=ask.key or "none", base_url=ask.url + "/v1")


def rank(ask: Any) -> list[tuple[int, float]]:
    return told(client(voyageai.Client, ask).rerank(ask.query, ask.texts, model=ask.model, top_k=ask.top))


def rank_uncut(ask: Any) -> list[tuple[int, float]]:
    found = client(voyageai.Client, ask).rerank(ask.query, ask.texts, model=ask.model, top_k=ask.top, truncation=False)
    return told(found)


def rank_async(ask: Any) -> list[tuple[int, float]]:
    asked = client(voyageai.AsyncClient, ask).rerank(ask.query, ask.texts, model=ask.model, top_k=ask.top)
    return told(asyncio.run(asked))


CLIENTS = {"Client": rank, "Client, uncut": rank_uncut, "AsyncClient": rank_async}
