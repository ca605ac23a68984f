"""Rotary positions: a table of sines and cosines, and the rotation of queries and keys in place."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from reranker_runtime.models.geometry import Rope


def frequencies(rope: Rope, size: int) -> Tensor:
    """[size / 2] inverse frequencies, fp32, as `transformers` computes them for default, linear and llama3 scaling."""
    plain = 1.0 / (rope.theta ** (torch.arange(0, size, 2, dtype=torch.int64).float() / size))
    if rope.factor == 1.0:
        return plain
    scaled = plain / rope.factor
    if rope.linear:
        return scaled
    lengths = 2 * math.pi / plain
    smooth = (rope.original / lengths - rope.low) / (rope.high - rope.low)
    between = (1 - smooth) * scaled + smooth * plain
    long, short = lengths > rope.original / rope.low, lengths < rope.original / rope.high
    return torch.where(long, scaled, torch.where(short, plain, between))


class Rotation:
    """Sines and cosines of every position that a sequence may have."""

    def __init__(self, rope: Rope, size: int, positions: int, device: torch.device, dtype: torch.dtype) -> None:
        angles = torch.arange(positions).float()[:, None] * frequencies(rope, size)[None]
        self._cos, self._sin = (table.to(device, dtype) for table in (angles.cos(), angles.sin()))

    def at(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines for a batch, each [tokens, 1, size / 2]."""
        return self._cos.index_select(0, positions)[:, None], self._sin.index_select(0, positions)[:, None]


def rotate(x: Tensor, at: tuple[Tensor, Tensor]) -> None:
    """Rotate heads in place; x is [tokens, heads, size], the halves of a head form the pairs."""
    cos, sin = at
    first, second = x.unflatten(-1, (2, -1)).unbind(-2)
    turned = (first * cos).addcmul_(second, sin, value=-1)
    second.mul_(cos).addcmul_(first, sin)
    first.copy_(turned)
