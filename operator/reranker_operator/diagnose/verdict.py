"""The first lines of a report: is it ready, what stands in the way, what to do; and whether to believe it at all."""

import datetime
import re
from collections.abc import Iterator

from reranker_operator.api import KIND, ConditionType, Reason
from reranker_operator.diagnose.arguments import sees_to, watched_namespaces
from reranker_operator.diagnose.gather import Gathered, Operator
from reranker_operator.diagnose.layout import Json, age, condition, dig, paragraph

_JOB = re.compile(r"\bJob ([-a-z0-9]+)")

ADVICE = {
    Reason.INVALID: "correct the fields that are named, or run an operator of the version that wrote them",
    Reason.NEWER_VERSION: "run an operator of that version, or take the fields that are named out of the spec",
    Reason.HOST_PATH_NOT_ALLOWED: "use a persistentVolumeClaim, or have the operator started with --allow-host-path",
    Reason.CHILD_REFUSED: "change the field that the server's words are about, or remove the object in the way",
    Reason.SERVER_FAILING: "look at the API server and at webhooks; the operator goes on trying",
    Reason.NOT_FOUND: "create what is missing, or correct the field that names it; nothing needs a restart",
    Reason.KIND_NOT_SERVED: "install the CustomResourceDefinition of that kind, or leave the field out",
    Reason.CLAIM_NOT_SHARED: "use a claim that several pods can mount (ReadWriteMany or ReadOnlyMany), or one replica",
    Reason.DOWNLOADING: "wait: the model Job downloads the model, once; its log is below",
    Reason.ROLLED_BACK: "correct the spec, or what it refers to; the events tell what had failed",
    Reason.MODEL_CHANGED: "put the right files back where the pod sees them; its check's last words are below",
    Reason.PROBES_FAILING: "look at the container's previous log below: it did not answer its probes in time",
    Reason.CERTIFICATE_EXPIRED: "renew the certificate in the Secret of spec.tls; pods take it up by themselves",
    Reason.VERIFYING: "wait: the model Job reads every file of the model, once",
    Reason.MODEL_REFUSED: "change spec.model, or put the model right and then: {recheck}",
    Reason.DIGEST_MISMATCH: "pin the digest that was found, or put the right files there and then: {recheck}",
    Reason.VERIFICATION_FAILED: "look at the model Job's log below; it is made anew every five minutes, or: {recheck}",
    Reason.NOT_ROLLED_OUT: "look at the pods below: those of the new template tell what the rollout waits for",
    Reason.UNAVAILABLE: "look at the pods and their last log lines below",
    Reason.PAUSED: "kubectl -n {namespace} scale rerankerservice/{name} --replicas=1",
    Reason.RANKING_WRONG: "look at the pods' log lines below: they call themselves ready, and clients get this answer",
    Reason.RANKING_PENDING: "wait: the operator is asking for a first ranking",
    Reason.UNREACHABLE: "let the operator's namespace through policies and mesh, or take this as unknown",
    Reason.NO_KEY: "add an entry `operator` with a key of its own to the Secret of clients' keys",
    Reason.OVERLOADED: "raise spec.replicas; METRICS below tell how long requests wait",
    Reason.UNSCHEDULABLE: "free or add what the scheduler names, or change spec.gpus, spec.resources or spec.pod",
    Reason.IMAGE_PULL: "correct spec.image, name spec.image.pullSecrets, or let the nodes reach the registry",
    Reason.CONTAINER_CONFIG: "create the key or the volume that is named",
    Reason.POD_CREATION_REFUSED: "raise the quota, or change what Pod Security or the webhook objects to",
    Reason.CRASHING: "read the container's last log lines below; settings come from spec.server",
    Reason.WARMING_UP: "wait: a large model loads for minutes; the pod's log lines below tell how far it is",
    Reason.STARTING: "wait; EVENTS below tell what the node does",
    Reason.WAITING_FOR_DEPLOYMENT: "wait; after minutes, look at kube-controller-manager",
    Reason.DEADLINE_EXCEEDED: "look at the pods and EVENTS below; any change of the spec starts a new rollout",
}
_UNKNOWN = "docs/conditions.md tells what each reason asks for"


