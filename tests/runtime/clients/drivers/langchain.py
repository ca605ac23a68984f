"""LangChain's compressor for NVIDIA's reranking NIM."""

import asyncio
from typing import Any

from langchain_core.documents import Document
from langchain_nvidia_ai_endpoints import NVIDIARerank


def compressor(ask: Any, base: str, model: str | None) -> Any:
    key = {"api_key": ask.key} if ask.key else {}
    return NVIDIARerank(base_url=base, model=model, top_n=ask.most, **key)


def documents(ask: Any) -> list[Document]:
    return [Document(page_content=text, metadata={"index": n}) for n, text in enumerate(ask.texts)]


def told(ranked: Any) -> list[tuple[int, float]]:
    return [(each.metadata["index"], each.metadata["relevance_score"]) for each in ranked]


def rank(ask: Any) -> list[tuple[int, float]]:
    return told(compressor(ask, ask.url + "/v1", ask.model).compress_documents(documents(ask), ask.query))


def rank_unnamed(ask: Any) -> list[tuple[int, float]]:
    """No model, and the bare root for a base: the client lists what is served."""
    return told(compressor(ask, ask.url, None).compress_documents(documents(ask), ask.query))


def rank_async(ask: Any) -> list[tuple[int, float]]:
    found = compressor(ask, ask.url + "/v1", ask.model)
    return told(asyncio.run(found.acompress_documents(documents(ask), ask.query)))


CLIENTS = {"NVIDIARerank": rank, "NVIDIARerank, unnamed": rank_unnamed, "NVIDIARerank, async": rank_async}
