"""RoBERTa and XLM-R cross-encoders (bge-reranker-base, -large, -v2-m3)."""

from __future__ import annotations

from typing import Final

from reranker_runtime.models import bert
from reranker_runtime.models.blueprint import Dense, Design, Family, Head, Pair, Pooling
from reranker_runtime.models.geometry import Activation
from reranker_runtime.models.source import Source


def read(source: Source) -> Design:
    source.refuse_modules()
    source.refuse_labels("classifier.out_proj.weight")
    encoder = bert.body(source, "roberta.", roberta=True)
    head = Head((Pooling.CLS,), (Dense("classifier.dense", activation=Activation.TANH), Dense("classifier.out_proj")))
    shapes = bert.head_shapes("classifier.dense", "classifier.out_proj", source.config.integer("hidden_size"))
    return source.design(encoder, Pair(), head, shapes=shapes)


FAMILY: Final = Family(
    name="roberta",
    models="RoBERTa and XLM-R cross-encoders (bge-reranker-base, -large, -v2-m3)",
    architectures=("RobertaForSequenceClassification", "XLMRobertaForSequenceClassification"),
    packed=True,
    template="the tokenizer's pair: `<s> query </s></s> passage </s>`",
    head="first token → dense, tanh → out_proj",
    limit="max_position_embeddings less the padding token's id + 1",
    read=read,
)
