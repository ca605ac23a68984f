"""Observe: put together everything that decides about one service, from what the watches told.

What the cache does not hold, and what a round is about to make, is asked for once: an object of that name may be
somebody else's, which a watch of our own objects does not show.
"""

import asyncio
import datetime
from dataclasses import dataclass, field
from typing import Any

from reranker_operator.api import RerankerService
from reranker_operator.desired import Desired, Optional
from reranker_operator.desired.claim import mounted_claim
from reranker_operator.desired.metadata import MODEL_HASH, RANKING
from reranker_operator.kube import ForbiddenError, Kind, Kube, NotFoundError
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
    revisions: list[dict[str, Any]]
    """ControllerRevisions, newest first."""
    missing: list[Missing]
    unchecked: list[str] = field(default_factory=list)


class Observer:
    """Observes one service at a time."""

    def __init__(self, kube: Kube, cache: Cache) -> None:
        self._kube, self._cache = kube, cache
        self._asked: dict[tuple[str, str], tuple[str, int]] = {}
        """Uid and generation of each service whose Deployment was asked for before it is due."""
        self._claims: dict[tuple[str, str], dict[str, Any]] = {}

    async def observe(
        self, service: RerankerService, wanted: Desired, references: References, now: datetime.datetime
    ) -> Observed:
        """What exists for `service`."""
        namespace, name, key = service.namespace, service.name, (service.namespace, service.name)
        cache = self._cache
        jobs = cache.children(Kind.JOB, key)
        pods = cache.children(Kind.POD, key)
        job = _current_job(jobs, wanted)
        own_pods = [pod for pod in pods if job is not None and _owned_by(pod, str(job["metadata"]["uid"]))]
        account, front, deployment, *optional = await asyncio.gather(
            self._look(Kind.SERVICE_ACCOUNT, namespace, name, due=wanted.service_account is not None),
            self._look(Kind.SERVICE, namespace, name, due=True),
            self._look(Kind.DEPLOYMENT, namespace, name, due=self._is_due(service, job)),
            *(
                self._look(Kind.named(each.kind), namespace, each.name, due=_is_asked_for(each, cache))
                for each in wanted.optional
            ),
        )
        return Observed(
            service_account=account,
            service=front,
            deployment=deployment,
            job=job,
            other_jobs=[each for each in jobs if each is not job and _owned_by(each, service.uid)],
            pods=_newest_first([pod for pod in pods if _component(pod) == RANKING]),
            job_pods=_newest_first(own_pods),
            refused_job_pods=await self._refusal(job, now) if job is not None and not own_pods else None,
            optional={(each.kind, each.name): live for each, live in zip(wanted.optional, optional, strict=True)},
            unserved=[
                each
                for each in wanted.optional
                if each.document is not None and not cache.served(Kind.named(each.kind))
            ],
            claim=await self._claim(service),
            revisions=sorted(
                (each for each in cache.children(Kind.CONTROLLER_REVISION, key) if _owned_by(each, service.uid)),
                key=lambda each: int(each["revision"]),
                reverse=True,
            ),
            missing=references.missing,
            unchecked=references.unchecked,
        )

    def forget(self, key: tuple[str, str]) -> None:
        """The service is gone."""
        self._asked.pop(key, None)

    async def _claim(self, service: RerankerService) -> dict[str, Any] | None:
        """The claim that ranking pods mount. It is read once: what matters of it, its access modes, never changes."""
        name = mounted_claim(service)
        if name is None:
            return None
        if (ours := self._cache.child(Kind.CLAIM, service.namespace, name)) is not None:
            return ours
        place = service.namespace, name
        _knowledge, identity = await self._cache.named(Kind.CLAIM, *place)
        uid = identity["metadata"]["uid"] if identity is not None else None
        if uid is None or self._claims.get(place, {}).get("metadata", {}).get("uid") != uid:
            self._claims.pop(place, None)
            if uid is not None and (claim := await self._kube.get(Kind.CLAIM, *place)) is not None:
                self._claims[place] = claim
        return self._claims.get(place)

    async def _look(self, kind: Kind, namespace: str, name: str, *, due: bool) -> dict[str, Any] | None:
        known = self._cache.child(kind, namespace, name)
        if known is not None or not due:
            return known
        try:
            return await self._kube.get(kind, namespace, name)
        except (ForbiddenError, NotFoundError):  # applying it tells
            return None

    def _is_due(self, service: RerankerService, job: dict[str, Any] | None) -> bool:
        """A Deployment that is not due is asked for once all the same: that its name is taken should be known early."""
        key, state = (service.namespace, service.name), (service.uid, service.generation)
        if self._asked.get(key) != state:
            self._asked[key] = state
            return True
        return job is None or bool(job.get("status", {}).get("conditions"))

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


def _current_job(jobs: list[dict[str, Any]], wanted: Desired) -> dict[str, Any] | None:
    """The Job that is asked for, or another one that has found the same model good."""
    for job in jobs:
        if job["metadata"]["name"] == wanted.job_name:
            return job
    if wanted.model_hash is None:
        return None
    same = [job for job in jobs if (job["metadata"].get("annotations") or {}).get(MODEL_HASH) == wanted.model_hash]
    return next((job for job in same if _is_complete(job)), None)


def _is_complete(job: dict[str, Any]) -> bool:
    conditions = job.get("status", {}).get("conditions") or ()
    return any(each["type"] == "Complete" and each["status"] == "True" for each in conditions)


def _is_asked_for(each: Optional, cache: Cache) -> bool:
    return each.document is not None and cache.served(Kind.named(each.kind))


def _component(pod: dict[str, Any]) -> str:
    return str((pod["metadata"].get("labels") or {}).get("app.kubernetes.io/component", ""))


def _owned_by(child: dict[str, Any], uid: str) -> bool:
    return any(each["uid"] == uid for each in child["metadata"].get("ownerReferences", ()))


def _newest_first(pods: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"]), reverse=True)