def verdict(found: Gathered) -> list[str]:
    """The headline, and below it what is wrong and what to do about it."""
    service, doubts = found.service, list(_doubts(found))
    what = f"{KIND} {found.namespace}/{found.name}"
    ready = condition(service, ConditionType.READY.value)
    if since := dig(service, "metadata", "deletionTimestamp"):
        return [f"{what} is being removed, since {age(found.at, since)}", *_also(doubts)]
    if not ready:
        return [f"{what} is not Ready: no operator has looked at it", *_also(doubts or [_unseen(found.operator)])]
    if ready.get("status") == "True":
        return [f"{what} is Ready" + (", as far as one can tell:" if doubts else ""), *_also(doubts)]
    telling = _telling(service, ready)
    said = [
        *paragraph(f"{telling.get('type')} is {telling.get('status')}: {telling.get('message', '')}"),
        *paragraph(f"What to do: {_advice(found, ready)}"),
    ]
    return [f"{what} is not Ready: {ready.get('reason')}", *said, *_also(doubts)]


def _telling(service: Json, ready: Json) -> Json:
    """The condition that Ready speaks for: the first, in the order in which they are decided, with its reason."""
    each_in_order = (condition(service, kind.value) for kind in ConditionType)
    return next((each for each in each_in_order if each.get("reason") == ready.get("reason")), ready)


def _advice(found: Gathered, ready: Json) -> str:
    reason, message = str(ready.get("reason")), str(ready.get("message"))
    job = _JOB.search(message)
    recheck = f"kubectl -n {found.namespace} delete job {job[1] if job else f'{found.name}-model-...'}"
    advice = ADVICE[Reason(reason)] if reason in {each.value for each in ADVICE} else _UNKNOWN
    return advice.format(namespace=found.namespace, name=found.name, recheck=recheck)


def _also(doubts: list[str]) -> list[str]:
    return [line for doubt in doubts for line in paragraph(f"Beware: {doubt}")]


def _doubts(found: Gathered) -> Iterator[str]:
    """Why what the status says may be out of date."""
    generation, seen = dig(found.service, "metadata", "generation"), dig(found.service, "status", "observedGeneration")
    if seen not in (None, -1, generation):  # -1: nobody has looked at all
        yield f"the operator has not looked at the present spec: it is of generation {generation}, the status of {seen}"
    operator = found.operator
    told = operator.deployments.value or []
    if told and not any(sees_to(each, found.namespace) for each in told):
        watched = sorted({name for each in told for name in watched_namespaces(each)})
        yield f"the operator watches only {', '.join(watched)}: add --namespace {found.namespace} to its arguments"
    if operator.lease.absent:
        yield _nowhere(operator)
    elif operator.lease.value is not None and (problem := lease_problem(operator.lease.value, found.at)):
        yield f"{problem}: what the status says may be out of date; see OPERATOR below"


def _nowhere(operator: Operator) -> str:
    where = f"no operator has ever run in namespace {operator.namespace}"
    return f"{where}: install it, or say where it is with --operator-namespace"


def _unseen(operator: Operator) -> str:
    """Why a service may have no status, though nothing is known to be wrong with the operator."""
    if operator.lease.value is not None:
        return (
            f"one leads in namespace {operator.namespace}: it is about to look, or was told to watch other namespaces"
        )
    return f"whether one runs in namespace {operator.namespace} cannot be told: {operator.lease.problem}"


def lease_problem(lease: Json, at: datetime.datetime) -> str | None:
    """What a Lease says of whether anybody leads."""
    holder, renewed = dig(lease, "spec", "holderIdentity"), dig(lease, "spec", "renewTime")
    if not holder:
        return "no operator leads: the last one stopped and gave its lease back"
    try:
        seconds = (at - datetime.datetime.fromisoformat(str(renewed))).total_seconds()
    except (ValueError, TypeError):
        return None
    lasts = float(dig(lease, "spec", "leaseDurationSeconds") or 0)
    return f"no operator leads: {holder} renewed its lease {age(at, renewed)} ago" if seconds > 2 * lasts else None
