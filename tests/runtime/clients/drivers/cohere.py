"""Cohere's SDK, of whichever release the environment has."""

import asyncio
from typing import Any

import cohere


def arguments(ask: Any) -> dict[str, Any]:
    top = {} if ask.top is None else {"top_n": ask.top}
    return {"model": ask.model, "query": ask.query, "documents": ask.texts} | top


def told(answer: Any) -> list[tuple[int, float]]:
    return [(each.index, each.relevance_score) for each in answer.results]


def rank(ask: Any) -> list[tuple[int, float]]:
    return told(cohere.ClientV2(api_key=ask.key or "none", base_url=ask.url).rerank(**arguments(ask)))


def rank_v1(ask: Any) -> list[tuple[int, float]]:
    """The old client: documents may be objects, and come back where they are asked for."""
    given = arguments(ask) | {"documents": [{"text": text} if n % 2 else text for n, text in enumerate(ask.texts)]}
    answer = cohere.Client(api_key=ask.key or "none", base_url=ask.url).rerank(**given, return_documents=True)
    assert [each.document.text for each in answer.results] == [ask.texts[each.index] for each in answer.results]
    return told(answer)


def rank_async(ask: Any) -> list[tuple[int, float]]:
    async def answer() -> Any:
        async with cohere.AsyncClientV2(api_key=ask.key or "none", base_url=ask.url) as client:
            return await client.rerank(**arguments(ask))

    return told(asyncio.run(answer()))


CLIENTS = {"ClientV2": rank, "Client": rank_v1, "AsyncClientV2": rank_async}
