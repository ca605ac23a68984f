"""What every network does for the engine, and what they share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from torch import Tensor

from reranker_runtime.engine.rows import Row
from reranker_runtime.nets.layout import Prefix


class Net(Protocol):
    """A model on one device. Several threads may call one on a CPU."""

    def forward(self, rows: Sequence[Row], prefixes: Sequence[Prefix | None]) -> Tensor:
        """[rows, n] logits or vectors, fp32, on the CPU, in the order given; sorted by prefix, longest first."""


class PrefixNet(Net, Protocol):
    """A causal model: what rows begin with can be computed once for all of them."""

    def prefix(self, ids: Sequence[int]) -> Prefix:
        """The keys and values of these tokens."""


def skips(rows: Sequence[Row]) -> np.ndarray | None:
    """Tokens at the start of each row that pooling leaves out; None where no row has any."""
    return np.asarray([row.skip for row in rows]) if any(row.skip for row in rows) else None
