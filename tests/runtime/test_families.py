"""Every family against its independent reference in `zoo`: scores, truncation token by token, prompts, sharing.

Inside this process, so that it can be broad; test_parity asks real servers.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import zoo
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from zoo.common import reader

from reranker_runtime.engine.plan import planner_for
from reranker_runtime.engine.pool import Pool
from reranker_runtime.engine.rows import Ask, Passage, Plan, Truncate
from reranker_runtime.engine.scorer import Scorer
from reranker_runtime.errors import InputTooLong, ModelError, Reason
from reranker_runtime.models.registry import ARCHITECTURES, describe
from reranker_runtime.settings import read_settings

VISION = "llama-nemotron-vl"
NAMES = [name for name in zoo.FAMILIES if name != VISION or "LlamaNemotronVLForSequenceClassification" in ARCHITECTURES]
INSTRUCTED = [name for name in NAMES if zoo.FAMILIES[name].instructed]
KINDS = [
    "bert", "electra", "roberta", "xlmr", "modernbert-mean", "deberta-v2", "llama-bidirec", "llama-bidirec-cls",
    "mistral", "qwen3-causal", "mxbai-v2", "bge-gemma", "sentence-cls-mean", "sentence-prompted",
]  # fmt: skip
"""One for each way that texts become tokens and tokens a score."""
LIMIT = 200
LONG = 100_000
CONTROL = [
    "[SEP]", "[CLS]", "[MASK]", "</s>", "<s>", "<pad>", "<|im_end|>", "<|im_start|>", "<bos>", "<eos>", "<|endoftext|>",
    "<|begin_of_text|>", "<img>", "<IMG_CONTEXT>", "</think>", "question:", "passage:", " \n \n ", "\n<Document>:",
    "A:", "\ndocument: ", "Yes", "{query}", "{passage}", "{",
]  # fmt: skip
QUERY = zoo.words(6, 300)
PASSAGES = [
    *(zoo.words(count, 37 * n) for n, count in enumerate((1, 2, 3, 3, 9, 9, 17, 20, 40, 41, 60, 90))),
    zoo.words(300, 500),  # beyond the limit
    zoo.words(1),  # the first again
    "",
    "pieces [SEP] é 漢字 </s> <|im_end|> 🙂 cafe\u0301",
    "wabc? waaa.\n\nwabb:",
]


class Engine:
    """A scorer and its pool, as a server has them."""

    def __init__(self, directory: Path, **variables: object) -> None:
        fixed = {"RERANKER_DEVICE": "cpu", "NIM_PRECISION": "fp32", "NIM_PIPELINE_MAX_SEQ_LEN": limit_of(directory)}
        env = {name: str(value) for name, value in (fixed | variables).items()}
        self.scorer = Scorer(describe(directory), read_settings(env))
        self.pool = Pool(self.scorer)

    def logits(self, query: str, passages: Sequence[str]) -> list[float]:
        return self.pool.rank(query, passages, Truncate.END).logits

    def plan(self, query: str, passages: Sequence[str], truncate: Truncate = Truncate.END) -> Plan:
        return self.scorer.plan(Ask(query, [Passage(text) for text in passages], truncate))

    def together(self, *requests: tuple[str, Sequence[str]]) -> list[list[float]]:
        """Requests that workers see at once, so that their rows share batches."""
        plans = [self.plan(*request) for request in requests]
        with self.pool._change:  # no worker takes anything before all have been submitted
            jobs = [self.pool.submit(plan) for plan in plans]
        return [job.future.result().logits for job in jobs]


@cache
def limit_of(directory: Path) -> int:
    return min(describe(directory).limit, LIMIT)


Engines = Callable[..., Engine]
Wanted = Callable[..., list[float]]


@pytest.fixture(scope="module")
def engine(made: Callable[[str], Path]) -> Iterator[Engines]:
    """`engine(name, RERANKER_WORKERS=2)`: loaded once for each combination."""
    running: dict[tuple[Any, ...], Engine] = {}

    def find(name: str, **variables: object) -> Engine:
        key = (name, *sorted(variables.items()))
        if key not in running:
            running[key] = Engine(made(name), **variables)
        return running[key]

    yield find
    for started in running.values():
        started.pool.end()


@pytest.fixture(scope="module")
def wanted(made: Callable[[str], Path]) -> Wanted:
    """`wanted(name)`: the reference's scores of PASSAGES."""

    @cache
    def find(name: str, **options: Any) -> list[float]:
        directory = made(name)
        return zoo.FAMILIES[name].scores(directory, QUERY, PASSAGES, limit=limit_of(directory), **options)

    return find


