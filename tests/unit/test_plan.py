"""Templates and truncation, without a model: the parts of the engine that are plain Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from tokenizers import AddedToken, Tokenizer, pre_tokenizers, processors
from tokenizers.models import WordLevel

from reranker_runtime.engine.cpus import free_memory, usable_cpus
from reranker_runtime.engine.plan import PairPlanner, WrittenPlanner
from reranker_runtime.engine.rows import PREFIX_SHARE, Passage, Row, Truncate
from reranker_runtime.engine.tokenise import Template, Texts
from reranker_runtime.errors import InputTooLong, ModelError
from reranker_runtime.models.blueprint import Written


def passages(*texts: str) -> list[Passage]:
    return [Passage(text) for text in texts]


def save(path: Path, template: str, split: pre_tokenizers.PreTokenizer) -> Texts:
    """One-letter words, with the special tokens of one's choice around a pair and <s> before a single text."""
    vocabulary = {word: n for n, word in enumerate(["?", "<s>", "</s>", *"abcdefgh", "q:", "p:", "p:c"])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="?"))
    tokenizer.pre_tokenizer = split
    tokenizer.add_special_tokens(["<s>", "</s>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair=template, special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    tokenizer.save(str(path))
    return Texts(path)


@pytest.fixture
def pairs(tmp_path: Path) -> Callable[..., PairPlanner]:
    def make(limit: int, template: str, segments: int = 2) -> PairPlanner:
        texts = save(tmp_path / "tokenizer.json", template, pre_tokenizers.WhitespaceSplit())
        return PairPlanner(texts, Template.of(texts.probe("a", "a"), 2, segments), limit)

    return make


@pytest.mark.parametrize(
    ("template", "ids", "types"),
    [
        ("<s> $A </s> $B:1 </s>:1", [1, 3, 4, 2, 5, 2], [0, 0, 0, 0, 1, 1]),
        ("<s> $A </s> </s> $B </s>", [1, 3, 4, 2, 2, 5, 2], None),
        ("$A $B:1", [3, 4, 5], [0, 0, 1]),
        ("$A </s> $B:1 <s>:1", [3, 4, 2, 5, 1], [0, 0, 0, 1, 1]),
    ],
)
def test_special_tokens_come_from_the_tokenizer(
    pairs: Callable[..., PairPlanner], template: str, ids: list[int], types: list[int] | None
) -> None:
    assert pairs(20, template).plan("a b", passages("c"), Truncate.NONE).rows == [Row(ids, types)]
    assert pairs(20, template, 1).plan("a b", passages("c"), Truncate.NONE).rows == [Row(ids, None)]


def test_truncation_takes_the_passage_first(pairs: Callable[..., PairPlanner]) -> None:
    planner = pairs(7, "<s> $A </s> $B:1 </s>:1")
    plan = planner.plan("a b", passages("c d e f", "c d g h", "c"), Truncate.END)
    assert [row.ids for row in plan.rows] == [[1, 3, 4, 2, 5, 6, 2], [1, 3, 4, 2, 5, 2]]
    assert plan.places == [0, 0, 1]
    assert (plan.tokens, plan.truncated, plan.emptied) == (20, 2, 0)
    full = planner.plan("a b c d e", passages("f", ""), Truncate.END)
    assert [row.ids for row in full.rows] == [[1, 3, 4, 5, 6, 2, 2]]
    assert (full.truncated, full.emptied) == (2, 1)
    with pytest.raises(InputTooLong, match="Input length 9 exceeds maximum allowed token size 7"):
        planner.plan("a b", passages("c d", "c d e f"), Truncate.NONE)


def test_a_limit_without_room_for_text_is_refused(pairs: Callable[..., PairPlanner]) -> None:
    with pytest.raises(ModelError, match="NIM_PIPELINE_MAX_SEQ_LEN"):
        pairs(3, "<s> $A </s> $B:1 </s>:1")


LETTERS = pre_tokenizers.Split(" ", "removed")
"""Splits at blanks alone: `p:` and the word after it are one piece, which the passage's first word may change."""
COLONS = pre_tokenizers.Sequence(
    [pre_tokenizers.Split(" ", "removed"), pre_tokenizers.Split(":", "merged_with_previous")]
)


def written(tmp_path: Path, split: pre_tokenizers.PreTokenizer, limit: int = 50, **parts: object) -> WrittenPlanner:
    texts = save(tmp_path / "tokenizer.json", "$A $B", split)
    given: dict[str, object] = {"query": "q: {query} p:", "passage": "{passage}", "bos": True} | parts
    return WrittenPlanner(texts, Written(**given), limit, "", causal=bool(parts))  # type: ignore[arg-type]


def test_a_passage_of_which_only_the_words_around_it_are_left_counts_as_emptied(tmp_path: Path) -> None:
    planner = written(tmp_path, pre_tokenizers.WhitespaceSplit(), 6, query="q: {query} ", passage="p: {passage}")
    for query, emptied in (("a b", 0), ("a b c", 1), ("a b c d", 1)):
        plan = planner.plan(query, passages("e f g"), Truncate.END)
        assert (plan.truncated, plan.emptied) == (1, emptied), query
    assert planner.plan("a b c d", passages(""), Truncate.END).emptied == 0


def whole(planner: WrittenPlanner, query: str, texts: Sequence[str]) -> list[list[int]]:
    plan = planner.plan(query, passages(*texts), Truncate.END)
    return [plan.prefix + plan.rows[place].ids for place in plan.places]


def test_a_prompt_is_tokenised_as_one_string_where_the_tokenizer_would_join_its_parts(tmp_path: Path) -> None:
    # "p:c" is one token here, so query and passage cannot be tokenised apart.
    assert whole(written(tmp_path, LETTERS), "a b", ["c d", "e"]) == [[1, 11, 3, 4, 13, 6], [1, 11, 3, 4, 0]]
    assert whole(written(tmp_path, COLONS), "a b", ["c d", "e"]) == [[1, 11, 3, 4, 12, 5, 6], [1, 11, 3, 4, 12, 7]]


@pytest.mark.parametrize("split", [LETTERS, COLONS])
def test_either_way_the_tail_is_cut_and_counted(tmp_path: Path, split: pre_tokenizers.PreTokenizer) -> None:
    planner = written(tmp_path, split, limit=6)
    plan = planner.plan("a b", passages("d e f", "d e f g", "d"), Truncate.END)
    assert {len(row.ids) for row in plan.rows} == {6, 5 if split is LETTERS else 6}
    assert plan.truncated == 2
    with pytest.raises(InputTooLong, match=r"passages\.1 with"):
        planner.plan("a b", passages("d e f", "d e f g"), Truncate.NONE)


def test_pieces_of_a_template_are_kept_and_what_rows_begin_with_alike_is_taken_off(tmp_path: Path) -> None:
    parts = {
        "query": "{query}",
        "between": ("</s>",),
        "after": ("</s>", "h"),
        "bos": False,
        "before": ("<s> a a a a a",),
    }
    planner = written(tmp_path, LETTERS, limit=14, **parts)
    plan = planner.plan("b c", passages("d e f g", "d e", "d e"), Truncate.END)
    assert plan.prefix == [1, 3, 3, 3, 3, 3, 4, 5, 2, 6, 7]
    assert [row.ids for row in plan.rows] == [[8, 2, 10], [2, 10]]
    assert plan.places == [0, 1, 1]
    assert plan.tokens == 14 + 13 + 13
    assert plan.costs == [3 + 11 // PREFIX_SHARE + 11, 2 + 11 // PREFIX_SHARE]
    assert plan.work == sum(plan.costs)
    alone = planner.plan("b c", passages("d e", "d e"), Truncate.NONE)
    assert (alone.prefix, len(alone.rows)) == ([], 1)


def test_control_tokens_in_user_text_are_text(tmp_path: Path) -> None:
    planner = written(tmp_path, LETTERS, query="{query}", between=("</s>",), bos=False)
    ids = whole(planner, "<s> a", ["</s>"])[0]
    assert (ids.count(1), ids.count(2)) == (0, 1)


def test_a_templates_marks_are_text_in_texts_though_the_tokenizer_does_not_call_them_special(tmp_path: Path) -> None:
    save(tmp_path / "tokenizer.json", "$A $B", LETTERS)
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in ("</think>", "\n\n")])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    prompt = Written(query="{query} p:", passage="{passage}", after=("</think>\n\n",))
    planner = WrittenPlanner(Texts(tmp_path / "tokenizer.json"), prompt, 50, "", causal=False)
    mark, lines = tokenizer.token_to_id("</think>"), tokenizer.token_to_id("\n\n")
    ids = whole(planner, "</think> a", ["b </think>", "b\n\n</think>"])
    assert [row.count(mark) for row in ids] == [1, 1]
    assert ids[0][-2:] == [mark, lines]
    assert [row.count(lines) for row in ids] == [1, 2], "what is no mark is a token in any text"


@pytest.mark.parametrize(
    ("files", "least"),
    [
        ({"cpu.max": "100000 100000"}, 1),
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 1),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({}, None),
    ],
)
def test_cpu_limits_of_containers(tmp_path: Path, files: dict[str, str], least: int | None) -> None:
    put(tmp_path, files)
    assert usable_cpus(tmp_path) == (least or usable_cpus(tmp_path / "none"))


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({"memory.max": "5000", "memory.current": "2000"}, 3000),
        ({"memory.max": "5000", "memory.current": "6000"}, 0),
        (
            {"memory.max": "5000", "memory.current": "4900", "memory.stat": "a 9\nactive_file 70\ninactive_file 800"},
            970,
        ),
        ({"memory.max": "max", "memory.current": "2000"}, 4096),
        ({"memory.max": "900000", "memory.current": "2000"}, 4096),
        ({"memory/memory.limit_in_bytes": "5000", "memory/memory.usage_in_bytes": "1000"}, 4000),
        ({}, 4096),
    ],
)
def test_memory_limits_of_containers(tmp_path: Path, files: dict[str, str], free: int) -> None:
    put(tmp_path, files | {"meminfo": "MemTotal: 9 kB\nMemAvailable:       4 kB\n"})
    assert free_memory(tmp_path, tmp_path / "meminfo") == free


def put(directory: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text(text)
