"""The rerankers package, by its providers whose API is spoken here."""

from typing import Any

from rerankers import Reranker


def by(kind: str, path: str) -> Any:
    def rank(ask: Any) -> list[tuple[int, float]]:
        ranker = Reranker(ask.model, model_type=kind, api_key=ask.key or "none", url=ask.url + path, verbose=0)
        found = ranker.rank(ask.query, ask.texts)
        return [(each.doc_id, each.score) for each in found.top_k(ask.most)]

    return rank


CLIENTS = {
    "cohere": by("cohere", "/v1/rerank"),
    "jina": by("jina", "/v1/rerank"),
    "voyage": by("voyage", "/v1/rerank"),
    "text-embeddings-inference": by("text-embeddings-inference", "/rerank"),
}
