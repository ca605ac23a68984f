"""Notes on a service's Deployment what became of its templates: which were Ready, which failed.

A later round, perhaps of another operator, goes by these notes when it must choose a template to go back to.
(ControllerRevisions, where the templates are, take no notes: the server compares their data byte by byte, and any patch
spells it anew.)
"""

from typing import Any

from reranker_operator.api import ConditionType
from reranker_operator.api.conditions import Status
from reranker_operator.api.rollout import OnFailure
from reranker_operator.desired.metadata import FAILED, FAILED_WITH, PROVEN, annotation
from reranker_operator.kube import Kube
from reranker_operator.reconcile.cache import Cache
from reranker_operator.reconcile.circumstances import note, noted
from reranker_operator.reconcile.conditions import Facts
from reranker_operator.reconcile.rollout import KEPT_REVISIONS, ready_templates

MANAGER = "reranker-operator-verdicts"
"""A field manager of its own: what it notes is not part of what should be, and is never put back."""


class Verdicts:
    """Writes the notes."""

    def __init__(self, kube: Kube, cache: Cache) -> None:
        self._kube, self._cache = kube, cache

    async def keep(self, facts: Facts, status: dict[str, Any]) -> bool:
        """Note what this round found out; returns whether that is new."""
        deployment = facts.deployment
        if deployment is None:
            return False
        ready = _ready_templates(facts, status, ready_templates(deployment))
        notes = {PROVEN: " ".join(ready) or None, **_failure(facts, deployment)}
        if notes == {name: annotation(deployment, name) for name in notes}:
            return False
        metadata = {key: deployment["metadata"][key] for key in ("name", "namespace", "uid")}
        annotations = {name: note for name, note in notes.items() if note}
        document = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {**metadata, "annotations": annotations}}
        noted = await self._kube.apply(document, manager=MANAGER)
        self._cache.learn(noted)
        # What somebody else wrote, too, stays: that is nothing new, however often it is told.
        return bool(noted["metadata"]["resourceVersion"] != deployment["metadata"]["resourceVersion"])


def _ready_templates(facts: Facts, status: dict[str, Any], before: list[str]) -> list[str]:
    ready = next(each for each in status["conditions"] if each["type"] == ConditionType.READY.value)
    if ready["status"] != Status.TRUE.value:
        return before
    latest = facts.wanted.template_hash
    return [latest, *(each for each in before if each != latest)][:KEPT_REVISIONS]


def _failure(facts: Facts, deployment: dict[str, Any]) -> dict[str, str | None]:
    """Which spec failed, and with what it referred to."""
    recalled = facts.recalled
    rolls_back = facts.service.spec.rollout.on_failure is OnFailure.ROLLBACK
    if rolls_back and recalled.proven is not None and facts.deadline_exceeded is not None:
        return {FAILED: recalled.made_of, FAILED_WITH: note({}, recalled.circumstances)}
    if rolls_back and recalled.failed:
        return {FAILED: recalled.made_of, FAILED_WITH: note(noted(deployment), recalled.circumstances)}
    # The spec, or what it refers to, has moved on, and may come back: then it is another try. So it is where the spec
    # asked to hold it meanwhile: it may have become Ready.
    return {FAILED: None, FAILED_WITH: None}