def distance(scores: Sequence[float], others: Sequence[float]) -> float:
    """Root of the mean square."""
    return math.dist(scores, others) / len(scores) ** 0.5


def assert_close(got: Sequence[float], want: Sequence[float], tolerance: float) -> None:
    """Near each other, and in the same order where the scores are apart."""
    assert got == pytest.approx(want, abs=tolerance)
    order = sorted(range(len(want)), key=lambda n: -want[n])
    for better, worse in pairwise(order):
        if want[better] - want[worse] > 2 * tolerance:
            assert got[better] > got[worse]


@pytest.mark.parametrize("name", NAMES)
def test_a_text_of_a_book_is_read_only_as_far_as_the_limit_and_cut_as_the_whole_is(name: str, engine: Engines) -> None:
    served = engine(name)
    book, spaces = zoo.words(40_000), "waaa" + " " * 300_000 + "wabc"
    texts = [book, book[:3000], f"{book} end", book.replace(" ", "")[:200_000], spaces]
    read = served.scorer._planner.texts
    for text in texts:
        assert read.ids([text], 100)[0][:100] == read.ids([text])[0][:100]
    assert len(read.ids([book], 100)[0]) < 2000
    plan = served.plan(QUERY, texts)
    assert plan.places[0] == plan.places[1] == plan.places[2], "cut to the same tokens"
    assert plan.truncated >= 3
    with pytest.raises(InputTooLong):
        served.plan(QUERY, [book], Truncate.NONE)


@pytest.mark.parametrize("name", [name for name in NAMES if zoo.FAMILIES[name].instructed])
def test_an_instruction_is_read_as_the_reference_reads_it(name: str, engine: Engines, wanted: Wanted) -> None:
    served = engine(name)
    ask = Ask(QUERY, [Passage(text) for text in PASSAGES], Truncate.END, "wabc waab")
    told = served.pool.submit(served.scorer.plan(ask)).future.result().logits
    assert_close(told, wanted(name, instruction="wabc waab"), 1e-4)
    assert told != pytest.approx(wanted(name), abs=1e-4)
    assert_close(served.logits(QUERY, PASSAGES), wanted(name), 1e-4)  # and the next request is not told


