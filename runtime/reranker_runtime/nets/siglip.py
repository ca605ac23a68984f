"""SigLIP on the tiles of a batch, and the projection of what it sees to tokens of a decoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from reranker_runtime.models.geometry import Activation, VisionGeometry
from reranker_runtime.nets.linear import Linear, linear
from reranker_runtime.nets.weights import LayerNorm, Weights

CPU_PATCHES: Final = 2048
GPU_PATCHES: Final = 16384
"""Patches that go through the layers at once: two tiles of the published model, and sixteen. More is not faster, and
an image of seven tiles, in a batch of many, must not decide how much memory a worker takes."""
PROJECTOR_EPSILON: Final = 1e-5
"""torch's own, which config.json does not name."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One block; norms come before each half of it."""

    norm: LayerNorm
    qkv: Linear
    out: Linear
    wide_norm: LayerNorm
    up: Linear
    down: Linear


class Siglip:
    """Images in, embeddings for a decoder out. Several threads may call one on a CPU."""

    def __init__(self, geometry: VisionGeometry, weights: Weights, device: torch.device) -> None:
        self._geometry, self._device, self._dtype = geometry, device, weights.dtype
        at = "vision.embeddings"
        # The convolution's steps are as wide as its kernel: a linear layer over the pixels of each patch.
        kernel = weights.get(f"{at}.patch_embedding.weight").flatten(1).contiguous()
        self._embed = linear(kernel, weights.get(f"{at}.patch_embedding.bias"))
        self._positions = weights.get(f"{at}.position_embedding.weight")
        self._layers = [self._layer(weights, f"vision.encoder.layers.{number}") for number in range(geometry.layers)]
        self._norm = weights.norm("vision.post_layernorm", geometry.epsilon)
        self._shuffled_norm = weights.norm("mlp1.0", PROJECTOR_EPSILON)
        self._project, self._output = weights.linear("mlp1.1"), weights.linear("mlp1.3")

    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> Tensor:
        """[tokens of all tiles, hidden of the decoder], from images of [tiles, size, size, 3]."""
        tiles = images[0] if len(images) == 1 else np.concatenate(images)
        most = max(1, at_once(self._device) // self._geometry.patches)
        return torch.cat([self._tokens(part) for part in torch.from_numpy(tiles).split(most)])

    def _tokens(self, tiles: Tensor) -> Tensor:
        count = tiles.shape[0]
        hidden = self._embed(self._patches(tiles))
        hidden.unflatten(0, (count, -1)).add_(self._positions)
        for layer in self._layers:
            attended = self._attention(layer.qkv(layer.norm(hidden)), count)
            hidden = layer.out.plus(attended, hidden)
            wide = layer.up.activated(layer.wide_norm(hidden), self._geometry.activation)
            hidden = layer.down.plus(wide, hidden)
        # Exact GELU here, whatever the tower's own is.
        shuffled = self._shuffled_norm(self._shuffle(self._norm(hidden), count))
        return self._output(self._project.activated(shuffled, Activation.GELU))

    def _patches(self, tiles: Tensor) -> Tensor:
        """[patches, 3 * patch * patch]: between -1 and 1, colour by colour, rounded as the model was fed them."""
        geometry = self._geometry
        side = geometry.image // geometry.patch
        # [tiles, side, patch, side, patch, 3] -> [tiles, side, side, 3, patch, patch]
        grid = tiles.to(self._device).view(-1, side, geometry.patch, side, geometry.patch, 3).permute(0, 1, 3, 5, 2, 4)
        pixels = grid.reshape(-1, 3 * geometry.patch**2).float()
        return pixels.div_(255).sub_(0.5).div_(0.5).to(torch.bfloat16).to(self._dtype)

    def _attention(self, qkv: Tensor, count: int) -> Tensor:
        """[patches, hidden]; every patch of a tile sees every other of it."""
        # [tiles, patches, 3, heads, size] -> three times [tiles, heads, patches, size]
        q, k, v = qkv.view(count, -1, 3, self._geometry.heads, qkv.shape[1] // 3 // self._geometry.heads).unbind(2)
        seen = functional.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))
        return seen.transpose(1, 2).reshape(qkv.shape[0], -1)

    def _shuffle(self, hidden: Tensor, count: int) -> Tensor:
        """Squares of patches become one token each: [tokens, patches of a square * hidden], row by row in both."""
        geometry = self._geometry
        side, square = geometry.image // geometry.patch // geometry.shuffle, geometry.shuffle
        grid = hidden.view(count, side, square, side, square, geometry.hidden).transpose(2, 3)
        return grid.reshape(count * geometry.tokens, square**2 * geometry.hidden)

    def _layer(self, weights: Weights, at: str) -> Layer:
        query, key, value = (f"{at}.self_attn.{name}_proj" for name in "qkv")
        return Layer(
            norm=weights.norm(f"{at}.layer_norm1", self._geometry.epsilon),
            qkv=weights.linear(query, key, value),
            out=weights.linear(f"{at}.self_attn.out_proj"),
            wide_norm=weights.norm(f"{at}.layer_norm2", self._geometry.epsilon),
            up=weights.linear(f"{at}.mlp.fc1"),
            down=weights.linear(f"{at}.mlp.fc2"),
        )


def at_once(device: torch.device) -> int:
    """Patches in one pass, where a tile has not more."""
    return GPU_PATCHES if device.type == "cuda" else CPU_PATCHES
