"""BERT and MiniLM cross-encoders; and the BERT-shaped body that RoBERTa, XLM-R and ELECTRA share.

These differ in where positions start, the prefix of tensor names, the width of the embeddings, and the head.
"""

from __future__ import annotations

from typing import Final

from reranker_runtime.models.blueprint import Body, Dense, Design, Family, Head, Pair, Pooling, Shapes
from reranker_runtime.models.config import Config
from reranker_runtime.models.geometry import ACTIVATIONS, Activation, EncoderGeometry
from reranker_runtime.models.source import Source

LINEARS: Final = (
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "intermediate.dense",
    "output.dense",
)
NORMS: Final = ("attention.output.LayerNorm", "output.LayerNorm")


def body(source: Source, prefix: str, *, roberta: bool = False) -> Body:
    """Sizes and tensors; what would change the arithmetic silently is refused."""
    geometry = _geometry(source.config, roberta=roberta)
    return Body(
        geometry=geometry,
        shapes=_shapes(geometry),
        prefixes=(prefix, ""),
        anchor="embeddings.word_embeddings.weight",
        positions=geometry.positions,
        vocabulary=geometry.vocabulary,
        segments=geometry.types,
    )


def _geometry(config: Config, *, roberta: bool) -> EncoderGeometry:
    config.refuse(position_embedding_type="absolute", is_decoder=False, add_cross_attention=False)
    hidden, heads = config.integer("hidden_size"), config.integer("num_attention_heads")
    if hidden % heads:
        raise config.wrong("num_attention_heads", f"a divisor of hidden_size {hidden}")
    rows = config.integer("max_position_embeddings")
    # RoBERTa counts positions from the padding token's id + 1; one off here drifts every score a little.
    first = config.integer("pad_token_id", 1, least=0) + 1 if roberta else 0
    if rows <= first:
        raise config.wrong("max_position_embeddings", f"more than the first position {first}")
    return EncoderGeometry(
        vocabulary=config.integer("vocab_size"),
        embedding=config.integer("embedding_size", hidden),
        hidden=hidden,
        layers=config.layers(),
        heads=heads,
        feed_forward=config.integer("intermediate_size"),
        position_rows=rows,
        first_position=first,
        types=config.integer("type_vocab_size", 2),
        epsilon=config.number("layer_norm_eps", 1e-12),
        activation=config.choice("hidden_act", "gelu", ACTIVATIONS),
    )


def _shapes(geometry: EncoderGeometry) -> Shapes:
    width, wide, narrow = geometry.hidden, geometry.feed_forward, geometry.embedding
    shapes: Shapes = {
        "embeddings.word_embeddings.weight": (geometry.vocabulary, narrow),
        "embeddings.position_embeddings.weight": (geometry.position_rows, narrow),
        "embeddings.token_type_embeddings.weight": (geometry.types, narrow),
        "embeddings.LayerNorm.weight": (narrow,),
        "embeddings.LayerNorm.bias": (narrow,),
    }
    if narrow != width:
        shapes |= {"embeddings_project.weight": (width, narrow), "embeddings_project.bias": (width,)}
    sizes = {"intermediate.dense": (wide, width), "output.dense": (width, wide)}
    for layer in range(geometry.layers):
        for linear in LINEARS:
            out, into = sizes.get(linear, (width, width))
            shapes[f"encoder.layer.{layer}.{linear}.weight"] = (out, into)
            shapes[f"encoder.layer.{layer}.{linear}.bias"] = (out,)
        for norm in NORMS:
            shapes[f"encoder.layer.{layer}.{norm}.weight"] = (width,)
            shapes[f"encoder.layer.{layer}.{norm}.bias"] = (width,)
    return shapes


def head_shapes(dense: str, last: str, width: int) -> Shapes:
    """A dense layer and a classifier of one label."""
    return {
        f"{dense}.weight": (width, width),
        f"{dense}.bias": (width,),
        f"{last}.weight": (1, width),
        f"{last}.bias": (1,),
    }


def read(source: Source) -> Design:
    source.refuse_modules()
    source.refuse_labels("classifier.weight")
    encoder = body(source, "bert.")
    head = Head((Pooling.CLS,), (Dense("pooler.dense", activation=Activation.TANH), Dense("classifier")))
    shapes = head_shapes("pooler.dense", "classifier", source.config.integer("hidden_size"))
    return source.design(encoder, Pair(), head, shapes=shapes)


FAMILY: Final = Family(
    name="bert",
    models="BERT and MiniLM cross-encoders (ms-marco-MiniLM)",
    architectures=("BertForSequenceClassification",),
    packed=True,
    template="the tokenizer's pair: `[CLS] query [SEP] passage [SEP]`",
    head="`[CLS]` → pooler, tanh → classifier",
    limit="max_position_embeddings",
    read=read,
)
