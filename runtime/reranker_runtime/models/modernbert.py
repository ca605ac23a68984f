"""ModernBERT cross-encoders (gte-reranker-modernbert-base)."""

from __future__ import annotations

from typing import Any, Final

from reranker_runtime.models.blueprint import (
    Body,
    Dense,
    Design,
    Family,
    Head,
    Norm,
    Pair,
    Pooling,
    Shapes,
)
from reranker_runtime.models.config import Config
from reranker_runtime.models.geometry import ACTIVATIONS, ModernBertGeometry
from reranker_runtime.models.source import Source

GLOBAL, LOCAL = "full_attention", "sliding_attention"
THETAS: Final = {GLOBAL: ("global_rope_theta", 160_000.0), LOCAL: ("local_rope_theta", 10_000.0)}
POOLINGS: Final = {"cls": Pooling.CLS, "mean": Pooling.MEAN}


def body(source: Source) -> Body:
    """Sizes and tensors; what would change the arithmetic silently is refused."""
    geometry = _geometry(source.config)
    return Body(
        geometry=geometry,
        shapes=_shapes(geometry),
        prefixes=("model.", ""),
        anchor="embeddings.tok_embeddings.weight",
        positions=source.config.integer("max_position_embeddings", 8192),
        vocabulary=geometry.vocabulary,
    )


def _geometry(config: Config) -> ModernBertGeometry:
    hidden, heads = config.integer("hidden_size", 768), config.integer("num_attention_heads", 12)
    if hidden % heads or hidden // heads % 2:
        raise config.wrong("num_attention_heads", f"such that hidden_size {hidden} over it is an even number")
    layers = config.layers(22)
    return ModernBertGeometry(
        vocabulary=config.integer("vocab_size", 50368),
        hidden=hidden,
        layers=layers,
        heads=heads,
        feed_forward=config.integer("intermediate_size", 1152),
        epsilon=config.number("norm_eps", 1e-5),
        activation=config.choice("hidden_activation", "gelu", ACTIVATIONS),
        window=config.integer("local_attention", 128) // 2,
        local=_local(config, layers),
        global_theta=_theta(config, GLOBAL),
        local_theta=_theta(config, LOCAL),
        norm_bias=config.flag("norm_bias", default=False),
        attention_bias=config.flag("attention_bias", default=False),
        feed_forward_bias=config.flag("mlp_bias", default=False),
    )


def _local(config: Config, layers: int) -> tuple[bool, ...]:
    types: Any = config.values.get("layer_types")
    if types is None:
        every = config.integer("global_attn_every_n_layers", 3)
        return tuple(layer % every > 0 for layer in range(layers))
    if not isinstance(types, list) or len(types) != layers or not {GLOBAL, LOCAL}.issuperset(types):
        raise config.wrong("layer_types", f"{layers} times {GLOBAL} or {LOCAL}")
    return tuple(kind == LOCAL for kind in types)


def _theta(config: Config, kind: str) -> float:
    config.refuse(rope_scaling=None)
    key, default = THETAS[kind]
    if config.values.get("rope_parameters") is None:
        return config.number(key, default)
    part = config.part("rope_parameters").part(kind)
    part.refuse(rope_type="default")
    return part.number("rope_theta", default)


def _shapes(geometry: ModernBertGeometry) -> Shapes:
    width, wide = geometry.hidden, geometry.feed_forward
    shapes: Shapes = {"embeddings.tok_embeddings.weight": (geometry.vocabulary, width)}

    def norm(name: str) -> None:
        shapes[f"{name}.weight"] = (width,)
        if geometry.norm_bias:
            shapes[f"{name}.bias"] = (width,)

    def linear(name: str, out: int, into: int, *, bias: bool) -> None:
        shapes[f"{name}.weight"] = (out, into)
        if bias:
            shapes[f"{name}.bias"] = (out,)

    norm("embeddings.norm")
    for layer in range(geometry.layers):
        linear(f"layers.{layer}.attn.Wqkv", 3 * width, width, bias=geometry.attention_bias)
        linear(f"layers.{layer}.attn.Wo", width, width, bias=geometry.attention_bias)
        linear(f"layers.{layer}.mlp.Wi", 2 * wide, width, bias=geometry.feed_forward_bias)
        linear(f"layers.{layer}.mlp.Wo", width, wide, bias=geometry.feed_forward_bias)
        if layer:  # the first block's input was just normalised
            norm(f"layers.{layer}.attn_norm")
        norm(f"layers.{layer}.mlp_norm")
    norm("final_norm")
    return shapes


def read(source: Source) -> Design:
    source.refuse_modules()
    source.refuse_labels("classifier.weight")
    config, encoder = source.config, body(source)
    width = config.integer("hidden_size", 768)
    bias, norm_bias = config.flag("classifier_bias", default=False), config.flag("norm_bias", default=False)
    norm = Norm("head.norm", config.number("norm_eps", 1e-5), norm_bias)
    activation = config.choice("classifier_activation", "gelu", ACTIVATIONS)
    head = Head(
        (config.choice("classifier_pooling", "cls", POOLINGS),),
        (Dense("head.dense", bias=bias, activation=activation, norm=norm), Dense("classifier")),
    )
    shapes: Shapes = {
        "head.dense.weight": (width, width),
        "head.norm.weight": (width,),
        "classifier.weight": (1, width),
        "classifier.bias": (1,),
    }
    if bias:
        shapes["head.dense.bias"] = (width,)
    if norm_bias:
        shapes["head.norm.bias"] = (width,)
    return source.design(encoder, Pair(), head, shapes=shapes)


FAMILY: Final = Family(
    name="modernbert",
    models="ModernBERT cross-encoders (gte-reranker-modernbert-base)",
    architectures=("ModernBertForSequenceClassification",),
    packed=True,
    template="the tokenizer's pair: `[CLS] query [SEP] passage [SEP]`",
    head="`classifier_pooling` (cls or mean) → head.dense, activation, norm → classifier",
    limit="max_position_embeddings",
    read=read,
)
