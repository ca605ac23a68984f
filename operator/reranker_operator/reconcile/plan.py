"""Plan: from what should exist and what does, decide what to apply, what to remove and what must wait. Pure."""

import datetime
from dataclasses import dataclass, field
from typing import Any

from reranker_operator.api import KIND, RerankerService
from reranker_operator.contract import REFUSED_EXIT_CODE
from reranker_operator.desired import Desired, ModelReport
from reranker_operator.desired.metadata import CREDENTIALS, MODEL_HASH, PROXY, annotation
from reranker_operator.desired.report import last_words
from reranker_operator.desired.revision import revision
from reranker_operator.reconcile.observe import Observed
from reranker_operator.reconcile.rollout import Recalled, ready_templates, template_of
from reranker_operator.reconcile.rollout import template_hash as hash_of
from reranker_operator.reconcile.scaling.handover import handing_over

REPORT_SECONDS = 5.0
"""How long the report of a Job that succeeded is waited for; a pod that is gone took its own along."""
RECHECK_SECONDS = 300.0
"""A model Job that broke without a verdict is made anew after this time."""


@dataclass(frozen=True)
class ModelVerdict:
    """What is known of the model that the spec names."""

    verified: bool = False
    refused: bool = False
    report: ModelReport | None = None
    words: str = ""
    """How the Job itself puts its failure, where there is no report."""
    undecided_since: datetime.datetime | None = None
    """When the Job broke without a report: it is tried again later, for that may have been anything."""


@dataclass(frozen=True)
class Plan:
    """What to do, in this order: delete, record, hand over, apply."""

    apply: list[dict[str, Any]] = field(default_factory=list)
    delete: list[dict[str, Any]] = field(default_factory=list)
    record: dict[str, Any] | None = None
    """A ControllerRevision to be made before the template in it is used."""
    hand_over: dict[str, Any] | None = None
    """The number of pods as it is, to be taken over by the scaler's field manager before the Deployment is applied."""
    generate: dict[str, Any] | None = None
    """A Secret without its data, to be made with a first key unless it exists."""
    taken: str | None = None
    """An object of somebody else that stands where one of ours should."""
    leaving: str | None = None
    """An object of an earlier service of this name that is still being removed."""

    @property
    def is_barred(self) -> bool:
        """Whether nothing can be done, as somebody else's object stands in the way."""
        return self.taken is not None or self.leaving is not None


def judge(wanted: Desired, observed: Observed, now: datetime.datetime) -> ModelVerdict:
    """What the model Job found, or what the Deployment proves: its template changes only after a verdict."""
    if wanted.model_job is None:
        return ModelVerdict(verified=True)  # nothing to wait for
    report = _report(observed)
    proven = annotation(observed.deployment, MODEL_HASH) == wanted.model_hash
    finished = _finished(observed.job)
    if finished == "Complete" and (proven or report is not None or _is_long_done(observed.job, now)):
        return ModelVerdict(verified=True, report=report)
    if finished == "Failed" and not proven:
        since = None if report is not None else _failed_at(observed.job)
        return ModelVerdict(refused=True, report=report, words=_failure(observed), undecided_since=since)
    return ModelVerdict(verified=proven)


