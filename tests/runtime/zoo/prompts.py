"""The prompts of causal rerankers, from what their publishers say of them, as ids of at most so many tokens."""

from __future__ import annotations

import json

from zoo.tokenizers import Reader

PREFIX = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
)
SUFFIX = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"
MXBAI_PREFIX = (
    "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
    "<|im_start|>user\n"
)
MXBAI_TASK = (
    "You are a search relevance expert who evaluates how well documents match search queries. For each query-document "
    "pair, carefully analyze the semantic relationship between them, then provide your binary relevance judgment "
    "(0 for not relevant, 1 for relevant).\nRelevance:"
)
MXBAI_SUFFIX = "<|im_end|>\n<|im_start|>assistant\n"
GEMMA_TASK = (
    "Given a query A and a passage B, determine whether the passage contains an answer to the query by providing a "
    "prediction of either 'Yes' or 'No'."
)


def qwen3_tokens(text: Reader, query: str, passage: str, limit: int, instruction: str | None) -> list[int]:
    first, last = text.template(PREFIX), text.template(SUFFIX)
    body = f"<Instruct>: {INSTRUCTION if instruction is None else instruction}\n<Query>: {query}\n<Document>: {passage}"
    return [*first, *text.user(body)[: max(limit - len(first) - len(last), 0)], *last]


def mxbai_tokens(text: Reader, query: str, passage: str, limit: int, instruction: str | None) -> list[int]:
    """Four pieces tokenised apart; the instruction and the query are one piece."""
    break_ = text.template("\n")
    first, last = text.template(MXBAI_PREFIX), [*break_, *text.template(MXBAI_TASK), *text.template(MXBAI_SUFFIX)]
    room = max(limit - len(first) - len(last), 0)
    asked = text.user((f"instruction: {instruction}\n" if instruction else "") + f"query: {query}")[:room]
    return [*first, *asked, *[*break_, *text.user(f"document: {passage}")][: room - len(asked)], *last]


def gemma_tokens(text: Reader, query: str, passage: str, limit: int, instruction: str | None) -> list[int]:
    break_ = text.template("\n")
    first, last = [text.id("<bos>")], [*break_, *text.template(GEMMA_TASK)]
    room = max(limit - len(first) - len(last), 0)
    asked = text.user(f"A: {query}")[: min(limit * 3 // 4, room)]
    return [*first, *asked, *[*break_, *text.user(f"B: {passage}")][: room - len(asked)], *last]


def chat_template() -> str:
    """A template for sentence-transformers' roles; its renderer drops one line break at the very end."""

    def content(role: str) -> str:
        return f'messages | selectattr("role", "eq", "{role}") | map(attribute="content") | first'

    instruction = f"{content('system')} | default({json.dumps(INSTRUCTION)})"
    body = f"<Instruct>: {{{{ {instruction} }}}}\n<Query>: {{{{ {content('query')} }}}}\n"
    return f"{PREFIX}{body}<Document>: {{{{ {content('document')} }}}}{SUFFIX}\n"
