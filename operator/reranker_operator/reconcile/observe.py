"""Observe: read everything that decides about one service, straight from the API server.

Nothing is concluded from what a watch once said: caches keep ghosts after a gap, and a repair that relies on them
repairs the wrong thing.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from reranker_operator.api import RerankerService
from reranker_operator.desired import Desired, Optional
from reranker_operator.desired.metadata import MODEL, RANKING, selector
from reranker_operator.kube import ForbiddenError, Kind, Kube
from reranker_operator.reconcile.references import Missing, find_missing


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
    missing: list[Missing]
    unchecked: list[str] = field(default_factory=list)


async def observe(kube: Kube, service: RerankerService, wanted: Desired) -> Observed:
    """Read the children of `service`, their pods, and what its spec refers to."""
    namespace, name = service.namespace, service.name
    reads = (
        kube.get(Kind.SERVICE_ACCOUNT, namespace, name),
        kube.get(Kind.SERVICE, namespace, name),
        kube.get(Kind.DEPLOYMENT, namespace, name),
    )
    lists = (
        kube.find(Kind.JOB, namespace, labelSelector=_query(service, MODEL)),
        kube.find(Kind.POD, namespace, labelSelector=_query(service, RANKING)),
        kube.find(Kind.POD, namespace, labelSelector=_query(service, MODEL)),
    )
    (account, front, deployment), (jobs, pods, job_pods), references, optional = await asyncio.gather(
        asyncio.gather(*reads), asyncio.gather(*lists), find_missing(kube, service), _optional(kube, namespace, wanted)
    )
    job = next((each for each in jobs if each["metadata"]["name"] == wanted.job_name), None)
    own_pods = [pod for pod in job_pods if job is not None and _owned_by(pod, job)]
    return Observed(
        service_account=account,
        service=front,
        deployment=deployment,
        job=job,
        other_jobs=[each for each in jobs if each is not job and _owned_by(each, {"metadata": {"uid": service.uid}})],
        pods=_newest_first(pods),
        job_pods=_newest_first(own_pods),
        refused_job_pods=await _refusal(kube, job) if job is not None and not own_pods else None,
        optional={(each.kind, each.name): live for each, live in optional if live is not _UNSERVED},
        unserved=[each for each, live in optional if live is _UNSERVED],
        missing=references.missing,
        unchecked=references.unchecked,
    )


_UNSERVED: dict[str, Any] = {"kind": "of no server"}


async def _optional(kube: Kube, namespace: str, wanted: Desired) -> list[tuple[Optional, dict[str, Any] | None]]:
    async def look(each: Optional) -> tuple[Optional, dict[str, Any] | None]:
        kind = Kind.of({"kind": each.kind})
        try:
            live = await kube.get(kind, namespace, each.name)
        except ForbiddenError:  # where it is asked for, applying it tells
            return each, None
        if live is None and each.document is not None and not await kube.serves(kind):
            return each, _UNSERVED
        return each, live

    return await asyncio.gather(*map(look, wanted.optional))


async def _refusal(kube: Kube, job: dict[str, Any]) -> str | None:
    """Why the server refuses this Job's pods: a Job has no condition for it, only events."""
    if job.get("status", {}).get("conditions"):
        return None
    query = f"involvedObject.uid={job['metadata']['uid']},reason=FailedCreate"
    events = await kube.find(Kind.EVENT, job["metadata"]["namespace"], fieldSelector=query)
    newest = max(events, key=lambda event: event.get("lastTimestamp") or "", default=None)
    return newest["message"] if newest is not None else None


def _query(service: RerankerService, component: str) -> str:
    return ",".join(f"{key}={value}" for key, value in selector(service, component).items())


def _owned_by(child: dict[str, Any], owner: dict[str, Any]) -> bool:
    return any(each["uid"] == owner["metadata"]["uid"] for each in child["metadata"].get("ownerReferences", ()))


def _newest_first(pods: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"]), reverse=True)
