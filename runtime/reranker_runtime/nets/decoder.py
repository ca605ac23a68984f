"""The Llama-shaped decoder on packed rows: Llama, Mistral, Qwen2, Qwen3 and Gemma, causal or bidirectional."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from reranker_runtime.engine.rows import Row
from reranker_runtime.models.geometry import DecoderGeometry
from reranker_runtime.nets.attention import Attention, Heads
from reranker_runtime.nets.head import TorchHead
from reranker_runtime.nets.layout import Layout, Prefix, has_kernel
from reranker_runtime.nets.linear import Linear
from reranker_runtime.nets.net import skips
from reranker_runtime.nets.rope import Rotation, rotate
from reranker_runtime.nets.weights import Weights

SLICE = 2048
"""Tokens that the wide middle of a feed-forward block holds at once: it bounds memory, and keeps caches warm."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One block; query, key and value are one matrix, in the last block of a one-token head two."""

    input_norm: Tensor
    q: Linear | None
    kv: Linear | None
    qkv: Linear | None
    q_norm: Tensor | None
    k_norm: Tensor | None
    out: Linear
    post_norm: Tensor
    gate: Linear
    up: Linear
    down: Linear


class Decoder:
    """Rows in, one logit or one vector per row out."""

    def __init__(
        self, geometry: DecoderGeometry, positions: int, head: TorchHead, weights: Weights, device: torch.device
    ) -> None:
        self._geometry, self._head, self._device = geometry, head, device
        self._kernel = has_kernel(device, weights.dtype, geometry.head_size)
        self._heads = Heads(geometry.heads, geometry.key_heads, geometry.head_size, causal=geometry.causal)
        self._words = weights.get("embed_tokens.weight")
        if geometry.scaled_embedding:
            self._words *= torch.tensor(geometry.hidden**0.5, dtype=weights.dtype)
        self._norm = self._norm_weight(weights, "norm")
        self._rotation = Rotation(geometry.rope, geometry.head_size, positions, device, weights.dtype)
        last = geometry.layers - 1
        self._layers = [self._layer(weights, n, split=n == last and head.one_token) for n in range(geometry.layers)]

    @torch.inference_mode()
    def forward(self, rows: Sequence[Row], prefixes: Sequence[Prefix | None]) -> Tensor:
        """[rows, 1] logits, or [rows, hidden] vectors; fp32, on the CPU, in the order given."""
        layout = self._layout([len(row.ids) for row in rows], prefixes)
        hidden = self.embed(rows, layout)
        at = self._rotation.at(layout.positions)
        attention = Attention(layout, self._heads)
        for number, layer in enumerate(self._layers[:-1]):
            qkv = self._project(self._normed(hidden, layer.input_norm), layer, at)
            hidden = self._feed_forward(layer.out.plus(attention(qkv, number), hidden), layer)
        return self._last(hidden, layout, attention, at, rows).cpu()

    @torch.inference_mode()
    def prefix(self, ids: Sequence[int]) -> Prefix:
        """Rotated keys and values of each layer for tokens that rows will begin with."""
        layout = self._layout([len(ids)])
        hidden = self._words.index_select(0, layout.flat([ids]))
        at = self._rotation.at(layout.positions)
        attention = Attention(layout, self._heads)
        kept: list[Tensor] = []
        for number, layer in enumerate(self._layers):
            normed = self._normed(hidden, layer.input_norm)
            if layer.qkv is None:  # the last: nobody asks for these tokens' own outcome
                kept.append(self._keys(normed, layer, at)[: layout.real])
                break
            qkv = self._project(normed, layer, at)
            kept.append(qkv[: layout.real, self._heads.key_columns].contiguous())
            if number < len(self._layers) - 1:
                hidden = self._feed_forward(layer.out.plus(attention(qkv, number), hidden), layer)
        return Prefix(len(ids), tuple(kept))

    def _layout(self, lengths: Sequence[int], prefixes: Sequence[Prefix | None] | None = None) -> Layout:
        return Layout(lengths, self._device, prefixes, heads=self._geometry.key_heads, kernel=self._kernel)

    def embed(self, rows: Sequence[Row], layout: Layout) -> Tensor:
        return self._words.index_select(0, layout.flat([row.ids for row in rows]))

    def _last(
        self, hidden: Tensor, layout: Layout, attention: Attention, at: tuple[Tensor, Tensor], rows: Sequence[Row]
    ) -> Tensor:
        layer, number = self._layers[-1], len(self._layers) - 1
        normed = self._normed(hidden, layer.input_norm)
        if layer.qkv is not None:
            attended = attention(self._project(normed, layer, at), number)
            hidden = self._feed_forward(layer.out.plus(attended, hidden), layer)
            return self._head(self._head.pool(self._normed(hidden, self._norm), layout, skips(rows)))
        # Only one token of each row is read: the last block computes no other.
        places = self._head.places(layout, skips(rows))
        kv = self._keys(normed, layer, at)
        q = self._queries(normed.index_select(0, places), layer, tuple(t.index_select(0, places) for t in at))
        ones = layer.out.plus(attention.pooled(q, kv, number), hidden.index_select(0, places))
        return self._head(self._normed(self._feed_forward(ones, layer), self._norm))

    def _project(self, normed: Tensor, layer: Layer, at: tuple[Tensor, Tensor]) -> Tensor:
        """Queries, keys and values side by side, the first two rotated."""
        assert layer.qkv is not None  # noqa: S101 - the last block of a one-token head goes another way  # nosec B101
        qkv = layer.qkv(normed)
        geometry = self._geometry
        heads = qkv.unflatten(1, (-1, geometry.head_size))
        turned = heads[:, : geometry.heads + geometry.key_heads]
        if layer.q_norm is not None and layer.k_norm is not None:
            q, k = turned[:, : geometry.heads], turned[:, geometry.heads :]
            q.copy_(self._normed(q, layer.q_norm))
            k.copy_(self._normed(k, layer.k_norm))
        rotate(turned, at)
        return qkv

    def _queries(self, normed: Tensor, layer: Layer, at: tuple[Tensor, ...]) -> Tensor:
        assert layer.q is not None  # noqa: S101 - as above  # nosec B101
        q = layer.q(normed).unflatten(1, (-1, self._geometry.head_size))
        q = q if layer.q_norm is None else self._normed(q, layer.q_norm)
        rotate(q, (at[0], at[1]))
        return q.flatten(1)

    def _keys(self, normed: Tensor, layer: Layer, at: tuple[Tensor, Tensor]) -> Tensor:
        """Rotated keys and values side by side."""
        assert layer.kv is not None  # noqa: S101 - as above  # nosec B101
        kv = layer.kv(normed)
        k = kv.unflatten(1, (-1, self._geometry.head_size))[:, : self._geometry.key_heads]
        if layer.k_norm is not None:
            k.copy_(self._normed(k, layer.k_norm))
        rotate(k, at)
        return kv

    def _feed_forward(self, hidden: Tensor, layer: Layer) -> Tensor:
        if hidden.shape[0] <= SLICE or hidden.is_cuda:
            return self._slice(hidden, layer)
        return torch.cat([self._slice(part, layer) for part in hidden.split(SLICE)])

    def _slice(self, hidden: Tensor, layer: Layer) -> Tensor:
        normed = self._normed(hidden, layer.post_norm)
        gate = layer.gate.activated(normed, self._geometry.activation)
        return layer.down.plus(layer.up.times(normed, gate), hidden)

    def _normed(self, x: Tensor, weight: Tensor) -> Tensor:
        if weight.dtype is x.dtype:
            return functional.rms_norm(x, (x.shape[-1],), weight, self._geometry.epsilon)
        return functional.rms_norm(x.float(), (x.shape[-1],), weight, self._geometry.epsilon).to(x.dtype)

    def _norm_weight(self, weights: Weights, name: str) -> Tensor:
        if not self._geometry.norm_offset:
            return weights.get(f"{name}.weight")
        # Gemma's weight + 1 has digits that bf16 would drop, and with them half of a score's precision.
        return weights.get(f"{name}.weight", torch.float32) + self._geometry.norm_offset

    def _layer(self, weights: Weights, number: int, *, split: bool) -> Layer:
        at, geometry = f"layers.{number}", self._geometry
        query, key, value = (f"{at}.self_attn.{name}_proj" for name in "qkv")
        return Layer(
            input_norm=self._norm_weight(weights, f"{at}.input_layernorm"),
            q=weights.linear(query) if split else None,
            kv=weights.linear(key, value) if split else None,
            qkv=None if split else weights.linear(query, key, value),
            q_norm=self._norm_weight(weights, f"{at}.self_attn.q_norm") if geometry.qk_norm else None,
            k_norm=self._norm_weight(weights, f"{at}.self_attn.k_norm") if geometry.qk_norm else None,
            out=weights.linear(f"{at}.self_attn.o_proj"),
            post_norm=self._norm_weight(weights, f"{at}.post_attention_layernorm"),
            gate=weights.linear(f"{at}.mlp.gate_proj"),
            up=weights.linear(f"{at}.mlp.up_proj"),
            down=weights.linear(f"{at}.mlp.down_proj"),
        )
