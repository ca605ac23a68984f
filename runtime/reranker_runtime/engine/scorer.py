"""A loaded model behind four plain steps: plan, batches, forward, finish. The queue drives them; `rank`does all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from reranker_runtime.artifacts.files import TOKENIZER
from reranker_runtime.engine.batching import batches
from reranker_runtime.engine.hardware import choose
from reranker_runtime.engine.tokenise import Plan, Truncate, planner_for
from reranker_runtime.errors import ScoringFailed
from reranker_runtime.models.blueprint import Blueprint, Family
from reranker_runtime.models.encoder import Encoder
from reranker_runtime.settings import Settings


@dataclass(frozen=True)
class Scores:
    """One logit per passage, in the order given, and what it took."""

    logits: list[float]
    plan: Plan


class Scorer:
    """One model on one device. `plan` may run in any thread, `forward` in one at a time."""

    def __init__(self, blueprint: Blueprint, settings: Settings) -> None:
        hardware = choose(settings.device, settings.precision, settings.batch_tokens)
        limit = blueprint.effective_limit(settings.max_tokens)
        self.blueprint = blueprint
        self.device, self.dtype = hardware.name, str(hardware.dtype).removeprefix("torch.")
        self.batch_tokens, self.max_rows = hardware.batch_tokens, settings.max_rows
        self._planner = planner_for(blueprint, blueprint.directory / TOKENIZER, limit)
        self._encoder = Encoder(blueprint, hardware.device, hardware.dtype)

    @property
    def limit(self) -> int:
        return self._planner.limit

    def plan(self, query: str, passages: Sequence[str], truncate: Truncate) -> Plan:
        return self._planner.plan(query, passages, truncate)

    def batches(self, plan: Plan) -> list[list[int]]:
        return list(batches([len(row.ids) for row in plan.rows], self.batch_tokens, self.max_rows))

    def forward(self, plan: Plan, batch: Sequence[int]) -> dict[int, Tensor]:
        """Row number -> its logit or vector."""
        return dict(zip(batch, self._encoder.forward([plan.rows[n] for n in batch]), strict=True))

    def finish(self, plan: Plan, outputs: Mapping[int, Tensor]) -> Scores:
        """Logits in the order of the passages; a score that is no number is an error, never a rank."""
        rows = torch.stack([outputs[n] for n in range(len(plan.rows))])
        if self.blueprint.family is Family.SENTENCE_ENCODER:
            logits = functional.cosine_similarity(rows[:1], rows, dim=1)
        else:
            logits = rows[:, 0]
        if not bool(torch.isfinite(logits).all()):
            raise ScoringFailed(
                f"the model computes no finite score for this request in {self.dtype}; "
                "set NIM_PRECISION=fp32, or check the weights"
            )
        values: list[float] = logits.tolist()
        return Scores([values[place] for place in plan.places], plan)

    def rank(self, query: str, passages: Sequence[str], truncate: Truncate = Truncate.NONE) -> Scores:
        """All steps in this thread: the command line and the warm-up."""
        plan = self.plan(query, passages, truncate)
        outputs: dict[int, Tensor] = {}
        for batch in self.batches(plan):
            outputs |= self.forward(plan, batch)
        return self.finish(plan, outputs)

    def warm_up(self) -> None:
        """One ranking that touches every layer, at a short and at the greatest length."""
        self.rank("warm up", ["a passage", "a passage " * self.limit], Truncate.END)