def plan(
    service: RerankerService,
    wanted: Desired,
    observed: Observed,
    verdict: ModelVerdict,
    recalled: Recalled,
    now: datetime.datetime,
) -> Plan:
    """What to do now. The Deployment waits for the model's verdict and for everything that the spec names."""
    pairs = [
        (observed.service_account, wanted.service_account),
        (observed.service, wanted.service),
        (observed.deployment, wanted.deployment),
        *((observed.optional.get((each.kind, each.name)), each.document) for each in wanted.optional),
    ]
    for live, made in pairs:
        if live is not None and made is not None and (found := stranger(service, live)):
            return found
    needed = [each.document for each in wanted.optional if each.holds_data]
    # The Service first: its name is the one that somebody else may have taken.
    apply = [made for made in (wanted.service, wanted.service_account, *needed) if made is not None]
    unserved = {each.kind for each in observed.unserved}
    templates = _templates(wanted, observed, recalled)
    delete: list[dict[str, Any]] = [
        live
        for each in wanted.optional
        if each.document is None
        and (live := observed.optional.get((each.kind, each.name))) is not None
        and (_is_spare(service, observed, live, templates) if each.holds_data else is_ours(service, live))
    ]
    if wanted.service_account is None:
        delete += _spare_account(service, observed, templates)
    otherwise = _began_otherwise(wanted, observed)
    if observed.job is not None and _is_worth_another_try(wanted, observed, verdict, now):
        delete.append(observed.job)  # its deletion is an event, and the next round makes it anew
    elif wanted.model_job is not None and not otherwise and (not observed.missing or observed.job is not None):
        apply.append(_as_begun(wanted.model_job, observed.job))
    record = hand_over = None
    # A template that runs already is kept in repair whatever has gone missing since.
    if verdict.verified and (not observed.missing or template_hash(observed.deployment) == wanted.template_hash):
        if recalled.recorded is None:
            record = revision(service, wanted.template, recalled.made_of, recalled.next_number)
        hand_over = handing_over(wanted.deployment, observed.deployment)
        apply.append(wanted.deployment)
        delete += [*observed.other_jobs, *_spare_revisions(wanted, observed, recalled)]
    # Last: whatever is wrong with one of them, the pods go on.
    last = [each for each in wanted.optional if not each.holds_data and each.kind not in unserved]
    apply += [each.document for each in last if each.document is not None]
    return Plan(apply=apply, delete=delete, record=record, hand_over=hand_over, generate=wanted.generated_keys)


def _began_otherwise(wanted: Desired, observed: Observed) -> bool:
    """Whether the Job began with another default of the proxy than the operator has now."""
    return observed.job is not None and annotation(observed.job, PROXY) != annotation(wanted.model_job, PROXY)


def _is_worth_another_try(wanted: Desired, observed: Observed, verdict: ModelVerdict, now: datetime.datetime) -> bool:
    """Whether a Job is made anew: it broke a while ago without a verdict, or what it downloads with changed.

    With another default of the proxy also one that has not ended: it may wait for what never comes.
    """
    if _began_otherwise(wanted, observed) and not verdict.verified:
        return True
    if verdict.undecided_since is not None and (now - verdict.undecided_since).total_seconds() > RECHECK_SECONDS:
        return True
    changed = annotation(observed.job, CREDENTIALS) != annotation(wanted.model_job, CREDENTIALS)
    return verdict.refused and changed and not observed.missing and not observed.credentials_unknown


def _as_begun(wanted: dict[str, Any], live: dict[str, Any] | None) -> dict[str, Any]:
    """The Job, with the note of what its pods began to download with: other credentials are for another Job."""
    begun_with = annotation(live, CREDENTIALS)
    if begun_with is None:
        return wanted
    metadata = wanted["metadata"]
    annotations = {**metadata["annotations"], CREDENTIALS: begun_with}
    return {**wanted, "metadata": {**metadata, "annotations": annotations}}


def _spare_revisions(wanted: Desired, observed: Observed, recalled: Recalled) -> list[dict[str, Any]]:
    kept = {wanted.template_hash, template_hash(observed.deployment)}
    if recalled.proven is not None:
        kept.add(hash_of(template_of(recalled.proven)))
    return recalled.outdated({each for each in kept if each is not None})


def template_hash(deployment: dict[str, Any] | None) -> str | None:
    """The hash that the Deployment's template carries."""
    return hash_of(deployment["spec"]["template"]) if deployment is not None else None


def _report(observed: Observed) -> ModelReport | None:
    for pod in observed.job_pods:
        for containers in ("containerStatuses", "initContainerStatuses"):
            for ended in _ended(pod, containers):
                # Of a download only a refusal is a verdict: one that went well, or is worth another try, is none.
                decided = ended.get("exitCode") == REFUSED_EXIT_CODE or containers == "containerStatuses"
                if decided and (report := ModelReport.parse(ended.get("message"))) is not None:
                    return report
    return None


def _ended(pod: dict[str, Any], containers: str) -> list[dict[str, Any]]:
    """How the containers of a pod ended, those that did."""
    statuses = pod.get("status", {}).get(containers, ())
    return [
        ended
        for each in statuses
        for state in ("state", "lastState")
        if (ended := each.get(state, {}).get("terminated"))
    ]


