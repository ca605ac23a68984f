"""Real servers answer with the scores of `transformers` on the same weights. Every family: test_families."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import pytest
import zoo

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


def test_bert_in_fp32(bert: Any, models: Any, reference: Any) -> None:
    passages = texts()
    assert_close(bert.logits(QUERY, passages), reference.scores(models.bert, QUERY, passages, limit=506), 1e-5)


def test_sharded_xlmr_in_bf16(strict: Any, models: Any, reference: Any) -> None:
    passages = texts()
    assert_close(strict.logits(QUERY, passages), reference.scores(models.xlmr, QUERY, passages, limit=514), 2e-2)


def test_a_sentence_encoder(sentence: Any, models: Any, reference: Any) -> None:
    passages = texts()
    wanted = reference.scores(models.sentence("mean"), QUERY, passages, limit=64)
    assert_close(sentence.logits(QUERY, passages), wanted, 1e-5)


def test_a_causal_model_that_shares_the_prompts_beginning(causal: Any, made: Any) -> None:
    passages = [*texts(), zoo.words(300)]  # the last beyond the limit
    wanted = zoo.FAMILIES["qwen3-tied"].scores(made("qwen3-tied"), QUERY, passages, limit=200)
    assert_close(causal.logits(QUERY, passages, truncate="END"), wanted, 1e-4)
    assert causal.logits(QUERY, passages[:1]) == pytest.approx(wanted[:1], abs=1e-4)  # nothing is shared


def test_user_text_never_becomes_a_control_token(bert: Any) -> None:
    usage = [bert.rank("w1", [text]).json()["usage"]["total_tokens"] for text in ("[SEP]", "w5")]
    assert usage[0] > usage[1] == 5


def test_a_control_token_that_the_vocabulary_holds_as_a_piece_is_an_unknown_word_in_user_text(strict: Any) -> None:
    for token in ("<s>", "</s>", "<pad>"):
        written, unknown = strict.logits("w1", [f"w2 {token} w3", "w2 é w3"])
        assert written == unknown
        written, unknown = (strict.logits(f"w1 {text}", ["w2"])[0] for text in (token, "é"))
        assert written == unknown
