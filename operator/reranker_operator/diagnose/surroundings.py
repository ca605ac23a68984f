"""What a report says of what is around a service: events, the operator, the cluster."""

from reranker_operator.diagnose.arguments import arguments_of
from reranker_operator.diagnose.gather import Gathered
from reranker_operator.diagnose.layout import Json, age, dig, last_seen, paragraph, table
from reranker_operator.diagnose.pods import log_lines, pod_lines
from reranker_operator.diagnose.verdict import lease_problem

_MOST_EVENTS = 60
_MOST_CHARACTERS = 400


def events(found: Gathered) -> list[str]:
    """Each thing that was said, once, with how often; the newest last."""
    if found.events.value is None:
        return [f"  not read: {found.events.problem}"]
    told: dict[tuple[str, ...], tuple[int, Json]] = {}
    for event in found.events.value:
        message = " ".join(str(event.get("message") or "").split())
        what = f"{dig(event, 'involvedObject', 'kind')} {dig(event, 'involvedObject', 'name')}"
        key = (str(event.get("type")), what, str(event.get("reason")), message[:_MOST_CHARACTERS])
        times = dig(event, "series", "count") or event.get("count") or 1
        told[key] = (told.pop(key, (0, event))[0] + times, event)  # put last again: this one is newer
    rows: list[tuple[str, ...]] = [("SEEN", "TIMES", "TYPE", "ABOUT", "REASON", "MESSAGE")]
    shown = list(told.items())[-_MOST_EVENTS:]
    rows += [(age(found.at, last_seen(event)), f"x{times}", *key) for key, (times, event) in shown]
    left = len(told) - _MOST_EVENTS
    return [
        *([f"  {left} older ones are left out"] if left > 0 else []),
        *(table(rows) if told else ["  none; a server usually keeps them for an hour"]),
        *([f"  {found.events.note} in the namespace"] if found.events.note else []),
    ]


def operator(found: Gathered) -> list[str]:
    """Whoever should see to the service: its Deployment, its pods, who leads, what it logged about this service."""
    of = found.operator
    lines = [f"  namespace {of.namespace}"]
    for each in of.deployments.value or ():
        status, metadata = each.get("status") or {}, each["metadata"]
        image = dig((dig(each, "spec", "template", "spec", "containers") or [{}])[0], "image")
        ready = f"{status.get('readyReplicas', 0)} of {dig(each, 'spec', 'replicas')} ready"
        old = age(found.at, metadata.get("creationTimestamp"))
        lines.append(f"  Deployment {metadata['name']}: {ready}, {image}, age {old}")
        lines.append(f"    arguments: {' '.join(arguments_of(each)) or 'none'}")
    if not of.deployments.value:
        problem = of.deployments.problem
        words = f"not read: {problem}" if problem else "none with the label app.kubernetes.io/name=reranker-operator"
        lines.append(f"  Deployment: {words}")
    if of.pods.value is None:
        lines.append(f"  pods: not read: {of.pods.problem}")
    for pod in of.pods.value or ():
        lines += pod_lines(found, pod)
    lines += paragraph(_lease(found))
    for log in of.logs:
        head, *rest = log_lines(log)
        lines += [f"{head}, lines about this service", *rest]
    return lines


def _lease(found: Gathered) -> str:
    lease = found.operator.lease
    if lease.value is None:
        return f"Lease: {'does not exist' if lease.absent else f'not read: {lease.problem}'}"
    holder = dig(lease.value, "spec", "holderIdentity") or "nobody"
    renewed = age(found.at, dig(lease.value, "spec", "renewTime"))
    held = age(found.at, dig(lease.value, "spec", "acquireTime"))
    words = f"Lease {lease.value['metadata']['name']}: held by {holder} for {held}, renewed {renewed} ago"
    problem = lease_problem(lease.value, found.at)
    return f"{words}. {problem}" if problem else words


def cluster(found: Gathered) -> list[str]:
    """Which Kubernetes it is."""
    return [f"  Kubernetes {found.version.value or f'of unknown version: {found.version.problem}'}"]
