"""A decoder that sees: where a row has an image, its tiles' embeddings stand in place of the words'."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from reranker_runtime.engine.rows import Row
from reranker_runtime.models.geometry import DecoderGeometry, VisionGeometry
from reranker_runtime.nets.decoder import Decoder
from reranker_runtime.nets.head import TorchHead
from reranker_runtime.nets.layout import Layout
from reranker_runtime.nets.siglip import Siglip
from reranker_runtime.nets.weights import Weights


class SeeingDecoder(Decoder):
    """Rows of text, of an image, or of both in, one logit per row out."""

    def __init__(
        self,
        geometry: DecoderGeometry,
        vision: VisionGeometry,
        positions: int,
        head: TorchHead,
        weights: Weights,
        device: torch.device,
    ) -> None:
        super().__init__(geometry, positions, head, weights, device)
        self._token, self._tower = vision.token, Siglip(vision, weights, device)
        # Once now: what cannot run here fails before anybody is told that the model is ready.
        with torch.inference_mode():
            self._tower([np.zeros((1, vision.image, vision.image, 3), dtype=np.uint8)])

    def embed(self, rows: Sequence[Row], layout: Layout) -> Tensor:
        """Words, and in the place of image tokens what the tower sees; an image in several rows is seen once."""
        hidden = super().embed(rows, layout)
        images = {id(row.image): row.image for row in rows if row.image is not None}
        if not images:
            return hidden
        seen = self._tower(list(images.values()))
        tiles = {key: len(image) for key, image in images.items()}
        each = seen.shape[0] // sum(tiles.values())
        parts = dict(zip(tiles, seen.split([each * count for count in tiles.values()]), strict=True))
        for row, start in zip(rows, layout.starts.tolist(), strict=True):
            if row.image is not None:
                part = parts[id(row.image)]
                # No user's text can hold this token, so the first one is where the image begins.
                first = start + row.ids.index(self._token)
                hidden[first : first + part.shape[0]] = part
        return hidden
