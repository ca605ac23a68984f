"""The BERT-shaped encoder on packed rows: BERT, RoBERTa and XLM-R, as cross-encoder or sentence encoder.

Rows lie end to end, [tokens, hidden], without padding: linear layers see no token that nobody sent, and a score does
not depend on what else was in its batch. Attention runs over rows of equal length, which batching puts side by side.
The encoder computes in the chosen number type; pooling and heads in fp32, where rounding would cost order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

import torch
from safetensors import safe_open
from torch import Tensor
from torch.nn import functional

from reranker_runtime.engine.tokenise import Row
from reranker_runtime.models.blueprint import Activation, Blueprint, Head

ACTIVATIONS: Final[dict[Activation, Callable[[Tensor], Tensor]]] = {
    Activation.GELU: functional.gelu,
    Activation.GELU_TANH: lambda x: functional.gelu(x, approximate="tanh"),
    Activation.RELU: functional.relu,
    Activation.SILU: functional.silu,
}


@dataclass(frozen=True, slots=True)
class Affine:
    """A weight with its bias: a linear layer's, or a norm's."""

    weight: Tensor
    bias: Tensor

    def linear(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight, self.bias)

    def norm(self, x: Tensor, epsilon: float) -> Tensor:
        return functional.layer_norm(x, (x.shape[-1],), self.weight, self.bias, epsilon)


@dataclass(frozen=True, slots=True)
class Layer:
    """One block; query, key and value are one matrix."""

    qkv: Affine
    out: Affine
    attention_norm: Affine
    up: Affine
    down: Affine
    output_norm: Affine


@dataclass(frozen=True, slots=True)
class Span:
    """`rows` rows of `length` tokens each, beginning at token `start`."""

    start: int
    rows: int
    length: int

    @property
    def end(self) -> int:
        return self.start + self.rows * self.length


class Encoder:
    """Rows in, one vector or one logit per row out."""

    def __init__(self, blueprint: Blueprint, device: torch.device, dtype: torch.dtype) -> None:
        weights = Weights(blueprint, device)
        self._geometry, self._head, self._device = blueprint.geometry, blueprint.head, device
        self._activation = ACTIVATIONS[blueprint.geometry.activation]
        self._words, self._positions, self._types = (
            weights.get(f"embeddings.{name}_embeddings.weight", dtype) for name in ("word", "position", "token_type")
        )
        self._norm = weights.affine("embeddings.LayerNorm", dtype)
        self._layers = [_layer(weights, f"encoder.layer.{n}", dtype) for n in range(blueprint.geometry.layers)]
        self._dense = self._last = None
        if blueprint.head in HEADS:
            dense, last = HEADS[blueprint.head]
            self._dense, self._last = weights.affine(dense, torch.float32), weights.affine(last, torch.float32)

    @torch.inference_mode()
    def forward(self, rows: Sequence[Row]) -> Tensor:
        """[rows, 1] logits of a cross-encoder, or [rows, hidden] vectors; fp32, on the CPU, in the order given."""
        spans = _spans(rows)
        hidden = self._embed(rows)
        for layer in self._layers:
            hidden = self._block(hidden, layer, spans)
        pooled = torch.cat([self._pool(hidden[s.start : s.end].view(s.rows, s.length, -1)) for s in spans])
        if self._dense is not None and self._last is not None:
            pooled = self._last.linear(torch.tanh(self._dense.linear(pooled)))
        return pooled.cpu()

    def _embed(self, rows: Sequence[Row]) -> Tensor:
        first = self._geometry.first_position
        ids, types, positions = (
            torch.tensor(numbers, device=self._device)
            for numbers in (
                [n for row in rows for n in row.ids],
                [n for row in rows for n in row.types],
                [n for row in rows for n in range(first, first + len(row.ids))],
            )
        )
        hidden = self._words[ids] + self._types[types] + self._positions[positions]
        return self._norm.norm(hidden, self._geometry.epsilon)

    def _block(self, hidden: Tensor, layer: Layer, spans: Sequence[Span]) -> Tensor:
        epsilon = self._geometry.epsilon
        attended = layer.out.linear(self._attend(layer.qkv.linear(hidden), spans))
        hidden = layer.attention_norm.norm(attended + hidden, epsilon)
        widened = self._activation(layer.up.linear(hidden))
        return layer.output_norm.norm(layer.down.linear(widened) + hidden, epsilon)

    def _attend(self, qkv: Tensor, spans: Sequence[Span]) -> Tensor:
        heads = self._geometry.heads
        out = qkv.new_empty(qkv.shape[0], self._geometry.hidden)
        for span in spans:
            # [rows, length, 3, heads, size] -> three of [rows, heads, length, size]
            parts = qkv[span.start : span.end].view(span.rows, span.length, 3, heads, -1)
            q, k, v = parts.permute(2, 0, 3, 1, 4)
            attended = functional.scaled_dot_product_attention(q, k, v)
            out[span.start : span.end] = attended.transpose(1, 2).reshape(-1, out.shape[1])
        return out

    def _pool(self, hidden: Tensor) -> Tensor:
        """[rows, length, hidden] -> [rows, hidden] in fp32."""
        if self._head is Head.MEAN:
            return hidden.float().mean(dim=1)
        if self._head is Head.MAX:
            return hidden.float().amax(dim=1)
        return hidden[:, 0].float()


HEADS: Final = {
    Head.BERT: ("bert.pooler.dense", "classifier"),
    Head.ROBERTA: ("classifier.dense", "classifier.out_proj"),
}


def _spans(rows: Sequence[Row]) -> list[Span]:
    spans: list[Span] = []
    start = 0
    for length, group in groupby(len(row.ids) for row in rows):
        spans.append(Span(start, sum(1 for _ in group), length))
        start = spans[-1].end
    return spans


class Weights:
    """Tensors of a blueprint by the family's own names, read straight onto the device."""

    def __init__(self, blueprint: Blueprint, device: torch.device) -> None:
        self._names = blueprint.tensors
        self._files = {
            file: safe_open(blueprint.directory / file, framework="pt", device=str(device))
            for file in {file for file, _ in blueprint.tensors.values()}
        }

    def get(self, name: str, dtype: torch.dtype) -> Tensor:
        file, stored = self._names[name]
        tensor: Tensor = self._files[file].get_tensor(stored)  # type: ignore[no-untyped-call]  # the library has no types
        # A copy: what get_tensor gives on the CPU is the mapped file, and whoever writes that file would change scores,
        # or truncate it and end the process with SIGBUS.
        return tensor.to(dtype, copy=tensor.device.type == "cpu")

    def affine(self, name: str, dtype: torch.dtype) -> Affine:
        return Affine(self.get(f"{name}.weight", dtype), self.get(f"{name}.bias", dtype))


def _layer(weights: Weights, prefix: str, dtype: torch.dtype) -> Layer:
    parts = [weights.affine(f"{prefix}.attention.self.{name}", dtype) for name in ("query", "key", "value")]
    return Layer(
        qkv=Affine(torch.cat([p.weight for p in parts]), torch.cat([p.bias for p in parts])),
        out=weights.affine(f"{prefix}.attention.output.dense", dtype),
        attention_norm=weights.affine(f"{prefix}.attention.output.LayerNorm", dtype),
        up=weights.affine(f"{prefix}.intermediate.dense", dtype),
        down=weights.affine(f"{prefix}.output.dense", dtype),
        output_norm=weights.affine(f"{prefix}.output.LayerNorm", dtype),
    )
