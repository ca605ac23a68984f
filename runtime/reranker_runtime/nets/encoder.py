"""The BERT-shaped encoder on packed rows: BERT, RoBERTa, XLM-R and ELECTRA."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from reranker_runtime.engine.rows import Row
from reranker_runtime.models.geometry import Activation, EncoderGeometry
from reranker_runtime.nets.attention import Attention, Heads
from reranker_runtime.nets.head import TorchHead
from reranker_runtime.nets.layout import Layout, Prefix, has_kernel
from reranker_runtime.nets.linear import Linear
from reranker_runtime.nets.net import skips
from reranker_runtime.nets.weights import LayerNorm, Weights


@dataclass(frozen=True, slots=True)
class Layer:
    """One block; query, key and value are one matrix, in the last block of a one-token head two."""

    qkv: Linear
    kv: Linear | None
    out: Linear
    attention_norm: LayerNorm
    up: Linear
    down: Linear
    output_norm: LayerNorm
    activation: Activation


class Encoder:
    """Rows in, one vector or one logit per row out."""

    def __init__(self, geometry: EncoderGeometry, head: TorchHead, weights: Weights, device: torch.device) -> None:
        self._geometry, self._head, self._device = geometry, head, device
        self._heads = Heads(geometry.heads, geometry.heads, geometry.hidden // geometry.heads)
        self._kernel = has_kernel(device, weights.dtype, self._heads.size)
        self._words, self._positions, self._types = (
            weights.get(f"embeddings.{name}_embeddings.weight") for name in ("word", "position", "token_type")
        )
        self._norm = weights.norm("embeddings.LayerNorm", geometry.epsilon)
        self._project = weights.linear("embeddings_project") if weights.has("embeddings_project.weight") else None
        last = geometry.layers - 1
        self._layers = [
            _layer(weights, f"encoder.layer.{n}", geometry, split=n == last and head.one_token)
            for n in range(geometry.layers)
        ]

    @torch.inference_mode()
    def forward(self, rows: Sequence[Row], prefixes: Sequence[Prefix | None]) -> Tensor:  # noqa: ARG002 - for causal models
        """[rows, 1] logits of a cross-encoder, or [rows, hidden] vectors; fp32, on the CPU, in the order given."""
        layout = Layout([len(row.ids) for row in rows], self._device, heads=self._geometry.heads, kernel=self._kernel)
        attention = Attention(layout, self._heads)
        hidden = self._embed(rows, layout)
        for number, layer in enumerate(self._layers[:-1]):
            hidden = self._block(hidden, layer, attention(layer.qkv(hidden), number))
        layer, number = self._layers[-1], len(self._layers) - 1
        if layer.kv is None:
            hidden = self._block(hidden, layer, attention(layer.qkv(hidden), number))
            return self._head(self._head.pool(hidden, layout, skips(rows))).cpu()
        # Only one token of each row is read: the last block computes no other.
        ones = hidden.index_select(0, self._head.places(layout, skips(rows)))
        ones = self._block(ones, layer, attention.pooled(layer.qkv(ones), layer.kv(hidden), number))
        return self._head(ones).cpu()

    def _embed(self, rows: Sequence[Row], layout: Layout) -> Tensor:
        hidden = self._words.index_select(0, layout.flat([row.ids for row in rows]))
        if all(row.types is None for row in rows):
            hidden += self._types[0]
        else:
            hidden += self._types.index_select(0, layout.flat([row.types or [0] * len(row.ids) for row in rows]))
        hidden += self._positions.index_select(0, layout.positions + self._geometry.first_position)
        hidden = self._norm(hidden)
        return hidden if self._project is None else self._project(hidden)

    @staticmethod
    def _block(hidden: Tensor, layer: Layer, attended: Tensor) -> Tensor:
        hidden = layer.attention_norm(layer.out.plus(attended, hidden))
        widened = layer.up.activated(hidden, layer.activation)
        return layer.output_norm(layer.down.plus(widened, hidden))


def _layer(weights: Weights, prefix: str, geometry: EncoderGeometry, *, split: bool) -> Layer:
    query, key, value = (f"{prefix}.attention.self.{name}" for name in ("query", "key", "value"))
    return Layer(
        qkv=weights.linear(query) if split else weights.linear(query, key, value),
        kv=weights.linear(key, value) if split else None,
        out=weights.linear(f"{prefix}.attention.output.dense"),
        attention_norm=weights.norm(f"{prefix}.attention.output.LayerNorm", geometry.epsilon),
        up=weights.linear(f"{prefix}.intermediate.dense"),
        down=weights.linear(f"{prefix}.output.dense"),
        output_norm=weights.norm(f"{prefix}.output.LayerNorm", geometry.epsilon),
        activation=geometry.activation,
    )
