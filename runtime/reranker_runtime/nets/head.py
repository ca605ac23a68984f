"""From hidden states to a logit or a vector for each row. In fp32, where rounding would cost order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from reranker_runtime.models.blueprint import Head, Pooling
from reranker_runtime.nets.layout import Layout
from reranker_runtime.nets.linear import ACTIVATIONS
from reranker_runtime.nets.weights import LayerNorm, Weights

ONE_TOKEN: Final = frozenset({Pooling.CLS, Pooling.LAST})


@dataclass(frozen=True, slots=True)
class Step:
    """A dense layer and what follows it."""

    weight: Tensor
    bias: Tensor | None
    activation: Callable[[Tensor], Tensor] | None
    norm: LayerNorm | None

    def __call__(self, x: Tensor) -> Tensor:
        x = functional.linear(x, self.weight, self.bias)
        x = self.activation(x) if self.activation else x
        return self.norm(x) if self.norm else x


class TorchHead:
    """A design's head with its weights."""

    def __init__(self, head: Head, weights: Weights) -> None:
        self.pooling = head.pooling
        self._temperature = head.temperature
        self._steps = [
            Step(
                weights.get(f"{dense.name}.weight", torch.float32),
                weights.get(f"{dense.name}.bias", torch.float32) if dense.bias else None,
                ACTIVATIONS[dense.activation] if dense.activation else None,
                weights.norm(dense.norm.name, dense.norm.epsilon, torch.float32) if dense.norm else None,
            )
            for dense in head.dense
        ]
        if head.logit is not None:
            ids = [head.logit.yes] if head.logit.no is None else [head.logit.yes, head.logit.no]
            rows = weights.rows(head.logit.table, ids)
            # The vocabulary's other logits are never computed.
            self._steps.append(Step(rows[:1] - rows[1:].sum(0, keepdim=True), None, None, None))

    @property
    def one_token(self) -> bool:
        """Whether one token of a row is all that is read of it."""
        return len(self.pooling) == 1 and self.pooling[0] in ONE_TOKEN

    def places(self, layout: Layout, skip: np.ndarray | None = None) -> Tensor:
        """[rows]: the tokens that a head of one token reads."""
        if self.pooling[0] is not Pooling.CLS:
            return layout.last
        return layout.first if skip is None else layout.first + _skipped(layout, skip)

    def __call__(self, pooled: Tensor) -> Tensor:
        """[rows, 1] logits, or [rows, size] vectors, fp32."""
        x = pooled.float()
        for step in self._steps:
            x = step(x)
        return x / self._temperature if self._temperature != 1 else x

    def pool(self, hidden: Tensor, layout: Layout, skip: np.ndarray | None = None) -> Tensor:
        """[tokens, hidden] -> [rows, hidden for each mode], fp32; `skip` tokens at each row's start count nothing."""
        if self.one_token:
            return hidden.index_select(0, self.places(layout, skip)).float()
        real, lengths = hidden[: layout.real].float(), layout.row_lengths
        first, number = layout.first, layout.positions[: layout.real].float() + 1
        if skip is not None:
            skipped = _skipped(layout, skip)
            kept = layout.positions[: layout.real] >= torch.repeat_interleave(skipped, lengths)
            real, number, lengths, first = real[kept], number[kept], lengths - skipped, first + skipped
        parts = [self._mode(mode, hidden, real, lengths, number, (first, layout.last)) for mode in self.pooling]
        return torch.cat(parts, dim=1)

    @staticmethod
    def _mode(
        mode: Pooling, hidden: Tensor, real: Tensor, lengths: Tensor, number: Tensor, ends: tuple[Tensor, Tensor]
    ) -> Tensor:
        match mode:
            case Pooling.CLS:
                return hidden.index_select(0, ends[0]).float()
            case Pooling.LAST:
                return hidden.index_select(0, ends[1]).float()
            case Pooling.MAX:
                return torch.segment_reduce(real, "max", lengths=lengths, axis=0)
            case Pooling.MEAN:
                return torch.segment_reduce(real, "sum", lengths=lengths, axis=0) / lengths[:, None]
            case Pooling.MEAN_SQRT:
                return torch.segment_reduce(real, "sum", lengths=lengths, axis=0) / lengths[:, None].sqrt()
            case Pooling.WEIGHTED_MEAN:
                weighted = torch.segment_reduce(real * number[:, None], "sum", lengths=lengths, axis=0)
                return weighted / torch.segment_reduce(number, "sum", lengths=lengths, axis=0)[:, None]


def _skipped(layout: Layout, skip: np.ndarray) -> Tensor:
    """What is left out of each row; one token always stays."""
    return torch.from_numpy(np.minimum(skip, layout.lengths - 1)).to(layout.device)
