"""Sentence encoders of sentence-transformers: Transformer, Pooling, Dense or not, Normalize or not; cosines.

Query and passage are encoded apart, so `tokens` gives the passage's ids. A query's ids are those of the query given as
passage, with `role="query"`, which matters where the model has prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo import tokenizers
from zoo.common import EAGER, Base, build, quiet, reader, torch, transformers, write

SIZES = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 112,
    "type_vocab_size": 2,
    "pad_token_id": 0,
    "max_position_embeddings": 512,
}
OLD = {
    "cls": "pooling_mode_cls_token",
    "max": "pooling_mode_max_tokens",
    "mean": "pooling_mode_mean_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}
"""Before 5.7 every mode had a flag; several together are concatenated, in this order whatever the file's."""
MODULES = {
    "Transformer": "base.modules.transformer.Transformer",
    "Pooling": "sentence_transformer.modules.pooling.Pooling",
    "Dense": "base.modules.dense.Dense",
    "Normalize": "base.modules.normalize.Normalize",
}
DENSE = 48
"""What the Dense module makes of 64 values."""


@dataclass(frozen=True, eq=False)
class Sentence(Base):
    name: str
    modes: tuple[str, ...]
    old: bool = True
    """Whether the files are as an older library wrote them."""
    dense: bool = False
    normalize: bool = True
    prompts: dict[str, str] = field(default_factory=dict)
    include_prompt: bool = True

    def make(self, directory: Path) -> None:
        tokenizer = tokenizers.wordpiece()
        config = transformers.BertConfig(**SIZES, vocab_size=tokenizer.get_vocab_size())
        with quiet():
            build("BertModel", config).save_pretrained(directory)
        own = {"model_max_length": 512, "do_lower_case": True, "tokenizer_class": "BertTokenizer"}
        tokenizers.write(tokenizer, directory, own | tokenizers.SQUARE)
        write(directory / "sentence_bert_config.json", {"max_seq_length": 128, "do_lower_case": False})
        kinds = [
            "Transformer",
            "Pooling",
            *(["Dense"] if self.dense else []),
            *(["Normalize"] if self.normalize else []),
        ]
        named = [("" if kind == "Transformer" else f"{n}_{kind}", kind) for n, kind in enumerate(kinds)]
        module = {kind: f"models.{kind}" if self.old else path for kind, path in MODULES.items()}
        listed = [
            {"idx": n, "name": str(n), "path": path, "type": f"sentence_transformers.{module[kind]}"}
            for n, (path, kind) in enumerate(named)
        ]
        write(directory / "modules.json", listed)
        own = {"prompts": self.prompts, "default_prompt_name": None, "similarity_fn_name": "cosine"}
        versions = {"sentence_transformers": "2.2.2" if self.old else "6.2.0", "transformers": "4.40.0"}
        write(directory / "config_sentence_transformers.json", {"__version__": versions} | own)
        self._pooling(directory / "1_Pooling")
        if self.dense:
            self._dense(directory / "2_Dense")
        if self.normalize:
            (directory / named[-1][0]).mkdir()

    def _pooling(self, directory: Path) -> None:
        if self.old:
            modes = {flag: mode in self.modes for mode, flag in OLD.items()}
            write(directory / "config.json", {"word_embedding_dimension": 64} | modes)
        else:
            mode = self.modes[0] if len(self.modes) == 1 else list(self.modes)
            own = {"embedding_dimension": 64, "pooling_mode": mode, "include_prompt": self.include_prompt}
            write(directory / "config.json", own)

    def _dense(self, directory: Path) -> None:
        from safetensors.torch import save_file  # noqa: PLC0415 - torch comes first, through `common`

        inputs = 64 * len(self.modes)
        own = {"in_features": inputs, "out_features": DENSE, "bias": True}
        write(directory / "config.json", own | {"activation_function": "torch.nn.modules.activation.Tanh"})
        generator = torch.Generator().manual_seed(11)
        weight = torch.randn(DENSE, inputs, generator=generator) / inputs**0.5
        bias = 0.2 * torch.randn(DENSE, generator=generator)
        save_file({"linear.weight": weight, "linear.bias": bias}, directory / "model.safetensors")

    def tokens(
        self,
        directory: Path,
        query: str,
        passage: str,
        limit: int,
        instruction: str | None = None,
        *,
        role: str = "document",
    ) -> list[int]:
        text = reader(directory)
        kept = text.user(self.prompts.get(role, "") + passage)[: limit - 2]
        return [text.id("[CLS]"), *kept, text.id("[SEP]")]

    def scores(
        self,
        directory: Path,
        query: str,
        passages: Sequence[str],
        *,
        limit: int,
        instruction: str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> list[float]:
        asked = self.vector(directory, query, limit, role="query", dtype=dtype)
        vectors = [self.vector(directory, p, limit, dtype=dtype) for p in passages]
        return [torch.cosine_similarity(asked, vector, dim=0).item() for vector in vectors]

    def vector(
        self,
        directory: Path,
        text: str,
        limit: int,
        *,
        role: str = "document",
        dtype: torch.dtype = torch.float32,
    ) -> torch.Tensor:
        """The embedding of one text in float32, before any normalisation."""
        ids = self.tokens(directory, "", text, limit, role=role)
        with torch.inference_mode():
            states = self.body(self.loaded(directory, dtype), ids).float()
        weights = torch.arange(1.0, len(ids) + 1)
        if not self.include_prompt and self.prompts.get(role):
            skipped = 1 + len(reader(directory).user(self.prompts[role]))  # [CLS] counts as part of the prompt
            states, weights = states[skipped:], weights[skipped:]
        found = {
            "cls": lambda: states[0],
            "max": lambda: states.max(0).values,
            "mean": lambda: states.mean(0),
            "mean_sqrt_len_tokens": lambda: states.sum(0) / len(states) ** 0.5,
            "weightedmean": lambda: (states * weights[:, None]).sum(0) / weights.sum(),
            "lasttoken": lambda: states[-1],
        }
        vector = torch.cat([found[mode]() for mode in self.modes])
        if self.dense:
            from safetensors.torch import load_file  # noqa: PLC0415

            saved = load_file(directory / "2_Dense/model.safetensors")
            vector = torch.tanh(saved["linear.weight"] @ vector + saved["linear.bias"])
        return vector

    def body(self, model: Any, ids: list[int]) -> torch.Tensor:
        return model(input_ids=torch.tensor([ids]), token_type_ids=torch.zeros(1, len(ids), dtype=torch.long))[0][0]

    def open(self, directory: Path) -> Any:
        return transformers.AutoModel.from_pretrained(directory, dtype=torch.float32, **EAGER)


SENTENCES = [
    Sentence("sentence-cls", ("cls",)),
    Sentence("sentence-mean", ("mean",), normalize=False),
    Sentence("sentence-max", ("max",)),
    Sentence("sentence-mean-sqrt", ("mean_sqrt_len_tokens",)),
    Sentence("sentence-weightedmean", ("weightedmean",)),
    Sentence("sentence-lasttoken", ("lasttoken",), old=False),
    Sentence("sentence-cls-mean", ("cls", "mean")),
    Sentence("sentence-mean-cls", ("mean", "cls"), old=False),
    Sentence("sentence-dense", ("mean",), dense=True),
    Sentence(
        "sentence-prompted",
        ("weightedmean",),
        old=False,
        prompts={"query": "wjjj wjji: ", "document": "wjjh: "},
        include_prompt=False,
    ),
    Sentence("sentence-cls-behind", ("cls",), old=False, prompts={"query": "wjjj wjji: "}, include_prompt=False),
]
