"""Haystack's ranker for NVIDIA's reranking NIM."""

from typing import Any

from haystack import Document
from haystack.utils import Secret
from haystack_integrations.components.rankers.nvidia import NvidiaRanker


def ranked(ask: Any, model: str | None) -> list[tuple[int, float]]:
    token = Secret.from_token(ask.key) if ask.key else None
    ranker = NvidiaRanker(api_url=ask.url + "/v1", api_key=token, model=model, top_k=ask.most)
    found = ranker.run(ask.query, [Document(content=text, meta={"index": n}) for n, text in enumerate(ask.texts)])
    return [(each.meta["index"], each.score) for each in found["documents"]]


def rank(ask: Any) -> list[tuple[int, float]]:
    return ranked(ask, ask.model)


def rank_unnamed(ask: Any) -> list[tuple[int, float]]:
    """Sends "model": null."""
    return ranked(ask, None)


CLIENTS = {"NvidiaRanker": rank, "NvidiaRanker, unnamed": rank_unnamed}
