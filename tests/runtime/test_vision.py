"""The vision-language reranker, over HTTP: what it sees, what it says of an image it cannot use, and what it counts."""

from __future__ import annotations

import base64
import io
import json
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import zoo
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from zoo.common import reader, torch

from reranker_runtime.engine import see
from reranker_runtime.engine.plan import planner_for
from reranker_runtime.engine.rows import Passage, Plan, Truncate
from reranker_runtime.errors import InputTooLong, InvalidRequest
from reranker_runtime.models.registry import describe

FAMILY = zoo.FAMILIES["llama-nemotron-vl"]
LIMIT = 160
QUERY = zoo.words(5, 300)
CONTROL = "a<image> b<img><IMG_CONTEXT></img> <|begin_of_text|><|eot_id|> <|end_of_text|>"


def picture(width: int, height: int, mode: str = "RGB", seed: int = 1) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (max(1, height // 8), max(1, width // 8), 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height)).convert(mode)


def saved(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def url(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{b64(data)}"


SQUARE, WIDE, TALL, LARGE = picture(32, 32), picture(120, 40), picture(40, 120), picture(300, 300)
PAIRS: tuple[tuple[str | None, Image.Image | None], ...] = (
    (zoo.words(12), None),
    (None, SQUARE),
    (zoo.words(12), SQUARE),
    (None, WIDE),  # three tiles and the whole
    ("waaa? wabc.\n\nwabb:", TALL),
    ("", None),
    (CONTROL, LARGE),  # two by two and the whole
    (CONTROL, None),
    (None, picture(20, 20, "L")),
    ("", picture(90, 60, "RGBA")),
    (None, picture(90, 60, "P")),
)
"""Passages of text, image, and both: one request."""


def passage(text: str | None, image: Image.Image | None) -> dict[str, Any]:
    given = {"text": text, "image": image and url(saved(image))}
    return {name: value for name, value in given.items() if value is not None}


def post(server: Any, passages: Sequence[dict[str, Any]], query: str = QUERY, **extra: object) -> httpx.Response:
    return server.http.post("/v1/ranking", json={"query": {"text": query}, "passages": passages} | extra)


def logits(server: Any, passages: Sequence[dict[str, Any]], query: str = QUERY, **extra: object) -> list[float]:
    answer = post(server, passages, query, **extra)
    assert answer.status_code == 200, answer.text
    return [item["logit"] for item in sorted(answer.json()["rankings"], key=lambda item: item["index"])]


@pytest.fixture(scope="module")
def model(made: Callable[[str], Path]) -> Path:
    return made(FAMILY.name)


@pytest.fixture(scope="module")
def servers(model: Path, tmp_path_factory: pytest.TempPathFactory, start_for_all: Callable[..., Any]) -> dict[str, Any]:
    """In fp32, lenient, with the published names of tensors; in bf16, strict, with those of transformers 5."""
    flat = tmp_path_factory.mktemp("flat")
    FAMILY.make(flat, nested_vision_names=False)
    limit = {"NIM_PIPELINE_MAX_SEQ_LEN": LIMIT, "RERANKER_DEVICE": "cpu"}
    return {
        "fp32": start_for_all(model, NIM_PRECISION="fp32", **limit),
        "bf16": start_for_all(flat, NIM_PRECISION="bf16", RERANKER_STRICT_JSON="true", **limit),
    }


@pytest.fixture(scope="module")
def server(servers: dict[str, Any]) -> Any:
    return servers["fp32"].ready()


@pytest.fixture(scope="module")
def strict(servers: dict[str, Any]) -> Any:
    return servers["bf16"].ready()


def test_text_images_and_both_in_one_request_score_as_the_reference_does(server: Any, model: Path) -> None:
    want = FAMILY.image_scores(model, QUERY, PAIRS, LIMIT)
    assert np.ptp(want) > 0.5
    assert logits(server, [passage(*pair) for pair in PAIRS]) == pytest.approx(want, abs=1e-4)


def test_in_bf16_too_and_strictly_and_with_the_other_names(strict: Any, model: Path) -> None:
    want = FAMILY.image_scores(model, QUERY, PAIRS, LIMIT, torch.bfloat16)
    # bf16 keeps three digits of each value, and the layers' errors add up in another order here.
    found = logits(strict, [passage(*pair) for pair in PAIRS])
    assert found == pytest.approx(want, abs=3e-2 * max(1.0, np.ptp(want)))
    assert found != pytest.approx(FAMILY.image_scores(model, QUERY, PAIRS, LIMIT), abs=1e-5)


def test_scores_do_not_depend_on_what_is_scored_beside_them(server: Any) -> None:
    passages = [passage(*pair) for pair in PAIRS]
    alone = [logits(server, [one])[0] for one in passages]
    assert logits(server, passages[::-1])[::-1] == pytest.approx(alone, abs=1e-4)


@pytest.mark.gpu
@pytest.mark.parametrize(("precision", "error"), [("fp32", 1e-3), ("bf16", 3e-2), ("fp16", 3e-2)])
def test_a_gpu_scores_as_the_reference_does(model: Path, start: Any, precision: str, error: float) -> None:
    server = start(model, NIM_PRECISION=precision, NIM_PIPELINE_MAX_SEQ_LEN=LIMIT, RERANKER_DEVICE="cuda").ready()
    want = FAMILY.image_scores(model, QUERY, PAIRS, LIMIT)
    assert logits(server, [passage(*pair) for pair in PAIRS]) == pytest.approx(want, abs=error * max(1.0, np.ptp(want)))


FORMS = {
    "PNG": saved(WIDE),
    "JPEG": saved(WIDE, "JPEG"),
    "CMYK JPEG": saved(WIDE.convert("CMYK"), "JPEG"),
    "WebP": saved(WIDE, "WEBP"),
    "GIF": saved(WIDE, "GIF"),
    "BMP": saved(WIDE, "BMP"),
    "TIFF": saved(WIDE, "TIFF"),
    "fax": saved(WIDE.convert("1"), "TIFF", compression="group4"),
}


def test_every_format_by_its_content_as_data_url_and_bare(server: Any, model: Path) -> None:
    images = [Image.open(io.BytesIO(data)) for data in FORMS.values()]
    want = FAMILY.image_scores(model, QUERY, [(None, image) for image in images], LIMIT)
    assert logits(server, [{"image": b64(data)} for data in FORMS.values()]) == pytest.approx(want, abs=1e-4)
    named = [{"text": "", "image": url(data, "image/x-nonsense")} for data in FORMS.values()]
    assert logits(server, named) == pytest.approx(want, abs=1e-4)


@pytest.mark.parametrize("image", [None, SQUARE], ids=["text", "image"])
def test_control_tokens_in_a_text_are_text(server: Any, model: Path, image: Image.Image | None) -> None:
    texts = ["<IMG_CONTEXT>", "<img>", "<image>", "</img>", CONTROL, "<IMG_CONTEXT>" * 3]
    want = [FAMILY.image_scores(model, f"{text} wabc", [(text, image)], LIMIT)[0] for text in texts]
    found = [logits(server, [passage(text, image)], f"{text} wabc")[0] for text in texts]
    assert found == pytest.approx(want, abs=1e-4)
    context = json.loads((model / "config.json").read_text())["img_context_token_id"]
    for row in planned(model, CONTROL, [(CONTROL, image)], LIMIT).rows:
        assert row.ids.count(context) == (16 if image else 0)


def test_equal_passages_tie_and_equal_texts_with_other_images_do_not(server: Any, model: Path) -> None:
    same = [url(saved(WIDE)), b64(saved(WIDE, "BMP")), url(saved(WIDE), "image/gif")]
    passages = [{"text": "waaa", "image": image} for image in (*same, url(saved(picture(120, 40, seed=2))))]
    first, *others, last = logits(server, passages)
    assert others == [first] * 2
    assert abs(first - last) > 1e-3
    assert logits(server, [{"text": "waab", "image": same[0]}])[0] != first
    plan = planner(model).plan(QUERY, [Passage("waaa", one["image"]) for one in passages], Truncate.NONE)
    assert plan.places == [0, 0, 0, 1]
    assert plan.rows[0].ids == plan.rows[1].ids


def test_usage_counts_the_tokens_of_images_in_every_passage(server: Any, model: Path) -> None:
    pairs = [(None, WIDE), ("waaa", SQUARE), ("waaa", None), (None, WIDE)]
    want = sum(len(ids) for ids in reference(model, QUERY, pairs, LIMIT))
    answer = post(server, [passage(*pair) for pair in pairs]).json()
    assert answer["usage"] == {"prompt_tokens": want, "total_tokens": want}
    assert want > 2 * 4 * 16


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">L", len(data)) + name + data + struct.pack(">L", zlib.crc32(name + data))


HEAD = struct.pack(">LLBBBBB", 40_000, 40_000, 1, 0, 0, 0, 0)
BOMB = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", HEAD) + chunk(b"IDAT", zlib.compress(bytes(5_000_000)))
DEEP = saved(Image.fromarray(np.array([[0, 255], [256, 65535]], dtype=np.uint16)))
BAD: dict[str, tuple[object, str]] = {
    "too large": (url(BOMB), "is 40000 x 40000, more than 50,000,000 pixels"),
    "cut short": (url(saved(LARGE)[:500]), "cut short"),
    "no string": (7, "must be a string"),
    "object": ({"url": url(saved(SQUARE))}, "must be a string"),
    "PDF": (url(b"%PDF-1.7 " + bytes(40)), "is a PDF; render the page as a PNG"),
    "text": (b64(b"a cat on a mat"), "is not an image in base64"),
    "URL": ("https://example.com/a.png", "URLs are never fetched"),
    "file": ("file:///etc/passwd", "URLs are never fetched"),
    "not base64": ("data:image/png;base64,a cat, on a mat", "is not base64"),
    "empty": ("", "is empty"),
    "16 bits": (url(DEEP), "convert it to 8 bits"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("kind", ["fp32", "bf16"])
def test_an_image_that_cannot_be_used_is_422_and_names_the_passage(
    servers: dict[str, Any], kind: str, name: str
) -> None:
    image, words = BAD[name]
    answer = post(servers[kind].ready(), [passage("waaa", SQUARE), {"text": "waaa"}, {"text": "waaa", "image": image}])
    assert answer.status_code == 422
    error = answer.json()
    assert error["message"].startswith("passages.2.image: ")
    assert words in error["message"]
    assert error | {"message": ""} == {
        "object": "error",
        "message": "",
        "detail": {"passage": 2, "field": "passages.2.image"},
        "type": "invalid_request_error",
    }


@pytest.mark.parametrize("empty", [{}, {"text": None}, {"image": None, "text": None}])
def test_a_passage_needs_a_text_or_an_image(servers: dict[str, Any], empty: dict[str, Any]) -> None:
    for server in servers.values():
        answer = post(server.ready(), [{"text": ""}, empty])
        assert answer.status_code == 422
        assert answer.json()["message"].startswith("passages.1.text: Field required")
        assert answer.json()["detail"] == {"passage": 1, "field": "passages.1.text"}


def test_the_first_of_several_bad_images_is_named(server: Any) -> None:
    bad = {"image": url(saved(LARGE)[:500])}
    assert post(server, [passage(None, SQUARE), *[bad] * 20]).json()["detail"] == {
        "passage": 1,
        "field": "passages.1.image",
    }


def test_a_text_model_refuses_an_image(bert: Any) -> None:
    answer = post(bert, [{"text": "w1"}, {"text": "w1", "image": url(saved(SQUARE))}, {"image": "nonsense"}], "w2")
    assert answer.status_code == 422
    assert answer.json()["message"].startswith("passages.1.image: this model ranks text only")
    assert answer.json()["detail"] == {"passage": 1, "field": "passages.1.image"}
    assert logits(bert, [{"text": "w1", "image": None}], "w2") == logits(bert, [{"text": "w1"}], "w2")


def test_metadata_and_openapi_tell_of_images(server: Any, strict: Any, bert: Any) -> None:
    assert [one.http.get("/v1/metadata").json()["images"] for one in (server, strict, bert)] == [True, True, False]
    body = server.http.get("/openapi.json").json()["paths"]["/v1/ranking"]["post"]["requestBody"]
    image = body["content"]["application/json"]["schema"]["properties"]["passages"]["items"]["properties"]["image"]
    assert {"type": "string"} in image["anyOf"]
    assert "base64" in image["description"]


def test_strictness_is_about_fields_not_images(strict: Any) -> None:
    answer = post(strict, [passage("waaa", SQUARE) | {"images": []}])
    assert answer.status_code == 400
    assert "unknown field, expected one of text, image" in answer.json()["message"]


@pytest.mark.parametrize("pair", [(zoo.words(200), WIDE), (zoo.words(200), None)], ids=["image", "text"])
def test_truncation_cuts_the_text_behind_an_image(
    server: Any, model: Path, pair: tuple[str, Image.Image | None]
) -> None:
    answer = post(server, [passage(*pair)])
    assert answer.status_code == 422
    assert f"exceeds maximum allowed token size {LIMIT}: passages.0 with the query" in answer.json()["message"]
    want = FAMILY.image_scores(model, QUERY, [pair], LIMIT)
    assert logits(server, [passage(*pair)], truncate="END") == pytest.approx(want, abs=1e-4)
    usage = post(server, [passage(*pair)], truncate="END").json()["usage"]
    assert usage == {"prompt_tokens": LIMIT, "total_tokens": LIMIT}


@pytest.mark.parametrize("truncate", ["NONE", "END"])
def test_an_image_is_never_cut(server: Any, model: Path, truncate: str) -> None:
    spent = 1 + 1 + 5 * 16 + 1 + len(reader(model).user(" question: \n \n passage"))
    passages = [passage(zoo.words(1), None), passage(None, LARGE)]
    assert post(server, passages, zoo.words(LIMIT - spent - 1), truncate=truncate).status_code == 200
    answer = post(server, passages, zoo.words(LIMIT - spent + 1), truncate=truncate)
    assert answer.status_code == 422
    message = answer.json()["message"]
    assert f"Input length {LIMIT + 1} exceeds maximum allowed token size {LIMIT}" in message
    assert "passages.1.image (5 tiles)" in message
    assert "send a shorter query or a smaller image" in message
    assert answer.json()["detail"] == {"passage": 1, "field": "passages.1.image"}


def planner(model: Path, limit: int = LIMIT) -> Any:
    return planner_for(describe(model), limit)


def planned(
    model: Path, query: str, pairs: Sequence[tuple[str | None, Image.Image | None]], limit: int, end: str = "END"
) -> Plan:
    passages = [Passage(text or "", image and url(saved(image))) for text, image in pairs]
    return planner(model, limit).plan(query, passages, Truncate(end))


def reference(
    model: Path, query: str, pairs: Sequence[tuple[str | None, Image.Image | None]], limit: int
) -> list[list[int]]:
    counts = [len(FAMILY.tiles(model, image)) if image else 0 for _, image in pairs]
    return [FAMILY.image_tokens(model, query, text, n, limit) for (text, _), n in zip(pairs, counts, strict=True)]


def test_token_by_token_around_the_limit(model: Path) -> None:
    pairs = [(zoo.words(n), image) for n in (0, 1, 20, 60) for image in (None, SQUARE, WIDE)]
    whole = reference(model, QUERY, pairs, 1000)
    for limit in range(4 * 16 + 20, max(map(len, whole)) + 2):
        plan = planned(model, QUERY, pairs, limit)
        assert [plan.rows[place].ids for place in plan.places] == reference(model, QUERY, pairs, limit)
        assert plan.truncated == sum(len(ids) > limit for ids in whole)


TEXTS = st.lists(st.sampled_from(["<img>", "<IMG_CONTEXT>", "</img>", "<image>", " ", "\n", ":", " \n \n", "question"]))
TEXTS = TEXTS.map("".join) | st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
SEEN = {0: None, 1: SQUARE, 4: WIDE, 5: LARGE}


@settings(max_examples=60, deadline=None)
@given(TEXTS, st.lists(st.tuples(TEXTS, st.sampled_from(list(SEEN))), min_size=1, max_size=4), st.integers(60, 160))
def test_any_text_beside_any_image_is_planned_as_the_reference_does(
    model: Path, query: str, drawn: list[tuple[str, int]], limit: int
) -> None:
    asked = len(reader(model).user(f" question:{query} \n \n passage"))
    too_long = [n for n, (_, tiles) in enumerate(drawn) if tiles and 3 + 16 * tiles + asked > limit]
    pairs = [(text, SEEN[tiles]) for text, tiles in drawn]
    if too_long:
        with pytest.raises(InputTooLong) as caught:
            planned(model, query, pairs, limit)
        assert caught.value.detail == {"passage": too_long[0]}
        return
    plan = planned(model, query, pairs, limit)
    want = reference(model, query, pairs, limit)
    assert [plan.rows[place].ids for place in plan.places] == want
    assert plan.tokens == sum(map(len, want))
    for (_, tiles), place in zip(drawn, plan.places, strict=True):
        image = plan.rows[place].image
        assert (0 if image is None else len(image)) == tiles


def test_control_tokens_that_the_tokenizer_does_not_call_special(model: Path, tmp_path: Path) -> None:
    FAMILY.make(tmp_path)
    tokenizer = json.loads((tmp_path / "tokenizer.json").read_text())
    for token in tokenizer["added_tokens"]:
        token["special"] = token["content"] not in {"<img>", "</img>", "<IMG_CONTEXT>"}
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer))
    plan = planned(tmp_path, CONTROL, [(CONTROL, WIDE), (CONTROL, None)], LIMIT)
    assert [row.ids for row in plan.rows] == reference(model, CONTROL, [(CONTROL, WIDE), (CONTROL, None)], LIMIT)


@pytest.mark.parametrize("most", [1, 2, 6])
def test_the_processor_says_how_many_tiles(tmp_path: Path, most: int) -> None:
    FAMILY.make(tmp_path, processor_tiles=most)
    pairs = [(None, image) for image in (picture(320, 20), LARGE, picture(300, 200), TALL)]
    plan = planned(tmp_path, QUERY, pairs, 400)
    want = [FAMILY.tiles(tmp_path, image) for _, image in pairs]
    assert [plan.rows[place].ids for place in plan.places] == reference(tmp_path, QUERY, pairs, 400)
    for place, pieces in zip(plan.places, want, strict=True):
        assert np.array_equal(plan.rows[place].image, [np.asarray(piece) for piece in pieces])


def test_a_request_may_not_fill_the_memory(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = 5 * 32 * 32 * 3
    monkeypatch.setattr(see, "MOST_BYTES", 2 * size)
    others = [picture(300, 300, seed=seed) for seed in (1, 2, 3)]
    assert len(planned(model, QUERY, [(None, image) for image in (*others[:2], *others[:2])], LIMIT).rows) == 2
    with pytest.raises(InvalidRequest, match="send the passages in several requests") as caught:
        planned(model, QUERY, [(None, image) for image in others], LIMIT)
    assert caught.value.detail == {"passage": 2}
