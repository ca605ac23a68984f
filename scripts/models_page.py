"""Print docs/models.md from the registry that the runtime itself goes by, so that the page cannot promise another.

python scripts/models_page.py >docs/models.md
"""

from __future__ import annotations

from reranker_runtime.artifacts.tensors import DTYPES
from reranker_runtime.models.blueprint import Family
from reranker_runtime.models.qwen3 import PROMPT
from reranker_runtime.models.registry import FAMILIES

HEAD = """\
# Models

<!-- Made by scripts/models_page.py from the runtime's registry: edit the Family objects, then `make generate`. -->

A model is a directory as Hugging Face has them. `architectures` in its `config.json` decides how it is served; a name
that is not in this table is refused, never guessed at, for a wrong guess ranks, and ranks wrongly.
"""
BODY = f"""\
Packed families lay the passages of all waiting requests end to end, without padding. The others run in `transformers`,
padded to the longest passage of a batch: the same scores, more slowly.

A limit is in tokens, special and template tokens included; `model_max_length` in `tokenizer_config.json` and
`NIM_PIPELINE_MAX_SEQ_LEN` may lower it. Logits are raw: order and distance count, not zero.

## What a directory holds

- `config.json`, with one name in `architectures`.
- `tokenizer.json`. Where a publisher ships another form only, `transformers.AutoTokenizer.from_pretrained(MODEL)` and
  `.save_pretrained(DIRECTORY)` write it. `tokenizer_config.json` is read for `model_max_length`.
- `model.safetensors`, or several files and `model.safetensors.index.json`: {", ".join(DTYPES.values())}.
- sentence-transformers: `modules.json` and every folder that it names, `config_sentence_transformers.json` for prompts,
  `sentence_bert_config.json` for `max_seq_length`.
- vision-language: `processor_config.json`, where there is one; it goes before `config.json`.

## What was recognised

```console
$ reranker-runtime verify --quick /models/my-reranker
{{"ok": true, "architecture": "XLMRobertaForSequenceClassification", "family": "roberta", ...}}
$ reranker-runtime verify --quick /models/half-copied
{{"ok": false, "reason": "TensorMissing", "message": "/models/half-copied has no tensor classifier.dense.weight ..."}}
```

`family` is the first column above; `maxTokens` is the limit. With `--quick`, headers and configuration are read, no
torch is imported, and the answer takes a fraction of a second; without, the files are digested too. The
[reasons](pod-contract.md) are stable.

Refused, by file and by name:

- pickles (`.bin`, `.pt`, `.pth`, `.ckpt`, `.pkl`), anywhere below the directory; code in it is never run;
- a missing tensor, one of another shape than `config.json` implies, quantised weights, a file cut short;
- a setting that would change scores silently: rotary positions other than default, linear or llama3, biases that the
  family has not, unknown activations, poolings and modules;
- a classifier of several labels: a reranker gives one score;
- a tokenizer with more tokens than the model, or without those that the score is read off ("yes" and "no").

## Language models under a reranker's name

Some rerankers are language models asked for one word, and their `config.json` says no more than that:
`Qwen3ForCausalLM` is taken for Qwen3-Reranker, `Qwen2ForCausalLM` for mxbai-rerank-v2, `GemmaForCausalLM` for
bge-reranker-v2-gemma. A plain language model of these architectures is served too, and ranks badly. Try a query whose
answer you know: `reranker-runtime rank --model DIRECTORY --query QUERY PASSAGE PASSAGE`.

## Instructions

Qwen3-Reranker and mxbai-rerank-v2 can be told what ranking is for: `RERANKER_INSTRUCTION`, one for the whole server.
Without it, mxbai-rerank-v2 gets none, and Qwen3-Reranker its publisher's own:
`{PROMPT.instruction}`. Other families ignore it.
"""


def table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def kinds(families: tuple[Family, ...]) -> str:
    heads = ["family", "models", "architectures", "limit", "packed"]
    return table(
        heads,
        [
            [f.name, f.models, ", ".join(f"`{name}`" for name in f.architectures), f.limit, "yes" if f.packed else "no"]
            for f in families
        ],
    )


def scores(families: tuple[Family, ...]) -> str:
    return table(["family", "what it reads", "its score"], [[f.name, f.template, f.head] for f in families])


if __name__ == "__main__":
    print(HEAD, kinds(FAMILIES), scores(FAMILIES), BODY, sep="\n", end="")