@pytest.mark.parametrize("name", NAMES)
def test_scores_are_the_references(name: str, engine: Engines, wanted: Wanted) -> None:
    assert_close(engine(name).logits(QUERY, PASSAGES), wanted(name), 1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_bf16_loses_no_more_than_the_reference_does_in_bf16(name: str, engine: Engines, wanted: Wanted) -> None:
    exact, rounded = wanted(name), wanted(name, dtype=torch.bfloat16)
    got = engine(name, NIM_PRECISION="bf16").logits(QUERY, PASSAGES)
    # bf16 keeps 8 bits of a number, so what is lost grows with the numbers; these models' logits span from 1 to 20.
    scale = max(1.0, max(exact) - min(exact))
    assert got == pytest.approx(exact, abs=5e-2 * scale)
    assert distance(got, exact) <= 2 * distance(rounded, exact) + 5e-3 * scale


@pytest.mark.parametrize(("budget", "workers"), [(64, 2), (LONG, 1)])
@pytest.mark.parametrize("name", NAMES)
def test_a_score_does_not_depend_on_its_batch(
    name: str, budget: int, workers: int, engine: Engines, wanted: Wanted
) -> None:
    served = engine(name, RERANKER_BATCH_TOKENS=budget, RERANKER_WORKERS=workers)
    want = wanted(name)
    assert served.logits(QUERY, PASSAGES) == pytest.approx(want, abs=1e-4)
    assert served.logits(QUERY, PASSAGES[::-1]) == pytest.approx(want[::-1], abs=1e-4)
    for n in (0, 4, 9, 12, 14):
        assert served.logits(QUERY, [PASSAGES[n]]) == pytest.approx([want[n]], abs=1e-4)
    other = zoo.words(3, 700), PASSAGES[3:8]
    alone = served.logits(*other)
    first, second, third = served.together((QUERY, PASSAGES), other, (QUERY, PASSAGES[2:5]))
    assert first == pytest.approx(want, abs=1e-4)
    assert second == pytest.approx(alone, abs=1e-4)
    assert third == pytest.approx(want[2:5], abs=1e-4)


def texts() -> st.SearchStrategy[str]:
    """From nothing to beyond the limit: any characters that UTF-8 has, words, and what templates are made of."""
    characters = st.characters(exclude_categories=["Cs"])
    word = st.integers(0, 999).map(lambda n: zoo.WORDS[n])
    piece = st.one_of(word, word, st.sampled_from(CONTROL), st.text(characters, max_size=12))
    short = st.lists(piece, max_size=8).flatmap(
        lambda parts: st.sampled_from([" ", "", "\n"]).map(lambda s: s.join(parts))
    )
    long = st.integers(LIMIT // 2, 2 * LIMIT).map(zoo.words)
    return st.one_of(short, short, short, long)


def crowded(name: str, directory: Path, query: str, limit: int) -> bool:
    """Whether mxbai's query fills everything: nobody says if the line break before the passage is kept then."""
    return name == "mxbai-v2" and len(zoo.FAMILIES[name].tokens(directory, query, "", LONG)) > limit


@pytest.mark.parametrize("name", KINDS)
def test_whatever_is_asked(name: str, engine: Engines, made: Callable[[str], Path]) -> None:
    family, directory, served = zoo.FAMILIES[name], made(name), engine(name)

    @settings(max_examples=25, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(texts(), st.lists(texts(), min_size=1, max_size=5), st.sampled_from([0, 0, 0, 1, 40, 507]))
    def check(query: str, passages: list[str], more: int) -> None:
        asked = [*passages, *zoo.WORDS[:more], passages[0]][:512]
        got = served.logits(query, asked)
        assert len(got) == len(asked)
        assert all(map(math.isfinite, got))
        by_text = dict(zip(asked, got, strict=True))
        assert got == [by_text[text] for text in asked]
        if crowded(name, directory, query, served.scorer.limit):
            return
        sample = list(by_text)[:6]
        want = family.scores(directory, query, sample, limit=served.scorer.limit)
        assert [by_text[text] for text in sample] == pytest.approx(want, abs=1e-4)

    check()


def rows_of(plan: Plan) -> list[list[int]]:
    """The tokens that each passage is scored with."""
    return [plan.prefix + plan.rows[place].ids for place in plan.places]


ROOM = 200
"""Tokens for text in the tests of truncation; so many that Gemma's three quarters for the query leave some."""


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("sentence-")])
def test_what_is_cut_token_by_token(name: str, made: Callable[[str], Path]) -> None:
    family, directory = zoo.FAMILIES[name], made(name)
    blueprint = describe(directory)

    def tokens(query: str, passage: str, limit: int = LONG) -> list[int]:
        return family.tokens(directory, query, passage, limit)

    bare = len(tokens("", ""))
    limit = min(blueprint.limit, bare + ROOM)
    room = limit - bare
    planner = planner_for(blueprint, limit)
    for count in (0, 1, 5, room // 2, *range(room - 3, room + 4), room + 60):
        query = zoo.words(count, 100)
        left = max(0, room - count)
        passages = [zoo.words(n, 500) for n in sorted({0, 1, *range(max(0, left - 2), left + 3), left + 70})]
        asked, whole = [Passage(text) for text in passages], [len(tokens(query, text)) for text in passages]
        plan = planner.plan(query, asked, Truncate.END)
        got = rows_of(plan)
        assert max(map(len, got)) <= limit
        if crowded(name, directory, query, limit):
            assert len(set(map(tuple, got))) == 1
            assert len(got[0]) == limit
        else:
            assert got == [tokens(query, text, limit) for text in passages], count
        if name == "bge-gemma" and count > limit * 3 // 4 - 4:  # then the query is too long, whatever fits
            continue
        assert plan.truncated == sum(length > limit for length in whole)
        if max(whole) <= limit:
            assert planner.plan(query, asked, Truncate.NONE) == plan
            continue
        with pytest.raises(InputTooLong) as caught:
            planner.plan(query, asked, Truncate.NONE)
        assert f"Input length {max(whole)} exceeds maximum allowed token size {limit}:" in str(caught.value)
        assert caught.value.detail == {"passage": whole.index(max(whole))}


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("sentence-")])
def test_each_text_of_a_sentence_encoder_is_cut_alone(name: str, made: Callable[[str], Path]) -> None:
    family, directory = zoo.FAMILIES[name], made(name)
    blueprint = describe(directory)
    limit = blueprint.limit
    assert limit == 128  # max_seq_length, not the 512 positions
    planner = planner_for(blueprint, limit)

    def tokens(text: str, role: str, limit: int = LONG) -> list[int]:
        return family.tokens(directory, "", text, limit, role=role)

    lengths = (0, 1, *range(limit - 6, limit + 2), 3 * limit)
    passages = [zoo.words(n, 500) for n in lengths]
    for query in (zoo.words(n, 100) for n in lengths):
        plan = planner.plan(query, [Passage(text) for text in passages], Truncate.END)
        assert plan.rows[0].ids == tokens(query, "query", limit)
        assert rows_of(plan) == [tokens(text, "document", limit) for text in passages]
        for text in passages:
            asked, found = len(tokens(query, "query")), len(tokens(text, "document"))
            detail, length = ({"query": True}, asked) if asked > limit else ({"passage": 0}, found)
            if length <= limit:
                planner.plan(query, [Passage(text)], Truncate.NONE)
                continue
            with pytest.raises(InputTooLong) as caught:
                planner.plan(query, [Passage(text)], Truncate.NONE)
            assert f"Input length {length} exceeds maximum allowed token size {limit}:" in str(caught.value)
            assert caught.value.detail == detail


