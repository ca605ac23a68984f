"""ModernBERT on packed rows: rotary positions, gated feed-forward blocks, global and local attention by turns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from reranker_runtime.engine.rows import Row
from reranker_runtime.models.geometry import ModernBertGeometry, Rope
from reranker_runtime.nets.attention import Attention, Heads
from reranker_runtime.nets.head import TorchHead
from reranker_runtime.nets.layout import Layout, Prefix, has_kernel
from reranker_runtime.nets.linear import Linear, linear
from reranker_runtime.nets.net import skips
from reranker_runtime.nets.rope import Rotation, rotate
from reranker_runtime.nets.weights import LayerNorm, Weights


@dataclass(frozen=True, slots=True)
class Layer:
    """One block."""

    local: bool
    attention_norm: LayerNorm | None
    qkv: Linear
    out: Linear
    norm: LayerNorm
    gate: Linear
    up: Linear
    down: Linear


class ModernBert:
    """Rows in, one vector or one logit per row out."""

    def __init__(
        self, geometry: ModernBertGeometry, positions: int, head: TorchHead, weights: Weights, device: torch.device
    ) -> None:
        self._geometry, self._head, self._device = geometry, head, device
        size = geometry.hidden // geometry.heads
        self._kernel = has_kernel(device, weights.dtype, size)
        whole = Heads(geometry.heads, geometry.heads, size)
        self._heads = {False: whole, True: Heads(geometry.heads, geometry.heads, size, window=geometry.window)}
        self._rotations = {
            local: Rotation(Rope(theta), size, positions, device, weights.dtype)
            for local, theta in ((False, geometry.global_theta), (True, geometry.local_theta))
        }
        self._words = weights.get("embeddings.tok_embeddings.weight")
        self._norm = weights.norm("embeddings.norm", geometry.epsilon)
        self._final = weights.norm("final_norm", geometry.epsilon)
        self._layers = [self._layer(weights, number) for number in range(geometry.layers)]

    @torch.inference_mode()
    def forward(self, rows: Sequence[Row], prefixes: Sequence[Prefix | None]) -> Tensor:  # noqa: ARG002 - for causal models
        """[rows, 1] logits of a cross-encoder, or [rows, hidden] vectors; fp32, on the CPU, in the order given."""
        layout = Layout([len(row.ids) for row in rows], self._device, heads=self._geometry.heads, kernel=self._kernel)
        attentions = {local: Attention(layout, heads) for local, heads in self._heads.items()}
        turns = {local: rotation.at(layout.positions) for local, rotation in self._rotations.items()}
        hidden = self._norm(self._words.index_select(0, layout.flat([row.ids for row in rows])))
        turned = 2 * self._geometry.heads
        for number, layer in enumerate(self._layers):
            qkv = layer.qkv(hidden if layer.attention_norm is None else layer.attention_norm(hidden))
            rotate(qkv.unflatten(1, (3 * self._geometry.heads, -1))[:, :turned], turns[layer.local])
            hidden = layer.out.plus(attentions[layer.local](qkv, number), hidden)
            normed = layer.norm(hidden)
            gate = layer.gate.activated(normed, self._geometry.activation)
            hidden = layer.down.plus(layer.up.times(normed, gate), hidden)
        if self._head.one_token:  # a norm of the tokens that are read, not of all
            return self._head(self._final(hidden.index_select(0, self._head.places(layout, skips(rows))))).cpu()
        return self._head(self._head.pool(self._final(hidden), layout, skips(rows))).cpu()

    def _layer(self, weights: Weights, number: int) -> Layer:
        at, geometry = f"layers.{number}", self._geometry
        gate, up = weights.get(f"{at}.mlp.Wi.weight").chunk(2)
        biases = weights.get(f"{at}.mlp.Wi.bias").chunk(2) if geometry.feed_forward_bias else (None, None)
        return Layer(
            local=geometry.local[number],
            attention_norm=weights.norm(f"{at}.attn_norm", geometry.epsilon) if number else None,
            qkv=weights.linear(f"{at}.attn.Wqkv"),
            out=weights.linear(f"{at}.attn.Wo"),
            norm=weights.norm(f"{at}.mlp_norm", geometry.epsilon),
            gate=linear(gate.contiguous(), biases[0]),
            up=linear(up.contiguous(), biases[1]),
            down=weights.linear(f"{at}.mlp.Wo"),
        )
