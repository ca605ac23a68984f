"""Scores equal those of `transformers` on the same weights, whatever the batch, the family and the number type."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import pytest

from reranker_runtime.engine.scorer import Scorer
from reranker_runtime.models.registry import describe
from reranker_runtime.settings import read_settings

QUERY = "w1 w2 which way w3"


def texts() -> list[str]:
    """Of many lengths, some alike, some the same, some with words cut into pieces."""
    rng = random.Random(3)
    made = [" ".join(f"w{rng.randrange(1000)}" for _ in range(rng.choice([1, 3, 3, 9, 20, 41]))) for _ in range(24)]
    return [*made, "letters make pieces 42", made[0], ""]


def assert_close(got: list[float], wanted: list[float], tolerance: float) -> None:
    assert got == pytest.approx(wanted, abs=tolerance)
    order = sorted(range(len(wanted)), key=lambda n: -wanted[n])
    for better, worse in pairwise(order):
        if wanted[better] - wanted[worse] > 2 * tolerance:
            assert got[better] > got[worse]


def test_bert_over_http_in_fp32(bert: Any, models: Any, reference: Any) -> None:
    passages = texts()
    assert_close(bert.logits(QUERY, passages), reference.scores(models.bert, QUERY, passages, limit=506), 1e-5)


def test_sharded_xlmr_over_http_in_bf16(strict: Any, models: Any, reference: Any) -> None:
    passages = texts()
    assert_close(strict.logits(QUERY, passages), reference.scores(models.xlmr, QUERY, passages, limit=514), 2e-2)


def test_sentence_encoder_over_http(sentence: Any, models: Any, reference: Any) -> None:
    passages = texts()
    wanted = reference.scores(models.sentence("mean"), QUERY, passages, limit=64)
    assert_close(sentence.logits(QUERY, passages), wanted, 1e-5)


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("bf16", 2e-2)])
@pytest.mark.parametrize("name", ["bert", "xlmr", "sharded", "sentence-cls", "sentence-mean", "sentence-max"])
def test_every_family_and_number_type(models: Any, reference: Any, name: str, precision: str, tolerance: float) -> None:

    kind, _, pooling = name.partition("-")
    directory = models.sentence(pooling) if pooling else getattr(models, kind)
    passages = texts()
    settings = read_settings({"NIM_PRECISION": precision, "RERANKER_BATCH_TOKENS": "100", "RERANKER_DEVICE": "cpu"})
    scorer = Scorer(describe(directory), settings)
    got = scorer.rank(QUERY, passages).logits
    assert_close(got, reference.scores(directory, QUERY, passages, limit=scorer.limit), tolerance)


def test_a_score_does_not_depend_on_its_neighbours(bert: Any) -> None:
    passages = texts()
    together = bert.logits(QUERY, passages)
    assert together == pytest.approx([bert.logits(QUERY, [passage])[0] for passage in passages], abs=1e-6)


def test_identical_passages_get_identical_scores(bert: Any) -> None:
    first, _, third = bert.logits(QUERY, ["w9 w8", "w7", "w9 w8"])
    assert first == third


def test_user_text_never_becomes_a_control_token(bert: Any) -> None:
    usage = [bert.rank("w1", [text]).json()["usage"]["total_tokens"] for text in ("[SEP]", "w5")]
    assert usage[0] > usage[1] == 5


def test_a_control_token_that_the_vocabulary_holds_as_a_piece_is_an_unknown_word_in_user_text(strict: Any) -> None:
    for token in ("<s>", "</s>", "<pad>"):
        written, unknown = strict.logits("w1", [f"w2 {token} w3", "w2 é w3"])
        assert written == unknown
        written, unknown = (strict.logits(f"w1 {text}", ["w2"])[0] for text in (token, "é"))
        assert written == unknown