def test_gemma_gives_queries_three_quarters_of_the_limit(made: Callable[[str], Path]) -> None:
    family, directory = zoo.FAMILIES["bge-gemma"], made("bge-gemma")
    planner = planner_for(describe(directory), 400)
    for count in (290, *range(295, 304), 900):
        for text in (zoo.words(3), zoo.words(200, 500)):
            plan = planner.plan(zoo.words(count), [Passage(text)], Truncate.END)
            assert rows_of(plan) == [family.tokens(directory, zoo.words(count), text, 400)]


@pytest.mark.parametrize("name", NAMES)
def test_an_instruction_reaches_those_that_take_one(
    name: str, engine: Engines, wanted: Wanted, made: Callable[[str], Path]
) -> None:
    told = "wjjj wjji, wabc.{query}"
    got = engine(name, RERANKER_INSTRUCTION=told).logits(QUERY, PASSAGES[:4])
    if name not in INSTRUCTED:
        assert got == pytest.approx(wanted(name)[:4], abs=1e-4)
        return
    want = zoo.FAMILIES[name].scores(made(name), QUERY, PASSAGES[:4], limit=limit_of(made(name)), instruction=told)
    assert got == pytest.approx(want, abs=1e-4)
    assert got != pytest.approx(wanted(name)[:4], abs=1e-2)


