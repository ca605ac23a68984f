"""bge-reranker-v2-gemma: a Gemma asked whether B answers A."""

from __future__ import annotations

from typing import Final

from reranker_runtime.models import decoder
from reranker_runtime.models.blueprint import Design, Family, Written
from reranker_runtime.models.geometry import Activation
from reranker_runtime.models.qwen3 import token_logit
from reranker_runtime.models.source import Source

TASK: Final = (
    "Given a query A and a passage B, determine whether the passage contains an answer to the query by providing a "
    "prediction of either 'Yes' or 'No'."
)
PROMPT: Final = Written(
    before=("<bos>",),
    query="A: {query}",
    between=("\n",),
    passage="B: {passage}",
    after=("\n", TASK),
    query_share=(3, 4),
)
CAP: Final = 512


def read(source: Source) -> Design:
    source.refuse_modules()
    head, shapes = token_logit(source, source.vocabulary.id("Yes"), None)
    body = decoder.body(
        source.config,
        causal=True,
        scaled_embedding=True,
        norm_offset=1.0,
        # Published configurations say "gelu" and mean its tanh form, which is what the weights were trained with.
        activation=Activation.GELU_TANH,
    )
    return source.design(body, PROMPT, head, shapes=shapes, cap=CAP)


FAMILY: Final = Family(
    name="bge-reranker-gemma",
    models="bge-reranker-v2-gemma",
    architectures=("GemmaForCausalLM",),
    packed=True,
    template="BOS, `A: {query}` (at most three quarters of the limit), `\\n`, `B: {passage}`, `\\n`, the task",
    head="last token: logit of `Yes`",
    limit=f"max_position_embeddings, at most {CAP}",
    read=read,
)
