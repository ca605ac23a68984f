"""Attention over packed rows: whole, causal, or within a window; with heads of queries sharing keys; after a prefix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, cast

import torch
from torch import Tensor
from torch.nn import functional

from reranker_runtime.nets.layout import BLOCK_SCORES, Block, Layout

WIDTH_STEP: Final = 64
"""Queries that are scored at once in a row too long for one go, at least."""


def varlen_attn(*args: Any, **options: Any) -> Tensor:
    """torch's kernel for rows of any lengths. Importing it takes seconds, which only a GPU's owner should pay."""
    from torch.nn.attention.varlen import varlen_attn as kernel  # noqa: PLC0415

    return cast("Tensor", kernel(*args, **options))  # a pair only where it was asked for


@dataclass(frozen=True)
class Heads:
    """What an attention layer looks like. `window`: tokens to either side that are seen; None is all."""

    queries: int
    keys: int
    size: int
    causal: bool = False
    window: int | None = None

    @property
    def width(self) -> int:
        """Columns of queries, keys and values side by side."""
        return (self.queries + 2 * self.keys) * self.size

    @property
    def key_columns(self) -> slice:
        """Where keys and values are among these columns."""
        return slice(self.queries * self.size, self.width)


class Attention:
    """One batch's attention: every layer with the same heads uses it."""

    def __init__(self, layout: Layout, heads: Heads) -> None:
        self._layout, self._heads = layout, heads
        self._scale = heads.size**-0.5
        self._bands: dict[tuple[int, int, int], Tensor] = {}

    def __call__(self, qkv: Tensor, layer: int) -> Tensor:
        """[tokens, queries * size] from queries, keys and values side by side, [tokens, width]."""
        heads, layout = self._heads, self._layout
        kv = self._with_prefixes(qkv[:, heads.key_columns], layer)
        if layout.kernel:
            q = qkv[:, : heads.queries * heads.size].unflatten(1, (heads.queries, heads.size))
            return self._packed(q, kv, layout.query_ends, layout.longest)
        q_places = qkv.index_select(0, layout.gather)
        kv_places = q_places[:, heads.key_columns] if layout.keys is None else kv
        out = qkv.new_empty(layout.places, heads.queries * heads.size)
        for block in layout.blocks:
            q = q_places[block.start : block.start + block.rows * block.width, : heads.queries * heads.size]
            self._block(block, q, self._keys(block, kv_places), out)
        return out.index_select(0, layout.back)

    def pooled(self, q: Tensor, kv: Tensor, layer: int) -> Tensor:
        """[rows, queries * size] for one query a row, which sees its whole row: all that pooling one token asks for."""
        heads, layout = self._heads, self._layout
        kv = self._with_prefixes(kv, layer)
        if layout.kernel:
            return self._packed(q.unflatten(1, (heads.queries, heads.size)), kv, layout.row_ends, 1)
        kv_places = kv if layout.keys is not None else kv.index_select(0, layout.gather)
        out = q.new_empty(q.shape[0], heads.queries * heads.size)
        group = heads.queries // heads.keys
        row = 0
        for block in layout.blocks:
            k, v = self._keys(block, kv_places)
            mine = slice(row, row + block.rows)
            # [rows, keys * group * size] -> [keys * rows, group, size]
            one = q[mine].view(block.rows, heads.keys, group, heads.size).transpose(0, 1)
            scores = self._scores(one.reshape(-1, group, heads.size), k)
            self._hide(scores.view(heads.keys, block.rows, group, 1, -1), block, 0)
            seen = torch.bmm(functional.softmax(scores, dim=-1), v).view(heads.keys, block.rows, group, heads.size)
            out[mine].view(block.rows, heads.keys, group, heads.size).copy_(seen.transpose(0, 1))
            row += block.rows
        return out

    def _with_prefixes(self, kv: Tensor, layer: int) -> Tensor:
        """Keys and values as rows see them: those of their prefix, then their own."""
        layout = self._layout
        if layout.keys is None:
            return kv
        return torch.cat([*(prefix.layers[layer] for prefix in layout.distinct), kv]).index_select(0, layout.keys)

    def _packed(self, q: Tensor, kv: Tensor, ends: Tensor, longest: int) -> Tensor:
        heads, layout = self._heads, self._layout
        k, v = kv.unflatten(1, (2, heads.keys, heads.size)).unbind(1)
        reach = (-1, -1) if heads.window is None else (heads.window, heads.window)
        # The kernel aligns queries with the last keys: one query a row, or rows after a prefix, see what they should.
        window = (-1, 0) if heads.causal else reach
        out = varlen_attn(
            q, k, v, ends, layout.key_ends, longest, layout.longest_keys,
            window_size=window, scale=self._scale, enable_gqa=heads.queries != heads.keys,
        )  # fmt: skip
        return out.flatten(1)

    def _keys(self, block: Block, places: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of a block, each [key heads * rows, shared + width, size]."""
        heads, span = self._heads, block.shared + block.width
        start = block.key_start
        part = places[start : start + block.rows * span].view(block.rows, span, 2 * heads.keys, heads.size)
        k, v = part.permute(2, 0, 1, 3).contiguous().view(2, -1, span, heads.size)
        return k, v

    def _block(self, block: Block, q: Tensor, kv: tuple[Tensor, Tensor], out: Tensor) -> None:
        heads, (k, v) = self._heads, kv
        group = heads.queries // heads.keys
        # [rows * width, queries * size] -> [keys, rows, group, width, size]
        shape = (block.rows, block.width, heads.keys, group, heads.size)
        q = q.view(shape).permute(2, 0, 3, 1, 4).reshape(-1, group, block.width, heads.size)
        end = block.start + block.rows * block.width
        target = out[block.start : end].view(shape).permute(2, 0, 3, 1, 4)
        most = max(1, BLOCK_SCORES // (q.shape[0] * group * k.shape[1]))
        step = block.width if most >= block.width else max(WIDTH_STEP, most // WIDTH_STEP * WIDTH_STEP)
        for begin in range(0, block.width, step):
            stop = min(begin + step, block.width)
            low, high = self._reach(block, begin, stop)
            part = q[:, :, begin:stop].reshape(q.shape[0], -1, heads.size)
            scores = self._scores(part, k[:, low:high])
            self._mask(scores.view(heads.keys, block.rows, group, stop - begin, -1), block, begin, low)
            seen = torch.bmm(functional.softmax(scores, dim=-1), v[:, low:high])
            target[:, :, :, begin:stop] = seen.view(heads.keys, block.rows, group, stop - begin, heads.size)

    def _scores(self, q: Tensor, k: Tensor) -> Tensor:
        return torch.baddbmm(q.new_empty(()), q, k.transpose(1, 2), beta=0, alpha=self._scale)

    def _reach(self, block: Block, begin: int, stop: int) -> tuple[int, int]:
        """The keys that queries from begin to stop may see."""
        if self._heads.causal:
            return 0, block.shared + stop
        if self._heads.window is None:
            return 0, block.width
        return max(0, begin - self._heads.window), min(block.width, stop + self._heads.window)

    def _mask(self, scores: Tensor, block: Block, begin: int, low: int) -> None:
        """Hide, in place, keys that a query may not see; [keys, rows, group, queries, keys]."""
        if self._heads.causal:  # what fills a row up lies after all of its queries
            count = scores.shape[3]
            scores[..., -count:] += self._band(scores, count, count, 0)
            return
        if self._heads.window is not None:
            scores += self._band(scores, scores.shape[3], scores.shape[4], begin - low)
        self._hide(scores, block, low)

    def _hide(self, scores: Tensor, block: Block, low: int) -> None:
        for row, length in enumerate(block.lengths):
            first = block.shared + length - low
            if first < scores.shape[4]:
                scores[:, row, :, :, max(0, first) :] = torch.finfo(scores.dtype).min

    def _band(self, scores: Tensor, queries: int, keys: int, offset: int) -> Tensor:
        """What to add to hide keys outside causality or window; query n is key n + offset."""
        key = (queries, keys, offset)
        if key not in self._bands:
            at = torch.arange(queries, device=scores.device)[:, None] + offset
            away = torch.arange(keys, device=scores.device)[None] - at
            hidden = away > 0 if self._heads.causal else away.abs() > (self._heads.window or 0)
            band = torch.zeros(queries, keys, dtype=scores.dtype, device=scores.device)
            self._bands[key] = band.masked_fill_(hidden, torch.finfo(scores.dtype).min / 2)
        return self._bands[key]
