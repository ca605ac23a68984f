"""DeBERTa-v2 and -v3 cross-encoders (mxbai-rerank-v1). Disentangled attention is not packed: transformers runs it."""

from __future__ import annotations

from typing import Final

from reranker_runtime.models.bert import head_shapes
from reranker_runtime.models.blueprint import Body, Dense, Design, Family, Head, Pair, Pooling, Shapes
from reranker_runtime.models.config import Config
from reranker_runtime.models.geometry import ACTIVATIONS, ForeignGeometry
from reranker_runtime.models.source import Source


def read(source: Source) -> Design:
    source.refuse_modules()
    source.refuse_labels("classifier.weight")
    config = source.config
    geometry = _geometry(config)
    encoder = Body(
        geometry=geometry,
        shapes=_shapes(geometry),
        prefixes=("deberta.", ""),
        anchor="embeddings.word_embeddings.weight",
        positions=geometry.positions,
        vocabulary=geometry.vocabulary,
        segments=max(1, geometry.types),
    )
    activation = config.choice("pooler_hidden_act", "gelu", ACTIVATIONS)
    # Run by transformers, head included; named here for the tensors that must be there.
    head = Head((Pooling.CLS,), (Dense("pooler.dense", activation=activation), Dense("classifier")))
    shapes = head_shapes("pooler.dense", "classifier", geometry.hidden)
    return source.design(encoder, Pair(), head, shapes=shapes)


def _geometry(config: Config) -> ForeignGeometry:
    config.refuse(pooler_hidden_size=config.values.get("hidden_size"))
    return ForeignGeometry(
        vocabulary=config.integer("vocab_size"),
        hidden=config.integer("hidden_size"),
        layers=config.layers(),
        heads=config.integer("num_attention_heads"),
        feed_forward=config.integer("intermediate_size"),
        types=config.integer("type_vocab_size", 0, least=0),
        positions=config.integer("max_position_embeddings", 512),
    )


def _shapes(geometry: ForeignGeometry) -> Shapes:
    """What every variant has; transformers, which knows them all, refuses to load where another is missing."""
    width, wide = geometry.hidden, geometry.feed_forward
    shapes: Shapes = {}
    sizes = {"intermediate.dense": (wide, width), "output.dense": (width, wide)}
    attention = [f"attention.self.{name}_proj" for name in ("query", "key", "value")]
    for layer in range(geometry.layers):
        for linear in (*attention, "attention.output.dense", *sizes):
            out, into = sizes.get(linear, (width, width))
            shapes[f"encoder.layer.{layer}.{linear}.weight"] = (out, into)
            shapes[f"encoder.layer.{layer}.{linear}.bias"] = (out,)
    return shapes


FAMILY: Final = Family(
    name="deberta-v2",
    models="DeBERTa-v2 and -v3 cross-encoders (mxbai-rerank-v1)",
    architectures=("DebertaV2ForSequenceClassification",),
    packed=False,
    template="the tokenizer's pair: `[CLS] query [SEP] passage [SEP]`",
    head="`[CLS]` → pooler → classifier",
    limit="max_position_embeddings",
    read=read,
)
