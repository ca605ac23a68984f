"""Families without a packed path, run by `transformers`: rows sorted by length, padded to the longest of a batch."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Final

import torch
from torch import Tensor

from reranker_runtime.engine.rows import Row
from reranker_runtime.errors import ModelError, Reason
from reranker_runtime.models.blueprint import Blueprint
from reranker_runtime.models.geometry import ForeignGeometry
from reranker_runtime.nets.layout import Prefix

PADDED_TOKENS: Final = 4096
"""Tokens of one forward, padding included: a batch of one long row and many short ones is taken apart."""


class Foreign:
    """A sequence classifier of `transformers`, with its own head."""

    def __init__(
        self, blueprint: Blueprint, geometry: ForeignGeometry, device: torch.device, dtype: torch.dtype
    ) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of things inside the library that nobody here can change
            import transformers  # noqa: PLC0415

            transformers.utils.logging.disable_progress_bar()
            model_class = getattr(transformers, blueprint.architecture)
            model, report = model_class.from_pretrained(
                blueprint.directory, dtype=dtype, local_files_only=True, use_safetensors=True, output_loading_info=True
            )
        missing = sorted(report["missing_keys"]) + [str(key) for key in report["mismatched_keys"]]
        if missing:
            raise ModelError(
                Reason.TENSOR_MISSING,
                f"{blueprint.directory} has no tensor {missing[0]} of the right shape ({len(missing)} in all), and "
                "transformers would make numbers up for it; save the whole model with save_pretrained(...)",
            )
        self._model = model.eval().to(device)
        if device.type == "cpu":
            # What the library did not have to convert is the mapped file still: see Weights.get.
            for tensor in (*self._model.parameters(), *self._model.buffers()):
                tensor.data = tensor.data.clone()
        self._device, self._types = device, geometry.types > 1

    @torch.inference_mode()
    def forward(self, rows: Sequence[Row], prefixes: Sequence[Prefix | None]) -> Tensor:  # noqa: ARG002 - for causal models
        """[rows, 1] logits, fp32, on the CPU, in the order given."""
        return torch.cat([self._padded(part) for part in _parts(rows)])

    def _padded(self, rows: Sequence[Row]) -> Tensor:
        longest = max(len(row.ids) for row in rows)
        ids, mask, types = (torch.zeros(len(rows), longest, dtype=torch.int64) for _ in range(3))
        for n, row in enumerate(rows):
            length = len(row.ids)
            ids[n, :length], mask[n, :length] = torch.tensor(row.ids), 1
            if row.types is not None:
                types[n, :length] = torch.tensor(row.types)
        segments = {"token_type_ids": types.to(self._device)} if self._types else {}
        logits = self._model(ids.to(self._device), attention_mask=mask.to(self._device), **segments).logits
        result: Tensor = logits.float().cpu()
        return result


def _parts(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """Rows, longest first, as many at a time as padding to the first's length allows."""
    start = 0
    while start < len(rows):
        count = max(1, PADDED_TOKENS // max(1, len(rows[start].ids)))
        yield rows[start : start + count]
        start += count
