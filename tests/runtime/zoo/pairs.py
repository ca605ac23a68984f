"""Cross-encoders over a text pair: control tokens around query and passage, a classification head."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo import tokenizers
from zoo.common import EAGER, Base, build, quiet, read, reader, torch, transformers, write

SIZES = {
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 112,
    "num_labels": 1,
}
BERT = {"type_vocab_size": 2, "pad_token_id": 0, "max_position_embeddings": 512}
ROBERTA = {"type_vocab_size": 1, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
DEBERTA = {
    "relative_attention": True,
    "position_buckets": 16,
    "max_relative_positions": -1,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
    "max_position_embeddings": 512,
    "type_vocab_size": 0,
    "pooler_hidden_size": 64,
    "pooler_dropout": 0,
    "pooler_hidden_act": "gelu",
}
MODERNBERT = {
    "num_hidden_layers": 5,  # two global layers and three local ones
    "global_attn_every_n_layers": 3,
    "local_attention": 8,
    "max_position_embeddings": 1024,
}


@dataclass(frozen=True, eq=False)
class Pair(Base):
    name: str
    kind: str
    """The first part of the `transformers` classes."""
    tokenizer: Callable[[], Any]
    marks: tuple[str, list[str], str]
    """What stands before the query, between the two, and after the passage."""
    options: dict[str, Any]
    types: bool = False
    """Whether passage tokens are of type 1."""
    roles: dict[str, str] = field(default_factory=dict)
    """Control tokens that config.json names by id."""
    published: dict[str, Any] = field(default_factory=dict)
    """Changes to config.json, as an older library would have written it; None removes a key."""

    def make(self, directory: Path) -> None:
        tokenizer = self.tokenizer()
        ids = {f"{role}_token_id": tokenizer.token_to_id(token) for role, token in self.roles.items()}
        sizes = SIZES | {"vocab_size": tokenizer.get_vocab_size()} | ids | self.options
        config = getattr(transformers, f"{self.kind}Config")(**sizes)
        with quiet():
            build(f"{self.kind}ForSequenceClassification", config).save_pretrained(directory)
        written = read(directory / "config.json") | self.published
        write(directory / "config.json", {key: value for key, value in written.items() if value is not None})
        marks = tokenizers.ANGLE if self.marks == ANGLE else tokenizers.SQUARE
        kind = {"tokenizer_class": f"{self.kind}Tokenizer"} if self.kind in {"Bert", "Electra"} else {}
        tokenizers.write(tokenizer, directory, {"model_max_length": 512} | marks | kind)

    def tokens(
        self, directory: Path, query: str, passage: str, limit: int, instruction: str | None = None
    ) -> list[int]:
        text = reader(directory)
        first, between, last = [text.id(self.marks[0])], [text.id(m) for m in self.marks[1]], [text.id(self.marks[2])]
        room = limit - len(first) - len(between) - len(last)
        asked = text.user(query)[:room]
        return [*first, *asked, *between, *text.user(passage)[: room - len(asked)], *last]

    def logit(self, model: Any, ids: list[int], dtype: torch.dtype) -> float:
        return model(**self._inputs(model, ids)).logits[0, 0].item()

    def body(self, model: Any, ids: list[int]) -> torch.Tensor:
        return model.base_model(**self._inputs(model, ids)).last_hidden_state[0]

    def open(self, directory: Path) -> Any:
        return transformers.AutoModelForSequenceClassification.from_pretrained(directory, **EAGER)

    def _inputs(self, model: Any, ids: list[int]) -> dict[str, torch.Tensor]:
        inputs = {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.long)}
        if self.types:
            separator = ids[-1]
            passage = ids.index(separator) + 1
            inputs["token_type_ids"] = torch.tensor([[0] * passage + [1] * (len(ids) - passage)])
        return inputs


SQUARE = ("[CLS]", ["[SEP]"], "[SEP]")
ANGLE = ("<s>", ["</s>", "</s>"], "</s>")
GLOBAL_BASE, LOCAL_BASE = 160000.0, 10000.0
ROPE_BEFORE_5 = {
    "rope_parameters": None,
    "layer_types": None,
    "global_rope_theta": GLOBAL_BASE,
    "local_rope_theta": LOCAL_BASE,
    "global_attn_every_n_layers": 3,
}


def _modernbert(pooling: str, published: dict[str, Any]) -> Pair:
    options = MODERNBERT | {"classifier_pooling": pooling}
    roles = {"pad": "[PAD]", "eos": "[SEP]", "bos": "[CLS]", "cls": "[CLS]", "sep": "[SEP]"}
    name = f"modernbert-{pooling}"
    return Pair(name, "ModernBert", tokenizers.modernbert, SQUARE, options, published=published, roles=roles)


PAIRS = [
    Pair("bert", "Bert", tokenizers.wordpiece, SQUARE, BERT, types=True),
    Pair("electra", "Electra", tokenizers.wordpiece, SQUARE, BERT | {"embedding_size": 48}, types=True),
    Pair("roberta", "Roberta", tokenizers.roberta, ANGLE, ROBERTA | {"max_position_embeddings": 302}),
    Pair("xlmr", "XLMRoberta", tokenizers.xlmr, ANGLE, ROBERTA | {"max_position_embeddings": 514}),
    _modernbert("cls", ROPE_BEFORE_5),
    _modernbert("mean", {}),
    Pair("deberta-v2", "DebertaV2", tokenizers.deberta, SQUARE, DEBERTA, types=True),
]
