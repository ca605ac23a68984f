"""Observe: put together everything that decides about one service, from what the watches told.

An object that is not here may be there all the same, as somebody else's: a watch of our own shows none of those.
Whoever applies finds out (`apply.py`).
"""

import datetime
from dataclasses import dataclass, field
from typing import Any

from reranker_operator.api import RerankerService
from reranker_operator.desired import Desired, Optional
from reranker_operator.desired.claim import mounted_claim
from reranker_operator.desired.metadata import RANKING
from reranker_operator.kube import Kind, Kube
from reranker_operator.kube.store import Key
from reranker_operator.reconcile.cache import Cache
from reranker_operator.reconcile.references import Missing, References

SILENT_SECONDS = 5.0
"""A Job without pods for this long is asked about: only events tell why the server refuses them."""


@dataclass(frozen=True)
class Observed:
    """What exists for one service. `pods` and `job_pods` are newest first."""

    service_account: dict[str, Any] | None
    service: dict[str, Any] | None
    deployment: dict[str, Any] | None
    job: dict[str, Any] | None
    other_jobs: list[dict[str, Any]]
    pods: list[dict[str, Any]]
    job_pods: list[dict[str, Any]]
    refused_job_pods: str | None
    optional: dict[tuple[str, str], dict[str, Any] | None]
    """By kind and name."""
    unserved: list[Optional]
    """Those that are asked for, but are of a kind that the server does not know."""
    claim: dict[str, Any] | None
    """The claim that every ranking pod mounts, if there is one."""
    missing: list[Missing]
    unchecked: list[str] = field(default_factory=list)
    credentials_unknown: bool = False
    """Whether what the model is downloaded with may not be read just now."""


class Observer:
    """Observes one service at a time."""

    def __init__(self, kube: Kube, cache: Cache) -> None:
        self._kube, self._cache = kube, cache
        self._claims: dict[Key, dict[str, Any]] = {}
        """By service."""

    async def observe(
        self, service: RerankerService, wanted: Desired, references: References, now: datetime.datetime
    ) -> Observed:
        """What exists for `service`."""
        namespace, name, key = service.namespace, service.name, (service.namespace, service.name)
        cache = self._cache
        jobs = cache.children(Kind.JOB, key)
        pods = cache.children(Kind.POD, key)
        job = next((each for each in jobs if each["metadata"]["name"] == wanted.job_name), None)
        own_pods = [pod for pod in pods if job is not None and owned_by(pod, str(job["metadata"]["uid"]))]
        return Observed(
            service_account=cache.child(Kind.SERVICE_ACCOUNT, namespace, name),
            service=cache.child(Kind.SERVICE, namespace, name),
            deployment=cache.child(Kind.DEPLOYMENT, namespace, name),
            job=job,
            other_jobs=[each for each in jobs if each is not job and owned_by(each, service.uid)],
            pods=_newest_first([pod for pod in pods if _component(pod) == RANKING]),
            job_pods=_newest_first(own_pods),
            refused_job_pods=await self._refusal(job, now) if job is not None and not own_pods else None,
            optional={
                (each.kind, each.name): cache.child(Kind.named(each.kind), namespace, each.name)
                for each in wanted.optional
            },
            unserved=[
                each
                for each in wanted.optional
                if each.document is not None and not cache.served(Kind.named(each.kind))
            ],
            claim=await self._claim(service),
            missing=references.missing,
            unchecked=references.unchecked,
            credentials_unknown=references.credentials_unknown,
        )

    def forget(self, key: Key) -> None:
        """The service is gone, or mounts no claim any more."""
        self._claims.pop(key, None)

    async def _claim(self, service: RerankerService) -> dict[str, Any] | None:
        """The claim that ranking pods mount. It is read once: what matters of it, its access modes, never changes."""
        name, key = mounted_claim(service), (service.namespace, service.name)
        if name is None:
            self.forget(key)
            return None
        if (ours := self._cache.child(Kind.CLAIM, service.namespace, name)) is not None:
            return ours
        _knowledge, identity = await self._cache.named(Kind.CLAIM, service.namespace, name)
        uid = identity["metadata"]["uid"] if identity is not None else None
        if uid is None or self._claims.get(key, {}).get("metadata", {}).get("uid") != uid:
            self.forget(key)
            if uid is not None and (claim := await self._kube.get(Kind.CLAIM, service.namespace, name)) is not None:
                self._claims[key] = claim
        return self._claims.get(key)

    async def _refusal(self, job: dict[str, Any], now: datetime.datetime) -> str | None:
        """Why the server refuses this Job's pods: a Job has no condition for it, only events."""
        if job.get("status", {}).get("conditions") or job.get("status", {}).get("active"):
            return None
        age = now - datetime.datetime.fromisoformat(job["metadata"]["creationTimestamp"])
        if age.total_seconds() < SILENT_SECONDS:
            return None
        query = f"involvedObject.uid={job['metadata']['uid']},reason=FailedCreate"
        events = await self._kube.find(Kind.EVENT, job["metadata"]["namespace"], fieldSelector=query)
        newest = max(events, key=lambda event: event.get("lastTimestamp") or "", default=None)
        return newest["message"] if newest is not None else None


def _component(pod: dict[str, Any]) -> str:
    return str((pod["metadata"].get("labels") or {}).get("app.kubernetes.io/component", ""))


def owned_by(child: dict[str, Any], uid: str) -> bool:
    """Whether the object of this uid owns `child`."""
    return any(each["uid"] == uid for each in child["metadata"].get("ownerReferences", ()))


def _newest_first(pods: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"]), reverse=True)
