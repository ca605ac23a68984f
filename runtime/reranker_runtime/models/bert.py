"""The BERT shape without torch: sizes from config.json, and every tensor the encoder and its head need.

BERT, RoBERTa and XLM-R differ in three things only: where positions start, the prefix of tensor names, and the head.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from reranker_runtime.artifacts.tensors import DTYPES, Tensor
from reranker_runtime.errors import ModelError, Reason
from reranker_runtime.models.blueprint import Activation, Config, Geometry, Head

ACTIVATIONS: Final = {
    "gelu": Activation.GELU,
    "gelu_new": Activation.GELU_TANH,
    "gelu_pytorch_tanh": Activation.GELU_TANH,
    "gelu_fast": Activation.GELU_TANH,
    "relu": Activation.RELU,
    "silu": Activation.SILU,
    "swish": Activation.SILU,
}
LINEARS: Final = (
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "intermediate.dense",
    "output.dense",
)
NORMS: Final = ("attention.output.LayerNorm", "output.LayerNorm")

Shapes = dict[str, tuple[int, ...]]


def read_geometry(config: Config, *, roberta: bool) -> Geometry:
    """Sizes from config.json; what would change the arithmetic silently is refused."""
    if config.values.get("position_embedding_type") not in (None, "absolute"):
        raise config.unsupported("position_embedding_type", "absolute")
    for key in ("is_decoder", "add_cross_attention"):
        if config.values.get(key):
            raise config.unsupported(key, "false")
    activation = config.values.get("hidden_act", "gelu")
    if activation not in ACTIVATIONS:
        raise config.unsupported("hidden_act", ", ".join(ACTIVATIONS))
    hidden, heads = config.integer("hidden_size"), config.integer("num_attention_heads")
    if hidden % heads:
        raise config.wrong("num_attention_heads", f"a divisor of hidden_size {hidden}")
    rows = config.integer("max_position_embeddings")
    # RoBERTa counts positions from the padding token's id + 1; one off here drifts every score a little.
    first = config.integer("pad_token_id", 1, least=0) + 1 if roberta else 0
    if rows <= first:
        raise config.wrong("max_position_embeddings", f"more than the first position {first}")
    return Geometry(
        vocabulary=config.integer("vocab_size"),
        hidden=hidden,
        layers=config.integer("num_hidden_layers"),
        heads=heads,
        feed_forward=config.integer("intermediate_size"),
        position_rows=rows,
        first_position=first,
        types=config.integer("type_vocab_size", 2),
        epsilon=config.number("layer_norm_eps", 1e-12),
        activation=ACTIVATIONS[activation],
    )


def encoder_shapes(geometry: Geometry) -> Shapes:
    """Every tensor of the encoder, without the prefix that the architecture puts before it."""
    width, wide = geometry.hidden, geometry.feed_forward
    shapes: Shapes = {
        "embeddings.word_embeddings.weight": (geometry.vocabulary, width),
        "embeddings.position_embeddings.weight": (geometry.position_rows, width),
        "embeddings.token_type_embeddings.weight": (geometry.types, width),
        "embeddings.LayerNorm.weight": (width,),
        "embeddings.LayerNorm.bias": (width,),
    }
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


def head_shapes(head: Head, geometry: Geometry) -> Shapes:
    """Every tensor of a cross-encoder's head, by the names that `save_pretrained` gives them."""
    width = geometry.hidden
    dense, last = {
        Head.BERT: ("bert.pooler.dense", "classifier"),
        Head.ROBERTA: ("classifier.dense", "classifier.out_proj"),
    }[head]
    return {
        f"{dense}.weight": (width, width),
        f"{dense}.bias": (width,),
        f"{last}.weight": (1, width),
        f"{last}.bias": (1,),
    }


def find_tensors(
    needed: Shapes, present: Mapping[str, Tensor], prefixes: tuple[str, ...], where: str
) -> dict[str, tuple[str, str]]:
    """Where each needed tensor is; a missing one, another shape or another number type is refused by name."""
    prefix = next((p for p in prefixes if p + "embeddings.word_embeddings.weight" in present), prefixes[0])
    found: dict[str, tuple[str, str]] = {}
    for name, shape in needed.items():
        stored = name if name in present and not name.startswith(("embeddings.", "encoder.")) else prefix + name
        if stored not in present:  # names of checkpoints converted from TensorFlow
            stored = stored.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        if stored not in present:
            wanted = name if name.startswith(("bert.", "classifier")) else prefix + name
            raise ModelError(
                Reason.TENSOR_MISSING,
                f"{where} has no tensor {wanted} of shape {list(shape)}; "
                "save the whole model, its ranking head included, with save_pretrained(...)",
            )
        tensor = present[stored]
        if tensor.shape != shape:
            raise ModelError(
                Reason.TENSOR_MISMATCH,
                f"{where}: {stored} in {tensor.file} has shape {list(tensor.shape)}, config.json implies "
                f"{list(shape)}; weights and config.json are from different models",
            )
        if tensor.dtype not in DTYPES:
            raise ModelError(
                Reason.TENSOR_MISMATCH,
                f"{where}: {stored} in {tensor.file} is stored as {tensor.dtype}; "
                f"supported: {', '.join(DTYPES)}. Use the model's unquantised weights",
            )
        found[name] = (tensor.file, stored)
    return found
