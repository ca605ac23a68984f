"""NVIDIA's text rerankers: a Llama or Mistral whose tokens all see each other, averaged, and one linear layer."""

from __future__ import annotations

from typing import Final

from reranker_runtime.models import decoder
from reranker_runtime.models.blueprint import SCORE, Dense, Design, Family, Head, Pooling, Shapes, Written
from reranker_runtime.models.config import Config
from reranker_runtime.models.source import Source

POOLINGS: Final = {"avg": Pooling.MEAN, "cls": Pooling.CLS, "last": Pooling.LAST}
# The colon opens the passage's part, for Llama 3's tokenizer joins it with the word that follows.
PROMPT: Final = Written(query="question:{query} \n \n passage", passage=":{passage}", bos=True)
CAP: Final = 8192
"""Tokens that NVIDIA supports; the base model's positions go further."""
MISTRAL: Final = "MistralBidirectionalForSequenceClassification"
MISTRAL_CAP: Final = 512


def head(config: Config, hidden: int, default: str = "avg") -> tuple[Head, Shapes]:
    """Mean over all tokens unless `pooling` says otherwise; the logit is divided by `temperature`."""
    pooling = config.choice("pooling", default, POOLINGS)
    made = Head((pooling,), (Dense(SCORE, bias=False),), temperature=config.number("temperature", 1.0))
    return made, {f"{SCORE}.weight": (1, hidden)}


def read(source: Source) -> Design:
    source.refuse_modules()
    source.refuse_labels(f"{SCORE}.weight")
    made, shapes = head(source.config, source.config.integer("hidden_size"))
    cap = MISTRAL_CAP if source.architecture == MISTRAL else CAP
    return source.design(decoder.body(source.config, causal=False), PROMPT, made, shapes=shapes, cap=cap)


FAMILY: Final = Family(
    name="llama-bidirec",
    models="llama-nemotron-rerank-1b-v2 (llama-3.2-nv-rerankqa-1b-v2), -500m; Mistral-4B in the same layout",
    architectures=("LlamaBidirectionalForSequenceClassification", MISTRAL),
    packed=True,
    template="BOS, `question:{query} \\n \\n passage:{passage}`",
    head="`pooling` (avg, cls or last) → score, over `temperature`",
    limit=f"max_position_embeddings, at most {CAP} (Mistral {MISTRAL_CAP})",
    read=read,
)
