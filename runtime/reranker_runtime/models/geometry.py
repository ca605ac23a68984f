"""Sizes and switches of each network, read from config.json. No torch: `verify` reads them too."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Activation(StrEnum):
    """Between the two halves of a feed-forward block, or after a head's dense layer."""

    GELU = "gelu"
    GELU_TANH = "gelu-tanh"
    RELU = "relu"
    SILU = "silu"
    TANH = "tanh"


ACTIVATIONS: Final = {
    "gelu": Activation.GELU,
    "gelu_new": Activation.GELU_TANH,
    "gelu_pytorch_tanh": Activation.GELU_TANH,
    "gelu_fast": Activation.GELU_TANH,
    "relu": Activation.RELU,
    "silu": Activation.SILU,
    "swish": Activation.SILU,
}
"""By the names that `transformers` gives them."""


@dataclass(frozen=True)
class EncoderGeometry:
    """A BERT-shaped encoder: absolute positions, norms after each half of a block."""

    vocabulary: int
    embedding: int
    """Width of the embeddings; ELECTRA's may differ from `hidden`, and is projected."""
    hidden: int
    layers: int
    heads: int
    feed_forward: int
    position_rows: int
    first_position: int
    types: int
    epsilon: float
    activation: Activation

    @property
    def positions(self) -> int:
        """Tokens that one sequence may have."""
        return self.position_rows - self.first_position


@dataclass(frozen=True)
class ModernBertGeometry:
    """ModernBERT: rotary positions, norms before each half of a block, global and local attention by turns."""

    vocabulary: int
    hidden: int
    layers: int
    heads: int
    feed_forward: int
    epsilon: float
    activation: Activation
    window: int
    """Tokens to either side that a local layer attends to."""
    local: tuple[bool, ...]
    """For each layer, whether its attention is local."""
    global_theta: float
    local_theta: float
    norm_bias: bool
    attention_bias: bool
    feed_forward_bias: bool


@dataclass(frozen=True)
class Rope:
    """Rotary positions. With `factor`, the frequencies are scaled as Llama 3 does, or all alike (`linear`)."""

    theta: float
    factor: float = 1.0
    linear: bool = False
    low: float = 1.0
    high: float = 4.0
    original: int = 8192
    """Positions that the model was first trained for; decides which frequencies are scaled."""


@dataclass(frozen=True)
class DecoderGeometry:
    """A Llama-shaped decoder: Llama, Mistral, Qwen2, Qwen3, Gemma."""

    vocabulary: int
    hidden: int
    layers: int
    heads: int
    key_heads: int
    """Heads of keys and values; several heads of queries share one."""
    head_size: int
    feed_forward: int
    epsilon: float
    activation: Activation
    rope: Rope
    causal: bool
    """False: every token sees every other, as in NVIDIA's rerankers."""
    qkv_bias: bool = False
    qk_norm: bool = False
    """Qwen3: queries and keys are normalised for each head."""
    scaled_embedding: bool = False
    """Gemma: embeddings times the root of `hidden`."""
    norm_offset: float = 0.0
    """Gemma: norms multiply by weight + 1."""


@dataclass(frozen=True)
class VisionGeometry:
    """SigLIP and the projection of its patches to a decoder's tokens."""

    hidden: int
    layers: int
    heads: int
    feed_forward: int
    epsilon: float
    activation: Activation
    image: int
    """Pixels along a side of one tile."""
    patch: int
    shuffle: int
    """Patches along a side of the square that becomes one token."""
    opening: int
    """The token before an image."""
    token: int
    """The token whose embeddings those of an image replace."""
    closing: int
    """The token after an image."""
    most_tiles: int
    """Tiles of the grid, without the thumbnail."""
    thumbnail: bool
    """Whether the whole image follows a grid of more than one tile."""
    dynamic: bool
    """Whether there is a grid at all."""

    @property
    def patches(self) -> int:
        """Patches of one tile."""
        return (self.image // self.patch) ** 2

    @property
    def tokens(self) -> int:
        """Tokens of one tile."""
        return self.patches // self.shuffle**2


@dataclass(frozen=True)
class ForeignGeometry:
    """A network that `transformers` runs: what planning needs to know of it."""

    vocabulary: int
    hidden: int
    layers: int
    heads: int
    feed_forward: int
    types: int
    positions: int


Geometry = EncoderGeometry | ModernBertGeometry | DecoderGeometry | ForeignGeometry
