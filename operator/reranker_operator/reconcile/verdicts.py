"""Notes on a service's ControllerRevisions what became of their templates: that one was Ready, that one failed.

A later round, perhaps of another operator, goes by these notes when it must choose a template to go back to.
"""

from typing import Any

from reranker_operator.api import ConditionType
from reranker_operator.api.conditions import Status
from reranker_operator.api.rollout import OnFailure
from reranker_operator.kube import Kube
from reranker_operator.reconcile.cache import Cache
from reranker_operator.reconcile.conditions import Facts
from reranker_operator.reconcile.rollout import has_failed, is_proven, marks

MANAGER = "reranker-operator-verdicts"
"""A field manager of its own: what a revision holds cannot change, and is not applied again."""


class Verdicts:
    """Writes the notes."""

    def __init__(self, kube: Kube, cache: Cache) -> None:
        self._kube, self._cache = kube, cache

    async def keep(self, facts: Facts, status: dict[str, Any]) -> None:
        """Note what this round found out."""
        for note in self._due(facts, status):
            self._cache.learn(await self._kube.apply(note, manager=MANAGER))

    def _due(self, facts: Facts, status: dict[str, Any]) -> list[dict[str, Any]]:
        recalled, recorded = facts.recalled, facts.recalled.recorded
        notes = [
            # The spec has moved on, and may come back: then it is another try.
            marks(each, failed=None)
            for each in recalled.revisions
            if has_failed(each) and each is not recorded
        ]
        if recorded is None:
            return notes
        ready = next(each for each in status["conditions"] if each["type"] == ConditionType.READY.value)
        if ready["status"] == Status.TRUE.value and not is_proven(recorded):
            notes.append(marks(recorded, proven="true"))
        rolls_back = facts.service.spec.rollout.on_failure is OnFailure.ROLLBACK and recalled.proven is not None
        if facts.deadline_exceeded is not None and rolls_back and not has_failed(recorded):
            notes.append(marks(recorded, failed="true"))
        return notes
