"""mxbai-rerank-v2: a Qwen2 that answers 1 or 0."""

from __future__ import annotations

from typing import Final

from reranker_runtime.models import decoder
from reranker_runtime.models.blueprint import Design, Family, Written
from reranker_runtime.models.qwen3 import token_logit
from reranker_runtime.models.source import Source

TASK: Final = (
    "You are a search relevance expert who evaluates how well documents match search queries. For each query-document "
    "pair, carefully analyze the semantic relationship between them, then provide your binary relevance judgment "
    "(0 for not relevant, 1 for relevant).\nRelevance:"
)
SYSTEM: Final = (
    "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
    "<|im_start|>user\n"
)
PROMPT: Final = Written(
    before=(SYSTEM,),
    query="query: {query}",
    instructed="instruction: {instruction}\nquery: {query}",
    between=("\n",),
    passage="document: {passage}",
    after=("\n", TASK, "<|im_end|>\n<|im_start|>assistant\n"),
)
CAP: Final = 8192


def read(source: Source) -> Design:
    source.refuse_modules()
    head, shapes = token_logit(source, source.vocabulary.id("1"), source.vocabulary.id("0"))
    return source.design(decoder.body(source.config, causal=True, qkv_bias=True), PROMPT, head, shapes=shapes, cap=CAP)


FAMILY: Final = Family(
    name="mxbai-rerank-v2",
    models="mxbai-rerank-base-v2, -large-v2",
    architectures=("Qwen2ForCausalLM",),
    packed=True,
    template="system prompt, `instruction: {instruction}\\n` where one is set, "
    "`query: {query}\\ndocument: {passage}\\n`, the task",
    head="last token: logit of `1` less that of `0`",
    limit=f"max_position_embeddings, at most {CAP}",
    read=read,
)
