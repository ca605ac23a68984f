"""NVIDIA's decoders made bidirectional: Llama and Mistral bodies, pooled, with a score head without bias."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo import tokenizers
from zoo.common import EAGER, Base, bidirectional, build, quiet, read, reader, torch, transformers, write

SIZES = {
    "hidden_size": 64,
    "intermediate_size": 144,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-05,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": False,
    "attention_dropout": 0.0,
    "use_cache": False,
}
LLAMA = {
    "attention_bias": False,
    "mlp_bias": False,
    "rope_theta": 500000.0,
    "rope_scaling": {
        "factor": 8.0,
        "high_freq_factor": 4.0,
        "low_freq_factor": 1.0,
        "original_max_position_embeddings": 64,  # small, so that the scaling acts on short prompts
        "rope_type": "llama3",
    },
}
MISTRAL = {"rope_theta": 10000.0, "sliding_window": None}


def prompt(query: str, passage: str) -> str:
    return f"question:{query} \n \n passage:{passage}"


def pool(states: torch.Tensor, pooling: str) -> torch.Tensor:
    """One vector in float32 from states [tokens, hidden]."""
    states = states.float()
    return {"avg": states.mean(0), "cls": states[0], "last": states[-1]}[pooling]


@dataclass(frozen=True, eq=False)
class Bidirectional(Base):
    name: str
    body_class: str
    """The first part of the `transformers` classes."""
    architecture: str
    model_type: str
    options: dict[str, Any]
    tokenizer: Callable[[], Any]
    begin: str
    pooling: str | None = "avg"
    """None: config.json does not say, and the default is the mean."""
    temperature: float | None = None
    dtype: torch.dtype = torch.float32
    """Of the published weights."""

    def make(self, directory: Path) -> None:
        tokenizer = self.tokenizer()
        begin = tokenizer.token_to_id(self.begin)
        sizes = SIZES | self.options | {"vocab_size": tokenizer.get_vocab_size(), "bos_token_id": begin}
        with quiet():
            config = getattr(transformers, f"{self.body_class}Config")(
                **deepcopy(sizes), pad_token_id=begin + 1, num_labels=1
            )
            model = build(f"{self.body_class}ForSequenceClassification", config)
            model.to(self.dtype).save_pretrained(directory)
        own = {"architectures": [self.architecture], "model_type": self.model_type}
        own |= {"pad_token_id": begin + 1, "num_labels": 1, "torch_dtype": str(self.dtype).removeprefix("torch.")}
        own |= {"pooling": self.pooling} if self.pooling else {}
        own |= {"temperature": self.temperature} if self.temperature else {}
        write(directory / "config.json", own | sizes)
        marks = {"bos_token": self.begin, "model_max_length": 2048, "padding_side": "left"}
        tokenizers.write(tokenizer, directory, marks)

    def tokens(
        self, directory: Path, query: str, passage: str, limit: int, instruction: str | None = None
    ) -> list[int]:
        text = reader(directory)
        return [text.id(self.begin), *text.user(prompt(query, passage))][:limit]

    def logit(self, model: Any, ids: list[int], dtype: torch.dtype) -> float:
        pooled = pool(self.body(model, ids), self.pooling or "avg")
        return (model.score(pooled) / (self.temperature or 1.0)).item()

    def body(self, model: Any, ids: list[int]) -> torch.Tensor:
        mask = bidirectional(len(ids)).to(model.model.norm.weight.dtype)
        return model.model(input_ids=torch.tensor([ids]), attention_mask=mask, use_cache=False).last_hidden_state[0]

    def open(self, directory: Path) -> Any:
        own = read(directory / "config.json")
        config = getattr(transformers, f"{self.body_class}Config")(
            **{key: value for key, value in own.items() if key not in {"architectures", "model_type", "torch_dtype"}}
        )
        architecture = getattr(transformers, f"{self.body_class}ForSequenceClassification")
        return architecture.from_pretrained(directory, config=config, dtype=torch.float32, **EAGER)


def _llama(name: str, pooling: str | None, **extra: Any) -> Bidirectional:
    names = ("LlamaBidirectionalForSequenceClassification", "llama_bidirec")
    return Bidirectional(name, "Llama", *names, LLAMA, tokenizers.llama3, "<|begin_of_text|>", pooling, **extra)


BIDIRECTIONAL = [
    _llama("llama-bidirec", "avg"),
    _llama("llama-bidirec-cls", "cls", temperature=0.5),
    _llama("llama-bidirec-last", "last", temperature=2.0),
    _llama("llama-bidirec-default", None),
    Bidirectional(
        "mistral",
        "Mistral",
        "MistralBidirectionalForSequenceClassification",
        "mistral_bidirec",
        MISTRAL,
        tokenizers.mistral,
        "<s>",
        dtype=torch.bfloat16,
    ),
]
