"""Causal rerankers: the last position's logits, after a prompt that ends where the answer would begin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo import tokenizers
from zoo.common import EAGER, Base, build, quiet, read, reader, torch, transformers, write
from zoo.prompts import chat_template, gemma_tokens, mxbai_tokens, qwen3_tokens


@dataclass(frozen=True, eq=False)
class Decoder(Base):
    name: str
    kind: str
    """The first part of the `transformers` classes."""
    tokenizer: Callable[[], Any]
    prompt: Callable[[Any, str, str, int, str | None], list[int]]
    words: tuple[str, str | None]
    """The tokens of which the first's logit counts, less the second's."""
    options: dict[str, Any]
    """Keys of config.json, as published."""
    instructed: bool = True
    head: str = "ForCausalLM"
    dtype: torch.dtype = torch.float32
    """Of the published weights."""
    shard: str = "1GB"
    settings: dict[str, Any] = field(default_factory=dict)
    """Which control tokens tokenizer_config.json names, and config.json by id."""
    sections: bool = True
    causal: bool = True

    def make(self, directory: Path) -> None:
        tokenizer = self.tokenizer()
        ids = {key.replace("token", "token_id"): tokenizer.token_to_id(token) for key, token in self.settings.items()}
        options = self.options | ids | {"vocab_size": tokenizer.get_vocab_size()}
        with quiet():
            config = getattr(transformers, f"{self.kind}Config")(**options, num_labels=1)
            model = build(f"{self.kind}{self.head}", config)
            model.to(self.dtype).save_pretrained(directory, max_shard_size=self.shard)
        (directory / "generation_config.json").unlink(missing_ok=True)
        own = {"architectures": [f"{self.kind}{self.head}"], "model_type": config.model_type}
        own |= {"torch_dtype": str(self.dtype).removeprefix("torch.")}
        own |= {"id2label": {"0": "LABEL_0"}} if self.head != "ForCausalLM" else {}
        write(directory / "config.json", own | options)
        own = {
            "model_max_length": 4096,
            "tokenizer_class": "GemmaTokenizer" if self.kind == "Gemma" else "Qwen2Tokenizer",
        }
        tokenizers.write(tokenizer, directory, own | self.settings, sections=self.sections)

    def tokens(
        self, directory: Path, query: str, passage: str, limit: int, instruction: str | None = None
    ) -> list[int]:
        return self.prompt(reader(directory), query, passage, limit, instruction)

    def logit(self, model: Any, ids: list[int], dtype: torch.dtype) -> float:
        last = self.body(model, ids)[-1].float()
        if self.head != "ForCausalLM":
            return model.score(last).item()
        logits = model.lm_head(last)
        true, false = self.answers(model)
        return (logits[true] - (0.0 if false is None else logits[false])).item()

    def answers(self, model: Any) -> tuple[int, int | None]:
        text = reader(Path(model.config.name_or_path))
        true, false = self.words
        return text.id(true), None if false is None else text.id(false)

    def body(self, model: Any, ids: list[int]) -> torch.Tensor:
        return model.model(input_ids=torch.tensor([ids]), use_cache=False).last_hidden_state[0]

    def open(self, directory: Path) -> Any:
        architecture = getattr(transformers, f"{self.kind}{self.head}")
        return architecture.from_pretrained(directory, dtype=torch.float32, **EAGER)


@dataclass(frozen=True, eq=False)
class Scored(Decoder):
    """As sentence-transformers saves a causal cross-encoder: modules, a chat template, ids in 1_LogitScore."""

    def make(self, directory: Path) -> None:
        super().make(directory)
        text = reader(directory)
        true, false = self.words
        ids = {"true_token_id": text.id(true), "false_token_id": false and text.id(false)}
        write(directory / "1_LogitScore/config.json", ids | {"module_input_name": "causal_logits"})
        logits = {"method": "forward", "method_output_name": "logits"}
        own = {
            "transformer_task": "text-generation",
            "modality_config": {"text": logits, "message": logits | {"format": "flat"}},
            "module_output_name": "causal_logits",
        }
        write(directory / "sentence_bert_config.json", own)
        kinds = {
            "": "base.modules.transformer.Transformer",
            "1_LogitScore": "cross_encoder.modules.logit_score.LogitScore",
        }
        listed = [
            {"idx": n, "name": str(n), "path": path, "type": f"sentence_transformers.{kind}"}
            for n, (path, kind) in enumerate(kinds.items())
        ]
        write(directory / "modules.json", listed)
        own = {
            "__version__": {"pytorch": "2.15.0", "sentence_transformers": "6.2.0", "transformers": "5.23.0"},
            "activation_fn": "torch.nn.modules.linear.Identity",
            "default_prompt_name": None,
            "model_type": "CrossEncoder",
            "prompts": {},
        }
        write(directory / "config_sentence_transformers.json", own)
        (directory / "chat_template.jinja").write_text(chat_template())

    def answers(self, model: Any) -> tuple[int, int | None]:
        ids = read(Path(model.config.name_or_path) / "1_LogitScore/config.json")
        return ids["true_token_id"], ids["false_token_id"]


COMMON = {
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "hidden_act": "silu",
    "max_position_embeddings": 4096,
    "attention_dropout": 0.0,
    "use_cache": True,
}
QWEN3 = COMMON | {
    "intermediate_size": 144,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "attention_bias": False,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000,
    "rope_scaling": None,
    "sliding_window": None,
    "use_sliding_window": False,
    "max_window_layers": 3,
    "tie_word_embeddings": False,
}
TIED = QWEN3 | {"tie_word_embeddings": True}
QWEN2 = COMMON | {
    "intermediate_size": 144,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "sliding_window": 4096,
    "use_sliding_window": False,
    "max_window_layers": 3,
    "tie_word_embeddings": True,
}
GEMMA = COMMON | {
    "intermediate_size": 160,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "hidden_act": "gelu",  # as first published; Gemma's has always been the approximation by tanh
    "hidden_activation": "gelu_pytorch_tanh",
    "attention_bias": False,
    "rms_norm_eps": 1e-06,
    "rope_theta": 10000.0,
}
YES, QWEN_MARKS = ("yes", "no"), {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}


def _qwen3(name: str, options: dict[str, Any], kind: type[Decoder] = Decoder, **extra: Any) -> Decoder:
    words = extra.pop("words", YES)
    return kind(name, "Qwen3", tokenizers.qwen3, qwen3_tokens, words, options, settings=QWEN_MARKS, **extra)


DECODERS = [
    _qwen3("qwen3-causal", QWEN3),
    _qwen3("qwen3-tied", TIED),
    _qwen3("qwen3-classifier", QWEN3, head="ForSequenceClassification"),
    _qwen3("qwen3-sentence", TIED, Scored, sections=False),
    _qwen3("qwen3-sentence-true", QWEN3, Scored, words=("yes", None), sections=False),
    Decoder(
        "mxbai-v2",
        "Qwen2",
        tokenizers.qwen2,
        mxbai_tokens,
        ("1", "0"),
        QWEN2,
        dtype=torch.bfloat16,
        settings=QWEN_MARKS,
    ),
    Decoder(
        "bge-gemma",
        "Gemma",
        tokenizers.gemma,
        gemma_tokens,
        ("Yes", None),
        GEMMA,
        instructed=False,
        shard="400KB",
        settings={"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>"},
    ),
]
