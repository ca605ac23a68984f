"""Bodies of requests: whatever arrives is a request or an `InvalidRequest`, and either can be answered in JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from random import Random
from typing import Any

from fuzz.targets.shapes import change, spell
from fuzz.targets.target import Target
from starlette.responses import JSONResponse

from reranker_runtime.errors import MOST_MESSAGE, InvalidRequest
from reranker_runtime.http.describe import APIS
from reranker_runtime.http.dialects.dialect import Dialect, Result, Rules
from reranker_runtime.http.dialects.nim import NIM
from reranker_runtime.http.dialects.rerank import RERANK
from reranker_runtime.http.dialects.score import SCORE
from reranker_runtime.http.dialects.tei import TEI, is_tei

MOST = 16
RULES = (Rules(strict=False, most=MOST, split=False), Rules(strict=True, most=MOST, split=False),
         Rules(strict=False, most=MOST, split=True))  # fmt: skip
DIALECTS = (NIM, RERANK, SCORE, TEI)
KEYS = sorted({name for api in APIS.values() for name in api.request.model_fields})
KEYS += ["text", "image", "queries", "items", "data_1", "data_2", "activation", "", "__class__", "extra"]


def check(data: bytes) -> None:
    with suppress(InvalidRequest):
        is_tei(data, RULES[0])
    for dialect in DIALECTS:
        for rules in RULES:
            _answer(dialect, data, rules)


def _answer(dialect: Dialect, data: bytes, rules: Rules) -> None:
    try:
        asked = dialect.read(data, rules)
        asks = asked.asks()
    except InvalidRequest as error:
        status, body = dialect.fault(error, dialect.words)
        told = error.told(dialect.words)
        assert 400 <= status < 500, status
        assert len(told) <= 2 * MOST_MESSAGE, f"an error of {len(told)} characters: {told[:200]!r}"
        _sent(body)
        return
    assert asked.model is None or isinstance(asked.model, str)
    given = [len(ask.passages) for ask in asks]
    assert given, "nothing is asked"
    assert min(given) >= 1, "a query without a passage"
    assert rules.split or sum(given) <= rules.most
    for ask in asks:
        assert isinstance(ask.query, str)
        ask.query.encode()  # a surrogate would fail the tokenizer
        ask.instruction.encode()
        for passage in ask.passages:
            passage.text.encode()
        if ask.chunking is not None:
            assert all(limit is None or limit >= 1 for limit in (ask.chunking.tokens, ask.chunking.most))
    texts = sum(len(passage.text) for ask in asks for passage in ask.passages)
    assert texts <= 4 * len(data), f"{len(data)} bytes became {texts} characters"
    logits = [float(800 * (n % 3 - 1)) for n in range(sum(given))]
    _sent(asked.answer(Result(logits, 7, "tiny", "id")))


def _sent(body: Any) -> bytes:
    return bytes(JSONResponse(body).body)


def mutate(data: bytes, random: Random) -> bytes | None:
    if random.random() < 0.1:
        return None
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    for _ in range(random.choice((1, 1, 2, 4))):
        value = change(value, random, KEYS)
    return spell(value)


def seeds() -> Sequence[bytes]:
    full: dict[str, Any] = {
        "model": "tiny", "top_n": "2", "max_chunks_per_doc": 3, "max_tokens_per_doc": 9, "instruction": "rank",
        "return_documents": "true", "rank_fields": ["title", "text"], "raw_scores": True, "return_text": True,
    }  # fmt: skip
    documents = ["a", {"text": "b", "title": "c", "number": 1.5}, {"title": "d"}]
    examples = [api.example for api in APIS.values()]
    more = [{"query": "q", "documents": documents}, {"text_1": ["a", "b"], "text_2": ["c", "d"]}]
    return [spell(each) for each in (*examples, *more, *(example | full for example in examples), more[0] | full)]


TARGET = Target(check, mutate, seeds())