def _finished(job: dict[str, Any] | None) -> str | None:
    conditions = (job or {}).get("status", {}).get("conditions") or ()
    return next((c["type"] for c in conditions if c["type"] in ("Complete", "Failed") and c["status"] == "True"), None)


def _is_long_done(job: dict[str, Any] | None, now: datetime.datetime) -> bool:
    """Whether a Job's pod, with its report, would have been told of by now: the Job's own end may be heard of first."""
    ended = datetime.datetime.fromisoformat((job or {})["status"].get("completionTime") or now.isoformat())
    return (now - ended).total_seconds() > REPORT_SECONDS


def _failed_at(job: dict[str, Any] | None) -> datetime.datetime | None:
    conditions = (job or {}).get("status", {}).get("conditions") or ()
    times = [each["lastTransitionTime"] for each in conditions if each["type"] == "Failed" and each["status"] == "True"]
    return datetime.datetime.fromisoformat(times[0]) if times else None


def _templates(wanted: Desired, observed: Observed, recalled: Recalled) -> list[dict[str, Any]]:
    """Templates whose pods there are, or will be again if the one that is wanted now is never Ready."""
    templates = [observed.deployment["spec"]["template"]] if observed.deployment is not None else []
    if recalled.proven is not None and ready_templates(observed.deployment)[:1] != [wanted.template_hash]:
        templates.append(template_of(recalled.proven))
    return templates


def _spare_account(
    service: RerankerService, observed: Observed, templates: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Our ServiceAccount, if no pod runs under it any more: those of an earlier template need it to the end."""
    account = observed.service_account
    if account is None or not is_ours(service, account):
        return []
    used = {_account(pod) for pod in (*templates, *observed.pods)}
    return [account] if account["metadata"]["name"] not in used else []


def _is_spare(
    service: RerankerService, observed: Observed, claim: dict[str, Any], templates: list[dict[str, Any]]
) -> bool:
    """Whether the claim goes with the service and nothing uses it any more: pods of an earlier template may."""
    if not any(owner["uid"] == service.uid for owner in claim["metadata"].get("ownerReferences", ())):
        return False
    volumes = [each for pod in (*templates, *observed.pods) for each in pod["spec"].get("volumes", ())]
    used = {each["persistentVolumeClaim"]["claimName"] for each in volumes if "persistentVolumeClaim" in each}
    return claim["metadata"]["name"] not in used


def _account(pod: dict[str, Any]) -> str:
    return str(pod["spec"].get("serviceAccountName", "default"))


def _failure(observed: Observed) -> str:
    said = [
        words
        for pod in observed.job_pods
        for containers in ("containerStatuses", "initContainerStatuses")
        for ended in _ended(pod, containers)
        if ended.get("exitCode") != 0 and (words := last_words(ended.get("message")))
    ]
    if said:
        return said[0]
    conditions = (observed.job or {}).get("status", {}).get("conditions") or ()
    return next((str(c.get("message", "")) for c in conditions if c["type"] == "Failed"), "")


def is_ours(service: RerankerService, live: dict[str, Any]) -> bool:
    """Whether an object belongs to `service`."""
    owners = live["metadata"].get("ownerReferences", ())
    labels = live["metadata"].get("labels") or {}
    marked = (labels.get("app.kubernetes.io/managed-by"), labels.get("app.kubernetes.io/instance"))
    # An owner reference that somebody took off is put back; the labels still say whose it is.
    return any(owner["uid"] == service.uid for owner in owners) or (
        not any(owner.get("controller") for owner in owners) and marked == ("reranker-operator", service.name)
    )


def stranger(service: RerankerService, live: dict[str, Any]) -> Plan | None:
    """The plan where `live` belongs to somebody else: to do nothing."""
    if is_ours(service, live):
        return None
    name = f"{live['kind']} {live['metadata']['name']}"
    for owner in live["metadata"].get("ownerReferences", ()):
        if owner["kind"] == KIND and owner["name"] == service.name:
            return Plan(leaving=name)
    return Plan(taken=name)
