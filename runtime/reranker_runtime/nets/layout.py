"""How the rows of a batch lie: end to end, without padding, and how attention finds each row's tokens again.

Linear layers see [tokens, hidden] and no token that nobody sent. On a CPU, attention gathers rows of like length into
small blocks, because a few wide matrix products beat many narrow ones; on a GPU one kernel reads the rows in place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

WIDTH: Final = 16
"""Blocks are as wide as a multiple of this: oneDNN builds a kernel for each shape, and few shapes are built once."""
ROUND: Final = 32
"""For the same reason a batch on a CPU is rounded up to a multiple of this, with tokens that belong to no row."""
KERNEL_SIZE: Final = 256
"""The widest head that flash attention takes."""
BLOCK_SCORES: Final = 1 << 19
"""Attention scores of one head group that a block may have: about what a core's own cache holds."""


def has_kernel(device: torch.device, dtype: torch.dtype, size: int) -> bool:
    """Whether torch's attention over rows of any lengths takes heads of this size here; elsewhere there are blocks."""
    fits = dtype in (torch.bfloat16, torch.float16) and size % 8 == 0 and size <= KERNEL_SIZE
    return fits and device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)


@dataclass(frozen=True)
class Prefix:
    """Tokens that several rows begin with: each layer's rotated keys and values, [tokens, 2 * key heads * size]."""

    length: int
    layers: tuple[Tensor, ...]

    def on(self, device: torch.device) -> Prefix:
        """The same on another GPU: workers of several may score one request."""
        if self.layers[0].device == device:
            return self
        return Prefix(self.length, tuple(layer.to(device) for layer in self.layers))


@dataclass(frozen=True)
class Block:
    """Rows that attend together. Each has `width` places for tokens; `shared` tokens of a prefix come before them."""

    rows: int
    width: int
    shared: int
    start: int
    """The first place among all blocks' query places."""
    key_start: int
    lengths: tuple[int, ...]


class Layout:
    """Where each token of a batch is. Rows must come sorted by prefix and then by length, longest first.

    `heads` of keys decide how many rows a block takes; `kernel`: no blocks, for one kernel reads all rows in place.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        device: torch.device,
        prefixes: Sequence[Prefix | None] | None = None,
        *,
        heads: int,
        kernel: bool,
    ) -> None:
        self.device, self.kernel = device, kernel
        self.lengths = np.asarray(lengths, dtype=np.int64)
        self.starts: NDArray[np.int64] = np.concatenate(([0], np.cumsum(self.lengths)[:-1])).astype(np.int64)
        self.prefixes = tuple(prefixes) if prefixes is not None else (None,) * len(lengths)
        self.shared = np.asarray([0 if p is None else p.length for p in self.prefixes], dtype=np.int64)
        self.real = int(self.lengths.sum())
        self.tokens = self.real if device.type == "cuda" else -(-self.real // ROUND) * ROUND
        inside = np.arange(self.real) - np.repeat(self.starts, self.lengths)
        self.positions = self._padded(inside + np.repeat(self.shared, self.lengths))
        self.first = self._tensor(self.starts)
        self.last = self._tensor(self.starts + self.lengths - 1)
        self.row_lengths = self._tensor(self.lengths)
        self.distinct = tuple({id(p): p for p in self.prefixes if p is not None}.values())
        if kernel:
            self._pack_keys()
        else:
            self._make_blocks(heads)

    def flat(self, parts: Sequence[Sequence[int]]) -> Tensor:
        """[tokens] of numbers given row by row."""
        return self._padded(np.fromiter((n for part in parts for n in part), dtype=np.int64, count=self.real))

    def _padded(self, values: NDArray[np.int64]) -> Tensor:
        return self._tensor(np.concatenate((values, np.zeros(self.tokens - self.real, dtype=np.int64))))

    def _tensor(self, values: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(values).to(self.device, non_blocking=True)

    def _key_index(self, own: Sequence[NDArray[np.int64]]) -> Tensor | None:
        """Each row's prefix and then its own tokens, among all prefixes end to end and then the batch's tokens."""
        if not self.distinct:
            return None
        bases, before = {}, 0
        for prefix in self.distinct:
            bases[id(prefix)] = np.arange(before, before + prefix.length)
            before += prefix.length
        none = np.arange(0)
        rows = zip(self.prefixes, own, strict=True)
        parts = [part for prefix, mine in rows for part in (bases.get(id(prefix), none), mine + before)]
        return self._tensor(np.concatenate(parts))

    def _make_blocks(self, heads: int) -> None:
        widths = -(-self.lengths // WIDTH) * WIDTH
        self.blocks: list[Block] = []
        row = start = key_start = 0
        while row < len(widths):
            width, prefix = int(widths[row]), self.prefixes[row]
            shared = int(self.shared[row])
            most = max(1, BLOCK_SCORES // (heads * width * (width + shared)))
            count = 1
            while row + count < len(widths) and count < most:
                if widths[row + count] != width or self.prefixes[row + count] is not prefix:
                    break
                count += 1
            lengths = tuple(int(n) for n in self.lengths[row : row + count])
            self.blocks.append(Block(count, width, shared, start, key_start, lengths))
            row, start, key_start = row + count, start + count * width, key_start + count * (width + shared)
        self.places = start
        places = np.concatenate(([0], np.cumsum(widths)[:-1]))
        back = np.repeat(places - self.starts, self.lengths) + np.arange(self.real)
        gather = np.repeat(self.starts, widths)  # a place without a token repeats the row's first, and is masked
        gather[back] = np.arange(self.real)
        self.gather, self.back = self._tensor(gather), self._padded(back)
        self.keys = self._key_index(np.split(gather, np.cumsum(widths)[:-1]))

    def _pack_keys(self) -> None:
        """Cumulative lengths as the variable-length kernel takes them."""
        rows = len(self.lengths)
        totals = self.lengths + self.shared
        self.query_ends = self._ends(self.lengths)
        self.row_ends = self._tensor(np.arange(rows + 1)).int()
        self.key_ends = self._ends(totals) if self.distinct else self.query_ends
        self.longest, self.longest_keys = int(self.lengths.max()), int(totals.max())
        self.keys = self._key_index(np.split(np.arange(self.real), self.starts[1:]))

    def _ends(self, lengths: NDArray[np.int64]) -> Tensor:
        return self._tensor(np.concatenate(([0], np.cumsum(lengths)))).int()