@pytest.mark.parametrize("name", NAMES)
def test_what_rows_share_is_computed_once(name: str, engine: Engines) -> None:
    served, causal = engine(name), zoo.FAMILIES[name].causal
    sentence = name.startswith("sentence-")
    plan = served.plan(QUERY, ["waaa", "waab wabc", "waaa", "waaa"])
    assert len(plan.rows) == 2 + sentence  # there, the query is a row
    assert [place - sentence for place in plan.places] == [0, 1, 0, 0]
    assert plan.tokens == sum(map(len, rows_of(plan))) + sentence * len(plan.rows[0].ids)
    assert (len(plan.prefix) > 10) is causal
    assert all(row.ids for row in plan.rows)
    one = served.plan(QUERY, ["waaa"] * 3)
    assert not one.prefix
    assert rows_of(one)[0] == rows_of(plan)[0]
    first, _, third, fourth = served.logits(QUERY, ["waaa", "waab wabc", "waaa", "waaa"])
    assert first == third == fourth
    assert served.logits(QUERY, ["waaa"]) == pytest.approx([first], abs=1e-4)


BODIES = {
    "bert": "BertForMaskedLM",
    "electra": "ElectraModel",
    "roberta": "RobertaForMaskedLM",
    "xlmr": "XLMRobertaModel",
    "modernbert-cls": "ModernBertForMaskedLM",
    "modernbert-mean": "ModernBertModel",
    "qwen3-causal": "Qwen3Model",
    "qwen3-tied": "Qwen3ForCausalLM",  # as Qwen3-Embedding's files say
}
"""Cross-encoders of the zoo whose bodies, under another architecture's name, are sentence encoders too."""


@pytest.mark.parametrize("name", BODIES)
def test_sentence_encoders_of_every_body(name: str, made: Callable[[str], Path], tmp_path: Path) -> None:
    family, source = zoo.FAMILIES[name], made(name)
    directory = Path(shutil.copytree(source, tmp_path / "model"))
    config = json.loads((directory / "config.json").read_text()) | {"architectures": [BODIES[name]]}
    (directory / "config.json").write_text(json.dumps(config))
    listed = [{"type": "x.Transformer", "path": ""}, {"type": "x.Pooling", "path": "1_Pooling"}]
    (directory / "modules.json").write_text(json.dumps(listed))
    mode = "lasttoken" if family.causal else "mean"
    (directory / "1_Pooling").mkdir()
    (directory / "1_Pooling/config.json").write_text(json.dumps({"pooling_mode": mode}))

    def vector(text: str) -> torch.Tensor:
        words = reader(source)
        first, last = ([], []) if family.causal else ([words.id(family.marks[0])], [words.id(family.marks[2])])
        states = family.hidden(source, [*first, *words.user(text), *last])
        return states[-1] if family.causal else states.mean(0)

    passages = [zoo.words(n, 37 * n) for n in (1, 2, 9, 30, 90)]
    want = [torch.cosine_similarity(vector(QUERY), vector(text), dim=0).item() for text in passages]
    served = Engine(directory)
    assert served.scorer.blueprint.family == "sentence-encoder"
    assert served.logits(QUERY, passages) == pytest.approx(want, abs=1e-4)
    served.pool.end()


@pytest.mark.parametrize("name", ["bert", "deberta-v2", "qwen3-causal"])
def test_no_weight_is_a_mapped_file(name: str, made: Callable[[str], Path], tmp_path: Path) -> None:
    """Whoever wrote the file would change scores, and whoever shortened it would end the process."""
    served = Engine(Path(shutil.copytree(made(name), tmp_path / "model")))  # references map the first
    assert str(tmp_path) not in Path("/proc/self/maps").read_text()
    served.pool.end()


def test_what_transformers_would_make_up_is_refused(made: Callable[[str], Path], tmp_path: Path) -> None:
    """Headers name what every DeBERTa needs; the library, which loads it, knows the rest of this one."""
    directory = Path(shutil.copytree(made("deberta-v2"), tmp_path / "model"))
    weights = load_file(directory / "model.safetensors")
    del weights["deberta.encoder.rel_embeddings.weight"]
    save_file(weights, directory / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"deberta\.encoder\.rel_embeddings\.weight") as caught:
        Engine(directory)
    assert caught.value.reason is Reason.TENSOR_MISSING
