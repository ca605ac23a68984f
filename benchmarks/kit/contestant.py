"""One way to score passages, in a process of its own: `contestant.py KIND MODEL [KEY=VALUE ...]`.

A process each, because thread pools and settings of one library must not slow another. It answers every line of JSON
(query and passages) with a line of JSON (seconds, by its own clock, and scores). Stands alone: peers with an
environment of their own run it too.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

Answer = dict[str, Any]
Rank = Callable[[str, list[str]], Answer]
Options = Mapping[str, str]


def engine(model: str, options: Options) -> Rank:
    """This project's; options are its environment variables, and `prefix=off` computes every prompt whole."""
    from reranker_runtime.engine import plan  # noqa: PLC0415
    from reranker_runtime.engine.pool import Pool  # noqa: PLC0415
    from reranker_runtime.engine.rows import Truncate  # noqa: PLC0415
    from reranker_runtime.engine.scorer import Scorer  # noqa: PLC0415
    from reranker_runtime.models.registry import describe  # noqa: PLC0415
    from reranker_runtime.settings import read_settings  # noqa: PLC0415

    variables = dict(options)
    if variables.pop("prefix", "on") == "off":
        vars(plan)["SHARED_LEAST"] = sys.maxsize  # it is declared final
    settings = read_settings({"RERANKER_DEVICE": "cpu"} | variables, model_path=model)
    pool = Pool(Scorer(describe(settings.require_model()), settings))
    pool.warm_up()  # as the server does

    def rank(query: str, passages: list[str]) -> Answer:
        scores = pool.rank(query, passages, Truncate.END)
        rows = scores.plan.rows
        computed = sum(len(row.ids) for row in rows) + len(scores.plan.prefix)
        return {"scores": scores.logits, "tokens": scores.plan.tokens, "computed": computed, "rows": len(rows)}

    return rank


def crowd(model: str, options: Options) -> Rank:
    """The engine with as many threads as `clients`, each with one request in flight; `requests` of them a run."""
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

    variables = dict(options)
    threads, requests = int(variables.pop("clients")), int(variables.pop("requests"))
    one = engine(model, variables)
    workers = ThreadPoolExecutor(threads)

    def rank(query: str, passages: list[str]) -> Answer:
        *_, last = workers.map(lambda _: one(query, passages), range(requests))
        return last

    return rank


def sentence_transformers(model: str, options: Options) -> Rank:
    """`CrossEncoder.predict` as its documentation shows it; raw logits, so that scores can be compared."""
    import torch  # noqa: PLC0415
    from sentence_transformers import CrossEncoder  # noqa: PLC0415

    dtype = getattr(torch, options["dtype"])
    encoder = CrossEncoder(model, device="cpu", max_length=512, model_kwargs={"dtype": dtype})

    def rank(query: str, passages: list[str]) -> Answer:
        pairs = [(query, passage) for passage in passages]
        with torch.inference_mode():
            scores = encoder.predict(
                pairs, show_progress_bar=False, activation_fn=torch.nn.Identity(), convert_to_tensor=True
            )
        return {"scores": scores.float().tolist()}

    return rank


def transformers(model: str, options: Options) -> Rank:
    """What model cards show: batches of 32 in the order given, padded to their longest."""
    import torch  # noqa: PLC0415
    from transformers import AutoModelForSequenceClassification, AutoTokenizer  # noqa: PLC0415

    tokenizer = AutoTokenizer.from_pretrained(model)
    network = AutoModelForSequenceClassification.from_pretrained(model, dtype=getattr(torch, options["dtype"])).eval()

    @torch.inference_mode()
    def rank(query: str, passages: list[str]) -> Answer:
        scores: list[float] = []
        for begin in range(0, len(passages), 32):
            part = passages[begin : begin + 32]
            inputs = tokenizer([query] * len(part), part, padding=True, truncation=True, return_tensors="pt")
            scores += network(**inputs).logits[:, 0].float().tolist()
        return {"scores": scores}

    return rank


