"""The Llama-shaped body that NVIDIA's, Qwen's, mixedbread's and BAAI's rerankers share; read, never assumed."""

from __future__ import annotations

from typing import Any, Final

from reranker_runtime.models.blueprint import Body, Shapes
from reranker_runtime.models.config import Config
from reranker_runtime.models.geometry import ACTIVATIONS, Activation, DecoderGeometry, Rope

ANCHOR: Final = "embed_tokens.weight"


def body(
    config: Config,
    *,
    causal: bool,
    prefixes: tuple[str, ...] = ("model.",),
    qkv_bias: bool = False,
    qk_norm: bool = False,
    scaled_embedding: bool = False,
    norm_offset: float = 0.0,
    activation: Activation | None = None,
) -> Body:
    """Sizes and tensors by config.json; what would change the arithmetic silently is refused."""
    config.refuse(attention_bias=qkv_bias, mlp_bias=False, partial_rotary_factor=1.0, quantization_config=None)
    if causal:
        config.refuse(is_causal=True, use_bidirectional_attention=False)
    hidden, heads = config.integer("hidden_size"), config.integer("num_attention_heads")
    key_heads = config.integer("num_key_value_heads", heads)
    if heads % key_heads:
        raise config.wrong("num_key_value_heads", f"a divisor of num_attention_heads {heads}")
    size = config.integer("head_dim", max(1, hidden // heads))
    if size % 2:
        raise config.wrong("head_dim", "an even number")
    geometry = DecoderGeometry(
        vocabulary=config.integer("vocab_size"),
        hidden=hidden,
        layers=config.layers(),
        heads=heads,
        key_heads=key_heads,
        head_size=size,
        feed_forward=config.integer("intermediate_size"),
        epsilon=config.number("rms_norm_eps", 1e-6),
        activation=activation or config.choice("hidden_act", "silu", ACTIVATIONS),
        rope=_rope(config),
        causal=causal,
        qkv_bias=qkv_bias,
        qk_norm=qk_norm,
        scaled_embedding=scaled_embedding,
        norm_offset=norm_offset,
    )
    return Body(
        geometry=geometry,
        shapes=_shapes(geometry),
        prefixes=prefixes,
        anchor=ANCHOR,
        positions=_positions(config),
        vocabulary=geometry.vocabulary,
    )


def _positions(config: Config) -> int:
    """Within a sliding window, attention is whole; beyond it would not be, so the window bounds the sequence."""
    positions = config.integer("max_position_embeddings")
    window: Any = config.values.get("sliding_window")
    sliding = window is not None and config.values.get("use_sliding_window") is not False
    return min(positions, config.integer("sliding_window")) if sliding else positions


def _rope(config: Config) -> Rope:
    """rope_parameters as transformers 5 writes it, or rope_theta beside rope_scaling as 4 did."""
    values = config.values.get("rope_parameters") or config.values.get("rope_scaling")
    theta = config.number("rope_theta", 10_000.0)
    if values is None:
        return Rope(theta)
    part = config.part("rope_parameters" if config.values.get("rope_parameters") else "rope_scaling")
    part.refuse(partial_rotary_factor=1.0)
    theta = part.number("rope_theta", theta)
    kind = part.values.get("rope_type", part.values.get("type", "default"))
    if kind == "default":
        return Rope(theta)
    if kind == "linear":
        return Rope(theta, part.number("factor", 1.0), linear=True)
    if kind != "llama3":
        raise part.unsupported("rope_type", "default, linear, llama3")
    original = config.integer("max_position_embeddings")
    return Rope(
        theta,
        factor=part.number("factor", 1.0),
        low=part.number("low_freq_factor", 1.0),
        high=part.number("high_freq_factor", 4.0),
        original=part.integer("original_max_position_embeddings", original),
    )


def _shapes(geometry: DecoderGeometry) -> Shapes:
    width, wide, size = geometry.hidden, geometry.feed_forward, geometry.head_size
    sizes = {
        "self_attn.q_proj": (geometry.heads * size, width),
        "self_attn.k_proj": (geometry.key_heads * size, width),
        "self_attn.v_proj": (geometry.key_heads * size, width),
        "self_attn.o_proj": (width, geometry.heads * size),
        "mlp.gate_proj": (wide, width),
        "mlp.up_proj": (wide, width),
        "mlp.down_proj": (width, wide),
    }
    shapes: Shapes = {ANCHOR: (geometry.vocabulary, width), "norm.weight": (width,)}
    for layer in range(geometry.layers):
        for name, (out, into) in sizes.items():
            shapes[f"layers.{layer}.{name}.weight"] = (out, into)
            if geometry.qkv_bias and name[-6] in "qkv":
                shapes[f"layers.{layer}.{name}.bias"] = (out,)
        for norm in ("input_layernorm", "post_attention_layernorm"):
            shapes[f"layers.{layer}.{norm}.weight"] = (width,)
        if geometry.qk_norm:
            for norm in ("q_norm", "k_norm"):
                shapes[f"layers.{layer}.self_attn.{norm}.weight"] = (size,)
    return shapes
