"""LiteLLM, by the prefix of every provider whose API is spoken here."""

import asyncio
from typing import Any

import litellm


def by(prefix: str, base: str = "", **more: Any) -> Any:
    return lambda ask: told(litellm.rerank(**arguments(ask, prefix, base), **more))


def arguments(ask: Any, prefix: str, base: str) -> dict[str, Any]:
    top = {} if ask.top is None else {"top_n": ask.top}
    where = {"model": f"{prefix}/{ask.model}", "api_base": ask.url + base, "api_key": ask.key or "none"}
    return where | {"query": ask.query, "documents": ask.texts} | top


def told(answer: Any) -> list[tuple[int, float]]:
    return [(each["index"], each["relevance_score"]) for each in answer.results]


def rank_async(ask: Any) -> list[tuple[int, float]]:
    return told(asyncio.run(litellm.arerank(**arguments(ask, "hosted_vllm", ""))))


CLIENTS = {
    "nvidia_nim": by("nvidia_nim"),
    "nvidia_nim, cut": by("nvidia_nim", truncate="END"),
    "nvidia_nim/ranking": by("nvidia_nim/ranking", "/v1"),
    "cohere": by("cohere"),
    "cohere, v1": by("cohere", "/v1/rerank", max_chunks_per_doc=100),
    "jina_ai": by("jina_ai"),
    "hosted_vllm": by("hosted_vllm"),
    "hosted_vllm, v1": by("hosted_vllm", "/v1"),
    "hosted_vllm, async": rank_async,
    # It takes a document in the answer for a string, the others for an object; asked for none, it is content.
    "infinity": by("infinity", return_documents=False),
    "huggingface": by("huggingface"),
    "voyage": by("voyage"),
}