def llama(model: str, options: Options) -> Rank:
    """A bidirectional Llama in `transformers`, treated well: sorted by length, small batches, padded, SDPA."""
    from pathlib import Path  # noqa: PLC0415

    import torch  # noqa: PLC0415
    from transformers import LlamaConfig, LlamaForSequenceClassification, PreTrainedTokenizerFast  # noqa: PLC0415

    batch, dtype = int(options["batch"]), getattr(torch, options["dtype"])
    values = json.loads((Path(model) / "config.json").read_text())
    own = {"architectures", "model_type", "pooling", "temperature", "torch_dtype"}
    config = LlamaConfig(**{key: value for key, value in values.items() if key not in own})
    network = LlamaForSequenceClassification.from_pretrained(model, config=config, dtype=dtype).eval()
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(Path(model) / "tokenizer.json"))

    @torch.inference_mode()
    def rank(query: str, passages: list[str]) -> Answer:
        ids = tokenizer([f"question:{query} \n \n passage:{passage}" for passage in passages])["input_ids"]
        order = sorted(range(len(ids)), key=lambda n: -len(ids[n]))
        scores = [0.0] * len(ids)
        for begin in range(0, len(order), batch):
            part = order[begin : begin + batch]
            width = len(ids[part[0]])
            inputs = torch.tensor([ids[n] + [0] * (width - len(ids[n])) for n in part])
            real = torch.arange(width)[None] < torch.tensor([len(ids[n]) for n in part])[:, None]
            mask = torch.zeros(len(part), 1, width, width, dtype=dtype)
            mask.masked_fill_(~real[:, None, None], torch.finfo(dtype).min)
            hidden = network.model(input_ids=inputs, attention_mask=mask, use_cache=False).last_hidden_state.float()
            pooled = (hidden * real[..., None]).sum(1) / real.sum(1, keepdim=True)
            logits = pooled @ network.score.weight.float().T
            for n, logit in zip(part, logits[:, 0].tolist(), strict=True):
                scores[n] = logit
        return {"scores": scores}

    return rank


def infinity(model: str, options: Options) -> Rank:
    """infinity-emb's engine without its HTTP server, at its defaults for a CPU."""
    import asyncio  # noqa: PLC0415

    from infinity_emb import AsyncEmbeddingEngine, EngineArgs  # noqa: PLC0415

    arguments = EngineArgs(
        model_name_or_path=model, engine="torch", device="cpu", dtype=options["dtype"],
        bettertransformer=False, model_warmup=False,  # the former is gone from transformers; the latter takes minutes
    )  # fmt: skip
    runner = asyncio.Runner()
    server = AsyncEmbeddingEngine.from_args(arguments)
    runner.run(server.astart())

    def rank(query: str, passages: list[str]) -> Answer:
        ranked, _ = runner.run(server.rerank(query=query, docs=passages, raw_scores=True))
        scores = [0.0] * len(passages)
        for each in ranked:
            scores[each.index] = float(each.relevance_score)
        return {"scores": scores}

    return rank


KINDS: dict[str, Callable[[str, Options], Rank]] = {
    "engine": engine,
    "crowd": crowd,
    "sentence-transformers": sentence_transformers,
    "transformers": transformers,
    "llama": llama,
    "infinity": infinity,
}


def main() -> None:
    warnings.simplefilter("ignore")
    # What libraries print must not come between the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    kind, model, *given = sys.argv[1:]
    rank = KINDS[kind](model, dict(each.split("=", 1) for each in given))
    print("{}", file=answers)
    for line in sys.stdin:
        asked = json.loads(line)
        begin = time.perf_counter()
        answer = rank(asked["query"], asked["passages"])
        seconds = time.perf_counter() - begin
        print(json.dumps({"seconds": seconds} | answer), file=answers)
    answers.flush()
    os._exit(0)  # engines keep threads


if __name__ == "__main__":
    main()
