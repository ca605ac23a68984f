"""A loaded model: plan a request's rows, score batches of rows of any requests, finish a request's scores."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from reranker_runtime.engine.chunk import plan_chunks
from reranker_runtime.engine.hardware import choose, fit
from reranker_runtime.engine.plan import check_text, planner_for
from reranker_runtime.engine.rows import Ask, Plan, Row, Scores
from reranker_runtime.errors import ScoringFailed
from reranker_runtime.images.limits import Limits
from reranker_runtime.models.blueprint import Blueprint
from reranker_runtime.nets.layout import Prefix
from reranker_runtime.nets.load import load
from reranker_runtime.nets.net import PrefixNet
from reranker_runtime.settings import Settings


class Scorer:
    """One model on its devices. `plan` and `finish` run in any thread, `forward` in as many as there are workers."""

    def __init__(self, blueprint: Blueprint, settings: Settings) -> None:
        hardware = choose(settings)
        self.limit = blueprint.effective_limit(settings.max_tokens)
        self.blueprint = blueprint
        images = Limits(settings.max_image_bytes, settings.max_image_pixels)
        self._planner = planner_for(blueprint, self.limit, settings.instruction, images)
        # A query that nearly fills the limit would cut a long document into a chunk for each of its tokens.
        self._most_rows = settings.max_queue_tokens // self.limit
        self._nets = [load(blueprint, self.limit, device, hardware.dtype) for device in hardware.devices]
        self.hardware = fit(hardware, blueprint, self.limit)
        self.device, self.dtype = hardware.name, str(hardware.dtype).removeprefix("torch.")

    @property
    def torch(self) -> str:
        """The version that computes."""
        return str(torch.__version__)

    @property
    def memory(self) -> dict[str, tuple[Callable[[], float], int]]:
        """Of each GPU: what asks for the bytes in use on it, whoever uses them, and its size. A CPU has no entry."""
        gpus = [device for device in self.hardware.devices if device.type == "cuda"]
        return {str(device): (partial(_used, device), torch.cuda.mem_get_info(device)[1]) for device in gpus}

    def plan(self, ask: Ask) -> Plan:
        """A request's rows; raises `InvalidRequest` where a passage cannot be one."""
        if not self.blueprint.sees_images:
            check_text(ask.passages)
        if ask.chunking is not None:
            return plan_chunks(ask, ask.chunking, self._planner, max(self._most_rows, len(ask.passages)))
        return self._planner.plan(ask.query, ask.passages, ask.truncate, ask.instruction)

    def prefix(self, ids: Sequence[int], worker: int = 0) -> Prefix:
        """What rows that begin with these tokens share."""
        net: PrefixNet = self._nets[worker % len(self._nets)]  # type: ignore[assignment]  # plans of others have none
        return net.prefix(ids)

    def forward(self, rows: Sequence[Row], prefixes: Sequence[Prefix | None], worker: int = 0) -> Tensor:
        """[rows, n] logits or vectors, fp32, on the CPU, in the order given, which may be any."""
        number = worker % len(self._nets)
        near = {id(prefix): prefix.on(self.hardware.devices[number]) for prefix in prefixes if prefix is not None}
        # By prefix and then by length: rows that attend alike lie side by side.
        order = sorted(range(len(rows)), key=lambda n: (id(prefixes[n]), -len(rows[n].ids)))
        outputs = self._nets[number].forward([rows[n] for n in order], [near.get(id(prefixes[n])) for n in order])
        return torch.empty_like(outputs).index_copy_(0, torch.tensor(order), outputs)

    def finish(self, plan: Plan, outputs: Mapping[int, Tensor]) -> Scores:
        """Logits in the order of the passages; a score that is no number is an error, never a rank."""
        rows = torch.stack([outputs[n] for n in range(len(plan.rows))])
        if self.blueprint.design.head.cosine:
            logits = functional.cosine_similarity(rows[:1], rows, dim=1)
        else:
            logits = rows[:, 0]
        values: list[float] = logits.tolist()
        if not bool(torch.isfinite(logits).all()):
            finite = torch.isfinite(logits).tolist()
            owners = plan.owners or range(len(plan.places))
            failed = sorted({owners[n] for n, row in enumerate(plan.places) if not finite[row]})
            raise ScoringFailed(
                f"no finite score in {self.dtype} ({len(failed)} of {plan.passages} passages): "
                "set NIM_PRECISION=fp32, or check the weights",
                at=("passages", failed[0]),
            )
        scores = [values[place] for place in plan.places]
        if plan.owners is not None:
            best = [-math.inf] * plan.passages
            for owner, score in zip(plan.owners, scores, strict=True):
                best[owner] = max(best[owner], score)
            scores = best
        return Scores(scores, plan)


def _used(device: torch.device) -> float:
    free, total = torch.cuda.mem_get_info(device)
    return total - free
