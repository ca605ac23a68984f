"""Linear layers in the form that the device computes fastest, with what follows them in the same pass.

On a CPU, oneDNN packs a weight once at load, and applies activation, residual or gate while the product is still in
registers; torch's plain `linear` reorders the weight at each call and walks memory again for each step. The operators
are the ones that torch's own compiler emits; where this build of torch lacks them, plain torch computes the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from reranker_runtime.models.geometry import Activation

ACTIVATIONS: Final[dict[Activation, Callable[[Tensor], Tensor]]] = {
    Activation.GELU: functional.gelu,
    Activation.GELU_TANH: lambda x: functional.gelu(x, approximate="tanh"),
    Activation.RELU: functional.relu,
    Activation.SILU: functional.silu,
    Activation.TANH: torch.tanh,
}
FUSED: Final[dict[Activation, tuple[str, str]]] = {
    Activation.GELU: ("gelu", "none"),
    Activation.GELU_TANH: ("gelu", "tanh"),
    Activation.RELU: ("relu", ""),
    Activation.SILU: ("swish", ""),
    Activation.TANH: ("tanh", ""),
}
ROWS: Final = 1024
"""Tokens that weights are packed for; other counts work as well."""


class Linear(Protocol):
    """`x @ weight.T + bias` for x of [tokens, in]."""

    def __call__(self, x: Tensor) -> Tensor:
        """[tokens, out]."""

    def activated(self, x: Tensor, activation: Activation) -> Tensor:
        """The activation of it."""

    def plus(self, x: Tensor, residual: Tensor) -> Tensor:
        """It and a residual of the same shape."""

    def times(self, x: Tensor, gate: Tensor) -> Tensor:
        """It times a gate of the same shape, element by element."""


class Plain:
    """torch's own, on a GPU or where oneDNN cannot help."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self._weight, self._bias = weight, bias

    def __call__(self, x: Tensor) -> Tensor:
        return functional.linear(x, self._weight, self._bias)

    def activated(self, x: Tensor, activation: Activation) -> Tensor:
        return ACTIVATIONS[activation](self(x))

    def plus(self, x: Tensor, residual: Tensor) -> Tensor:
        return self(x).add_(residual)

    def times(self, x: Tensor, gate: Tensor) -> Tensor:
        return self(x).mul_(gate)


class Packed:
    """oneDNN's, with the weight packed once."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self._weight = OPS._reorder_linear_weight(weight, ROWS)  # noqa: SLF001 - see the module's first lines
        self._bias = bias

    def __call__(self, x: Tensor) -> Tensor:
        return self._run(x, self._weight, self._bias, "none", [], "")

    def activated(self, x: Tensor, activation: Activation) -> Tensor:
        name, form = FUSED[activation]
        return self._run(x, self._weight, self._bias, name, [], form)

    def plus(self, x: Tensor, residual: Tensor) -> Tensor:
        return self._run_binary(x, residual, self._weight, self._bias, "add")

    def times(self, x: Tensor, gate: Tensor) -> Tensor:
        return self._run_binary(x, gate, self._weight, self._bias, "mul")

    @staticmethod
    def _run(*args: Any) -> Tensor:
        result: Tensor = OPS._linear_pointwise(*args)  # noqa: SLF001
        return result

    @staticmethod
    def _run_binary(*args: Any) -> Tensor:
        result: Tensor = OPS._linear_pointwise.binary(*args)  # noqa: SLF001
        return result


OPS: Final[Any] = torch.ops.mkldnn


def linear(weight: Tensor, bias: Tensor | None) -> Linear:
    """The fastest form for the weight's device and number type."""
    return Packed(weight, bias) if weight.device.type == "cpu" and can_pack(weight.dtype) else Plain(weight, bias)


_packs: dict[torch.dtype, bool] = {}


def can_pack(dtype: torch.dtype) -> bool:
    """Whether every operator of `Packed` works here: tried once, on numbers whose results are known."""
    if dtype not in _packs:
        _packs[dtype] = _try_packing(dtype)
    return _packs[dtype]


def _try_packing(dtype: torch.dtype) -> bool:
    if dtype not in (torch.float32, torch.bfloat16) or not torch.backends.mkldnn.is_available():
        return False
    weight = torch.linspace(-1, 1, 64 * 32).view(64, 32).to(dtype)
    bias, x = torch.linspace(-1, 1, 64).to(dtype), torch.linspace(-1, 1, 16 * 32).view(16, 32).to(dtype)
    other = torch.linspace(0, 2, 16 * 64).view(16, 64).to(dtype)
    plain = Plain(weight, bias)
    try:
        packed = Packed(weight, bias)
        pairs = [
            (packed(x), plain(x)),
            (packed.plus(x, other), plain.plus(x, other)),
            (packed.times(x, other), plain.times(x, other)),
            *((packed.activated(x, name), plain.activated(x, name)) for name in Activation),
        ]
    except (RuntimeError, AttributeError, NotImplementedError):
        return False
    tolerance = 1e-4 if dtype is torch.float32 else 5e-2
    return all(torch.allclose(a.float(), b.float(), rtol=tolerance, atol=tolerance) for a, b in pairs)
