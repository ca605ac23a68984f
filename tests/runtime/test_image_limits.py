"""RERANKER_MAX_IMAGE_BYTES and RERANKER_MAX_IMAGE_PIXELS, by whatever API an image comes."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

BYTES, PIXELS = 1024, 330


def sent(width: int, height: int, form: str) -> str:
    file = io.BytesIO()
    Image.new("RGB", (width, height), (10, 200, 30)).save(file, form)
    assert len(file.getvalue()) <= BYTES or form == "BMP"
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


GOOD = sent(16, 20, "BMP")  # 1,014 bytes
LARGE = sent(15, 22, "BMP")  # as many pixels as may be, and 1,110 bytes
WIDE = sent(16, 21, "PNG")  # few bytes
DOORS: dict[str, Callable[[list[dict[str, str]]], dict[str, Any]]] = {
    "/v1/ranking": lambda items: {"query": {"text": "waaa"}, "passages": items},
    "/v1/rerank": lambda items: {"query": "waaa", "documents": items},
    "/rerank": lambda items: {"query": "waaa", "documents": items},
    "/v1/score": lambda items: {"text_1": "waaa", "text_2": items},
}


@pytest.fixture(scope="module")
def server(made: Callable[[str], Path], start_for_all: Callable[..., Any]) -> Any:
    low = {"RERANKER_MAX_IMAGE_BYTES": BYTES, "RERANKER_MAX_IMAGE_PIXELS": PIXELS}
    return start_for_all(made("llama-nemotron-vl"), NIM_PRECISION="fp32", **low).ready()


@pytest.mark.parametrize("path", DOORS)
def test_an_image_within_both_limits_is_ranked(server: Any, path: str) -> None:
    answer = server.http.post(path, json=DOORS[path]([{"image": GOOD}, {"text": "waab", "image": GOOD}]))
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("path", DOORS)
@pytest.mark.parametrize(
    ("image", "said"),
    [(LARGE, f"is larger than {BYTES:,} bytes; scale it down"), (WIDE, f"is 16 x 21, more than {PIXELS} pixels")],
)
def test_an_image_beyond_one_is_refused_by_its_place(server: Any, path: str, image: str, said: str) -> None:
    answer = server.http.post(path, json=DOORS[path]([{"image": GOOD}, {"text": "waab", "image": image}]))
    assert answer.status_code == 422
    told = answer.json()
    items = list(DOORS[path]([]))[1]
    assert said in told["message"]
    assert (told["error"]["param"] if "error" in told else told["detail"]["field"]) == f"{items}.1.image"


def test_the_limits_are_told(server: Any) -> None:
    limits = server.http.get("/v1/metadata").json()["limits"]
    assert (limits["maxImageBytes"], limits["maxImagePixels"]) == (BYTES, PIXELS)
