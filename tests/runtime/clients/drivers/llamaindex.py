"""LlamaIndex's postprocessors for NVIDIA's reranking NIM and for text-embeddings-inference."""

from typing import Any

from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.postprocessor.nvidia_rerank import NVIDIARerank
from llama_index.postprocessor.tei_rerank import TextEmbeddingInference


def ranked(postprocessor: Any, ask: Any) -> list[tuple[int, float]]:
    nodes = [NodeWithScore(node=TextNode(text=text, id_=str(n))) for n, text in enumerate(ask.texts)]
    return [(int(e.node.node_id), e.score) for e in postprocessor.postprocess_nodes(nodes, QueryBundle(ask.query))]


def rank(ask: Any) -> list[tuple[int, float]]:
    return ranked(NVIDIARerank(base_url=ask.url + "/v1", api_key=ask.key, model=ask.model, top_n=ask.most), ask)


def rank_unnamed(ask: Any) -> list[tuple[int, float]]:
    return ranked(NVIDIARerank(base_url=ask.url + "/v1", api_key=ask.key, top_n=ask.most), ask)


def rank_tei(ask: Any) -> list[tuple[int, float]]:
    token = f"Bearer {ask.key}" if ask.key else None
    return ranked(TextEmbeddingInference(base_url=ask.url, auth_token=token, top_n=ask.most), ask)


CLIENTS = {"NVIDIARerank": rank, "NVIDIARerank, unnamed": rank_unnamed, "TextEmbeddingInference": rank_tei}
