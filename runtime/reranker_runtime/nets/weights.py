"""Tensors of a model directory, by the family's own names, straight onto the device."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Self

import torch
from safetensors import safe_open
from torch import Tensor
from torch.nn import functional

from reranker_runtime.models.blueprint import Blueprint
from reranker_runtime.nets.linear import Linear, linear


@dataclass(frozen=True, slots=True)
class LayerNorm:
    """A layer norm; some models' have no bias."""

    weight: Tensor
    bias: Tensor | None
    epsilon: float

    def __call__(self, x: Tensor) -> Tensor:
        return functional.layer_norm(x, (x.shape[-1],), self.weight, self.bias, self.epsilon)


class Weights:
    """Open files; use as a context, so that nothing stays mapped."""

    def __init__(self, blueprint: Blueprint, device: torch.device, dtype: torch.dtype) -> None:
        self._names = blueprint.design.tensors
        self._blueprint, self._device, self.dtype = blueprint, device, dtype
        self._files: dict[str, Any] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        for file in {file for file, _ in self._names.values()}:
            opened = safe_open(self._blueprint.directory / file, framework="pt", device=str(self._device))
            self._files[file] = self._stack.enter_context(opened)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def has(self, name: str) -> bool:
        return name in self._names

    def get(self, name: str, dtype: torch.dtype | None = None) -> Tensor:
        file, stored = self._names[name]
        tensor: Tensor = self._files[file].get_tensor(stored)
        # A copy: what get_tensor gives on the CPU is the mapped file, and whoever writes that file would change scores,
        # or truncate it and end the process with SIGBUS.
        return tensor.to(dtype or self.dtype, copy=tensor.device.type == "cpu")

    def rows(self, name: str, numbers: Sequence[int]) -> Tensor:
        """Some rows of a matrix in fp32, without reading the rest."""
        file, stored = self._names[name]
        part = self._files[file].get_slice(stored)
        return torch.stack([part[n].clone() for n in numbers]).float()

    def linear(self, *names: str) -> Linear:
        """One layer from one or more with the same input, one below the other; biases where they are stored."""
        weight = torch.cat([self.get(f"{name}.weight") for name in names])
        biases = [self.get(f"{name}.bias") for name in names if self.has(f"{name}.bias")]
        return linear(weight, torch.cat(biases) if biases else None)

    def norm(self, name: str, epsilon: float, dtype: torch.dtype | None = None) -> LayerNorm:
        bias = self.get(f"{name}.bias", dtype) if self.has(f"{name}.bias") else None
        return LayerNorm(self.get(f"{name}.weight", dtype), bias, epsilon)
