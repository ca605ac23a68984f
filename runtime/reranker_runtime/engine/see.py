"""Requests with images to a plan: decoded, cut into tiles, and laid as tokens between BOS and the text prompt.

An image is never cut, since half of one is another image: with END the passage's text loses its tail, and where image
and query alone are too long, the request is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from reranker_runtime.engine.cpus import usable_cpus
from reranker_runtime.engine.errand import proceed
from reranker_runtime.engine.plan import Cut, WrittenPlanner
from reranker_runtime.engine.rows import Passage, Plan, Truncate
from reranker_runtime.engine.tokenise import Texts
from reranker_runtime.errors import InputTooLong, InvalidRequest
from reranker_runtime.images.decode import decode
from reranker_runtime.images.limits import Limits
from reranker_runtime.images.tiles import Tiling, count, tiles
from reranker_runtime.models.blueprint import Written
from reranker_runtime.models.geometry import VisionGeometry
from reranker_runtime.models.nemotron_vl import CLOSING, OPENING, TOKEN

Pixels = NDArray[np.uint8]

BETWEEN: Final = " "
"""Between an image and the text prompt; a tokenizer joins it with the prompt's first word."""
MOST_BYTES: Final = 3 << 30
"""Of all tiles of one request, which wait as pixels until they are scored: 512 images of seven tiles of 512 pixels."""
MOST_DECODERS: Final = 8
"""Threads that decode, of all requests together."""
REMEDY: Final = (
    "neither an image nor a query is ever cut, so send a shorter query or a smaller image, "
    "or raise NIM_PIPELINE_MAX_SEQ_LEN where it is set"
)


class SeeingPlanner(WrittenPlanner):
    """Passages of text, of an image, or of both."""

    def __init__(
        self,
        texts: Texts,
        prompt: Written,
        limit: int,
        instruction: str,
        vision: VisionGeometry,
        limits: Limits = Limits(),  # noqa: B008 - frozen
    ) -> None:
        texts.reserve((OPENING, TOKEN, CLOSING))
        super().__init__(texts, prompt, limit, instruction, causal=False)
        self._vision, self._limits = vision, limits
        self._tiling = Tiling(vision.image, vision.most_tiles, thumbnail=vision.thumbnail, dynamic=vision.dynamic)
        self._apart = self._apart and self._splits(BETWEEN)
        # Decoding and scaling leave Python's lock alone, so a request of many images uses several cores; not more,
        # whoever asks, because a large image takes hundreds of megabytes while it is decoded.
        self._decoders = ThreadPoolExecutor(min(usable_cpus(), MOST_DECODERS), thread_name_prefix="decode")

    def plan(self, query: str, passages: Sequence[Passage], truncate: Truncate, instruction: str = "") -> Plan:
        images = self._images(passages)
        text = self._query_text(query, instruction)
        cuts: dict[int, Cut] = {}
        plain = [n for n in range(len(passages)) if n not in images]
        if plain:
            head, ends = self._parts(text, [passages[n] for n in plain], truncate)
            cuts |= {n: self._cut(head, end) for n, end in zip(plain, ends, strict=True)}
        if images:
            head, ends = self._parts(BETWEEN + text, [passages[n] for n in images], truncate)
            for (n, image), end in zip(images.items(), ends, strict=True):
                cuts[n] = self._cut_behind(image, head, end, n)
        return self._planned([cuts[n] for n in range(len(passages))], truncate)

    def _cut_behind(self, image: Pixels, head: list[int], end: list[int], number: int) -> Cut:
        vision = self._vision
        block = [vision.opening, *[vision.token] * (len(image) * vision.tokens), vision.closing]
        whole = len(self._before) + len(block) + len(head) + len(self._between) + len(self._after)
        if len(block) + len(head) > self._most:
            how = f"({len(image)} tiles) with the query and the template"
            raise InputTooLong(whole, self.limit, ("passages", number, "image"), how, REMEDY)
        cut = self._cut(head, end, block)
        return replace(cut, row=replace(cut.row, image=image))

    def _images(self, passages: Sequence[Passage]) -> dict[int, Pixels]:
        """Tiles of each passage that has an image; equal pixels are one array, so that rows can be shared."""
        given = {n: passage.image for n, passage in enumerate(passages) if passage.image is not None}
        # What is no string is equal to nothing; decoding refuses it.
        keys = {n: image if isinstance(image, str) else n for n, image in given.items()}
        firsts = {key: n for n, key in reversed(keys.items())}
        order = sorted(firsts.values())
        equal: dict[bytes, Pixels] = {}
        found: dict[str | int, Pixels] = {}
        size = 0
        for n, image in zip(order, self._decoders.map(lambda n: self._tiles(n, given[n]), order), strict=True):
            proceed()  # leaving the loop cancels what is not being decoded yet
            found[keys[n]] = equal.setdefault(hashlib.blake2b(image.data).digest(), image)
            size += image.nbytes if found[keys[n]] is image else 0
            if size > MOST_BYTES:
                raise InvalidRequest(
                    f"up to here the tiles of the images take more than {MOST_BYTES >> 20} MiB; "
                    "send the passages in several requests",
                    at=("passages", n, "image"),
                )
        return {n: found[key] for n, key in keys.items()}

    def _tiles(self, number: int, image: object) -> Pixels:
        """Raises what is wrong with a passage's image, by the field's path."""
        at = ("passages", number, "image")
        decoded = decode(image, at, self._limits)
        try:
            return tiles(decoded, self._tiling)
        except MemoryError:
            message = f"its {count(*decoded.size, self._tiling)} tiles do not fit into memory now; "
            raise InvalidRequest(message + "send fewer images at once", at=at) from None
