"""How an image is cut for a vision model: the grid that suits its shape, its tiles row by row, and the whole of it.

The rule is the one the model was trained with, down to its rounding and its ties: another grid is another score.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from reranker_runtime.images.quiet import quiet

ENOUGH = 0.6
"""Share of the image's pixels that a grid must keep; one that keeps more is no better."""


@dataclass(frozen=True, slots=True)
class Tiling:
    """What a model's configuration says about tiles."""

    size: int
    """Pixels of a tile's side (`force_image_size`)."""
    most: int
    """Tiles of the grid, without the thumbnail (`max_input_tiles`)."""
    thumbnail: bool
    """Whether the whole image follows a grid of more than one tile (`use_thumbnail`)."""
    dynamic: bool
    """Whether there is a grid at all (`dynamic_image_size`); without, the whole image is the one tile."""


def count(width: int, height: int, tiling: Tiling) -> int:
    """Tiles that an image of this size becomes."""
    columns, rows = _grid(width, height, tiling)
    grid = columns * rows
    return grid + 1 if tiling.thumbnail and grid > 1 else grid


def tiles(image: Image.Image, tiling: Tiling) -> NDArray[np.uint8]:
    """uint8 [tiles, size, size, 3]: the grid row by row, then the thumbnail."""
    size = tiling.size
    columns, rows = _grid(image.width, image.height, tiling)
    with quiet():
        # Scaled in the image's own mode and turned into RGB after, as the reference does: Pillow takes the nearest
        # pixel where colours are palette entries, and weighs colours by their alpha before it drops the alpha.
        scaled = image.resize((size * columns, size * rows))
        parts = [
            scaled.crop((column * size, row * size, (column + 1) * size, (row + 1) * size))
            for row in range(rows)
            for column in range(columns)
        ]
        if tiling.thumbnail and len(parts) > 1:
            parts.append(image.resize((size, size)))
        return np.stack([np.asarray(part.convert("RGB"), dtype=np.uint8) for part in parts])


def _grid(width: int, height: int, tiling: Tiling) -> tuple[int, int]:
    """Columns and rows."""
    if not tiling.dynamic:
        return 1, 1
    shape, area = width / height, width * height
    best, winner = float("-inf"), (1, 1)
    for columns, rows in _grids(tiling.most):
        grid = columns / rows
        kept = min(columns * rows * tiling.size * tiling.size / area, ENOUGH)
        score = kept * min(grid / shape, shape / grid)
        if score > best:
            best, winner = score, (columns, rows)
    return winner


@lru_cache(maxsize=16)
def _grids(most: int) -> tuple[tuple[int, int], ...]:
    # The reference sorts a set, so the order of equal products is the set's, which is the same in every run: hashes of
    # numbers are not salted. It decides between 3 x 1 and 1 x 3 for a square that four tiles would suit better, where
    # both differ from 1 x 1 by a rounding only. Hence a set here too, filled in the same order.
    grids = {
        (columns, rows)
        for side in range(1, most + 1)
        for columns in range(1, side + 1)
        for rows in range(1, side + 1)
        if columns * rows <= most
    }
    return tuple(sorted(grids, key=lambda grid: grid[0] * grid[1]))
