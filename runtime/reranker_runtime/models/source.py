"""A model directory as a family reads it: configuration, tensor headers and tokenizer, with the checks they share."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from reranker_runtime.artifacts import files
from reranker_runtime.artifacts.tensors import DTYPES, Tensor
from reranker_runtime.artifacts.vocabulary import Vocabulary
from reranker_runtime.errors import ModelError, Reason
from reranker_runtime.models.blueprint import Body, Design, Head, Pooling, Prompt, Shapes, Single, Written
from reranker_runtime.models.config import Config

CONTROL: Final = re.compile(r"<\|?/?\w+\|?>")
"""What control tokens look like in the templates of the families here."""
ANYWHERE: Final = ("classifier", "score", "head.", "dense.", "lm_head.")
"""How the names of a head's tensors begin: no prefix stands before them."""


@dataclass(frozen=True)
class Source:
    """Everything about a directory that is known without its weights."""

    directory: Path
    config: Config
    architecture: str
    present: Mapping[str, Tensor]
    modules: tuple[tuple[str, str], ...]
    """(kind, folder) of each module in modules.json; empty where there is none."""

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """tokenizer.json, read once."""
        path = self.directory / files.TOKENIZER
        if not path.exists():
            raise ModelError(
                Reason.TOKENIZER_MISSING,
                f"no {files.TOKENIZER} in {self.directory}; write one with "
                "transformers.AutoTokenizer.from_pretrained(MODEL).save_pretrained(DIRECTORY)",
            )
        return Vocabulary(path)

    def design(
        self,
        body: Body,
        prompt: Prompt,
        head: Head,
        *,
        shapes: Shapes,
        cap: int | None = None,
        limits: Mapping[str, Any] | None = None,
        extra: Mapping[str, tuple[str, str]] | None = None,
        read: tuple[str, ...] = (),
    ) -> Design:
        """A family's design after the checks that all share: tokenizer, tensors and limit.

        `shapes` are the head's tensors, `cap` the family's own bound on tokens, `limits` bounds that a file states,
        `extra` tensors in files of their own.
        """
        first = head.pooling[0] is Pooling.CLS
        if isinstance(prompt, Written):
            first = prompt.bos
            for token in sorted(
                set(CONTROL.findall(" ".join((*prompt.before, *(prompt.between or ()), *prompt.after))))
            ):
                self.vocabulary.check_control(token)
        pair = not isinstance(prompt, Single | Written)
        self.vocabulary.check(body.vocabulary)
        bare = isinstance(prompt, Written) and not prompt.bos
        specials = 0 if bare else self.vocabulary.specials(pair=pair, first=first)
        tensors = find_tensors(body.shapes | shapes, self.present, body, str(self.directory))
        return Design(
            body=body,
            prompt=prompt,
            head=head,
            tensors=tensors | dict(extra or {}),
            limit=self._limit(body.positions, specials, cap, limits or {}),
            files=read,
        )

    def _limit(self, positions: int, specials: int, cap: int | None, limits: Mapping[str, Any]) -> int:
        stated = {
            f"max_position_embeddings in {files.CONFIG}": positions,
            f"model_max_length in {files.TOKENIZER_CONFIG}": files.read_object(
                self.directory / files.TOKENIZER_CONFIG
            ).get("model_max_length"),
            "the family": cap,
            **limits,
        }
        # transformers writes 1e30 where it knows no limit; anything that is no positive number says as little.
        known = {where: n for where, n in stated.items() if isinstance(n, int | float) and n >= 1}
        where = min(known, key=lambda name: known[name])
        limit = int(known[where])
        if limit <= specials:
            raise ModelError(
                Reason.LIMIT_EXCEEDED,
                f"{where} of {self.directory} allows {limit} tokens, and the tokenizer's special tokens alone are "
                f"{specials}: no room is left for text; correct that value",
            )
        return limit

    def refuse_labels(self, name: str) -> None:
        """A classifier of several labels gives no one score."""
        last = self.present.get(name)
        if last is not None and last.shape and last.shape[0] != 1:
            raise ModelError(
                Reason.VARIANT_UNSUPPORTED,
                f"{self.directory} classifies into {last.shape[0]} labels; a reranker gives one score: "
                "use a model trained with num_labels 1",
            )

    def refuse_modules(self, *chains: tuple[str, ...]) -> None:
        """A modules.json that would change the score; one that only names the transformer changes nothing."""
        kinds = tuple(kind for kind, _ in self.modules)
        if kinds and kinds not in (("Transformer",), *chains):
            raise ModelError(
                Reason.VARIANT_UNSUPPORTED,
                f"{self.architecture} in {self.config.path} is a cross-encoder, yet {files.MODULES} adds "
                f"{' -> '.join(kinds[1:])}; remove one of them",
            )


def find_tensors(needed: Shapes, present: Mapping[str, Tensor], body: Body, where: str) -> dict[str, tuple[str, str]]:
    """Where each needed tensor is; a missing one, another shape or another number type is refused by name."""
    prefix = next((p for p in body.prefixes if p + body.anchor in present), body.prefixes[0])
    found: dict[str, tuple[str, str]] = {}
    for name, shape in needed.items():
        stored = name if name in present and not name.startswith(("embeddings.", "encoder.")) else prefix + name
        if stored not in present:  # names of checkpoints converted from TensorFlow
            stored = stored.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        if stored not in present:
            wanted = name if name.startswith(ANYWHERE) else prefix + name
            raise ModelError(
                Reason.TENSOR_MISSING,
                f"{where} has no tensor {wanted} of shape {list(shape)}; "
                "save the whole model, its ranking head included, with save_pretrained(...)",
            )
        check_tensor(present[stored], stored, shape, where)
        found[name] = (present[stored].file, stored)
    return found


def check_tensor(tensor: Tensor, stored: str, shape: tuple[int, ...], where: str) -> None:
    """A tensor of another shape or number type is refused by name."""
    if tensor.shape != shape:
        raise ModelError(
            Reason.TENSOR_MISMATCH,
            f"{where}: {stored} in {tensor.file} has shape {list(tensor.shape)}, config.json implies "
            f"{list(shape)}; weights and config.json are from different models",
        )
    if tensor.dtype not in DTYPES:
        raise ModelError(
            Reason.TENSOR_MISMATCH,
            f"{where}: {stored} in {tensor.file} is stored as {tensor.dtype}; "
            f"supported: {', '.join(DTYPES)}. Use the model's unquantised weights",
        )
