"""ELECTRA cross-encoders (ms-marco-electra-base)."""

from __future__ import annotations

from typing import Final

from reranker_runtime.models import bert
from reranker_runtime.models.blueprint import Dense, Design, Family, Head, Pair, Pooling
from reranker_runtime.models.geometry import Activation
from reranker_runtime.models.source import Source


def read(source: Source) -> Design:
    source.refuse_modules()
    source.refuse_labels("classifier.out_proj.weight")
    encoder = bert.body(source, "electra.")
    # The head's activation is exact GELU whatever hidden_act says.
    head = Head((Pooling.CLS,), (Dense("classifier.dense", activation=Activation.GELU), Dense("classifier.out_proj")))
    shapes = bert.head_shapes("classifier.dense", "classifier.out_proj", source.config.integer("hidden_size"))
    return source.design(encoder, Pair(), head, shapes=shapes)


FAMILY: Final = Family(
    name="electra",
    models="ELECTRA cross-encoders (ms-marco-electra-base)",
    architectures=("ElectraForSequenceClassification",),
    packed=True,
    template="the tokenizer's pair: `[CLS] query [SEP] passage [SEP]`",
    head="first token → dense, GELU → out_proj",
    limit="max_position_embeddings",
    read=read,
)
