"""Qwen3-Reranker in its three forms: the causal model, the converted classifier, and sentence-transformers' modules."""

from __future__ import annotations

from typing import Final

from reranker_runtime.artifacts import files
from reranker_runtime.models import decoder
from reranker_runtime.models.blueprint import (
    SCORE,
    Dense,
    Design,
    Family,
    Head,
    Pooling,
    Shapes,
    TokenLogit,
    Written,
)
from reranker_runtime.models.config import Config
from reranker_runtime.models.source import Source

CAUSAL, CLASSIFIER = "Qwen3ForCausalLM", "Qwen3ForSequenceClassification"
SYSTEM: Final = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
)
PROMPT: Final = Written(
    before=(SYSTEM,),
    query="<Instruct>: {instruction}\n<Query>: {query}\n<Document>:",
    passage=" {passage}",  # the blank belongs to the passage's first word
    after=("<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",),
    instruction="Given a web search query, retrieve relevant passages that answer the query",
)
CAP: Final = 8192
LOGIT_SCORE: Final = "LogitScore"


def read(source: Source) -> Design:
    source.refuse_modules(("Transformer", LOGIT_SCORE))
    body = decoder.body(source.config, causal=True, qk_norm=True)
    if source.architecture == CLASSIFIER:
        source.refuse_labels(f"{SCORE}.weight")
        head = Head((Pooling.LAST,), (Dense(SCORE, bias=False),))
        return source.design(
            body, PROMPT, head, shapes={f"{SCORE}.weight": (1, source.config.integer("hidden_size"))}, cap=CAP
        )
    yes: int
    no: int | None
    read_files: tuple[str, ...] = ()
    if len(source.modules) > 1:
        yes, no, read_files = _logit_score(source)
    else:
        yes, no = source.vocabulary.id("yes"), source.vocabulary.id("no")
    head, shapes = token_logit(source, yes, no)
    return source.design(body, PROMPT, head, shapes=shapes, cap=CAP, read=read_files)


def token_logit(source: Source, yes: int, no: int | None) -> tuple[Head, Shapes]:
    """The head that reads tokens' logits; where lm_head is not in the files, it is tied to the embeddings."""
    tied = source.config.flag("tie_word_embeddings", default="lm_head.weight" not in source.present)
    table = decoder.ANCHOR if tied and "lm_head.weight" not in source.present else "lm_head.weight"
    size = (source.config.integer("vocab_size"), source.config.integer("hidden_size"))
    return Head((Pooling.LAST,), logit=TokenLogit(table, yes, no)), {table: size}


def _logit_score(source: Source) -> tuple[int, int | None, tuple[str, ...]]:
    folder = next(folder for kind, folder in source.modules if kind == LOGIT_SCORE)
    name = f"{folder}/{files.CONFIG}"
    config = Config(source.directory / name, files.read_object(source.directory / name))
    rows = source.config.integer("vocab_size")
    ids = [config.integer("true_token_id", least=0)]
    if config.values.get("false_token_id") is not None:
        ids.append(config.integer("false_token_id", least=0))
    for key, number in zip(("true_token_id", "false_token_id"), ids, strict=False):
        if number >= rows:
            raise config.wrong(key, f"below vocab_size {rows}")
    return ids[0], ids[1] if len(ids) > 1 else None, (files.MODULES, name)


FAMILY: Final = Family(
    name="qwen3-reranker",
    models="Qwen3-Reranker-0.6B, -4B, -8B: causal, converted to a classifier, or as sentence-transformers modules",
    architectures=(CAUSAL, CLASSIFIER),
    packed=True,
    template="system prompt, `<Instruct>: {instruction}\\n<Query>: {query}\\n<Document>: {passage}`, an empty thought",
    head="last token: logit of `yes` less that of `no`; the classifier's `score`; or what `LogitScore` names",
    limit=f"max_position_embeddings, at most {CAP}",
    read=read,
)
