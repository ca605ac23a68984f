"""What a report says of the service itself: its conditions, its spec, its model, its children, what it refers to."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from reranker_operator.desired.metadata import RANKING, TEMPLATE_HASH
from reranker_operator.diagnose.gather import Gathered, Named
from reranker_operator.diagnose.layout import Json, age, dig, paragraph, table
from reranker_operator.diagnose.reader import Answer
from reranker_operator.kube import Kind

_MOST_FIELDS = 80
_MOST_CHARACTERS = 120
_EXPECTED = (Kind.SERVICE_ACCOUNT, Kind.SERVICE, Kind.JOB, Kind.DEPLOYMENT)


def conditions(found: Gathered) -> list[str]:
    """Each condition with its message."""
    said = dig(found.service, "status", "conditions") or []
    if not said:
        return ["  none: no operator has written a status"]
    rows = [("TYPE", "STATUS", "REASON", "SINCE", "GENERATION")]
    rows += [
        (
            each.get("type"),
            each.get("status"),
            each.get("reason"),
            age(found.at, each.get("lastTransitionTime")),
            each.get("observedGeneration", "?"),
        )
        for each in said
    ]
    head, *lines = table(rows)
    with_messages = [
        part
        for line, each in zip(lines, said, strict=True)
        for part in (line, *paragraph(str(each.get("message", "")), indent=6))
    ]
    return [head, *with_messages]


def spec(found: Gathered) -> list[str]:
    """Each field that is set, as the server stores it: defaults included."""
    metadata = found.service["metadata"]
    rows = list(_flat(found.service.get("spec") or {}))
    shown = [(field, value[:_MOST_CHARACTERS]) for field, value in rows[:_MOST_FIELDS]]
    more = len(rows) - len(shown)
    return [
        f"  generation {metadata.get('generation', '?')}, made {age(found.at, metadata.get('creationTimestamp'))} ago",
        *table(shown),
        *([f"  and {more} fields more"] if more else []),
    ]


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Fields as `a.b[name].c`; what is empty is left out."""
    if isinstance(value, dict):
        for field, entry in value.items():
            yield from _flat(entry, f"{path}.{field}" if path else str(field))
    elif isinstance(value, list) and all(isinstance(each, dict) for each in value):
        for index, entry in enumerate(value):
            named = {field: part for field, part in entry.items() if field != "name"}
            yield from _flat(named or entry, f"{path}[{entry.get('name', index)}]")
    elif isinstance(value, list):
        yield path, ", ".join(map(str, value))
    else:
        yield path, str(value)


def model(found: Gathered) -> list[str]:
    """What was found of the model, and the last real ranking."""
    status = found.service.get("status") or {}
    rows = [(f"model {field}", value) for field, value in (status.get("model") or {}).items()]
    probe = status.get("probe")
    if probe:
        words = f"{probe.get('passages')} passages in {probe.get('milliseconds')} ms"
        rows.append(("last ranking written down", f"{words}, {age(found.at, probe.get('at'))} ago"))
    else:
        rows.append(("last ranking written down", "none"))
    rows += [("endpoint", status["endpoint"])] if status.get("endpoint") else []
    return table(rows)


def children(found: Gathered) -> list[str]:
    """What was made for it."""
    rows = [("KIND", "NAME", "AGE", "STATE")]
    rows += [
        (
            each["kind"],
            each["metadata"]["name"],
            age(found.at, each["metadata"].get("creationTimestamp")),
            _state(each) + _owner(found, each),
        )
        for each in found.found
    ]
    missing = [kind.title for kind in _EXPECTED if _is_missing(found.children.get(kind.title, Answer()))]
    return [
        *(table(rows) if len(rows) > 1 else []),
        *_deployment(found),
        *(f"  {kind}: does not exist" for kind in missing),
        *_unread(found),
    ]


def _is_missing(answer: Answer[list[Json]]) -> bool:
    return answer.problem is None and not answer.value


def _unread(found: Gathered) -> list[str]:
    """Kinds of which nothing is known, by why."""
    why: dict[str, list[str]] = {}
    for kind, answer in found.children.items():
        if answer.value is None:
            reason = "not served by this cluster" if answer.absent else str(answer.problem)
            why.setdefault("may not be listed by you" if answer.forbidden else reason, []).append(kind)
    return [line for reason, kinds in why.items() for line in paragraph(f"{', '.join(kinds)}: {reason}")]


def _owner(found: Gathered, child: Json) -> str:
    owners = child["metadata"].get("ownerReferences") or []
    if any(owner.get("uid") == found.service["metadata"].get("uid") for owner in owners):
        return ""
    others = ", ".join(f"{owner.get('kind')} {owner.get('name')}" for owner in owners)
    return f" (NOT owned by this service, but by {others or 'nobody'})"


def _state(child: Json) -> str:
    """The few facts that tell whether a child does what it should."""
    given, status = child.get("spec") or {}, child.get("status") or {}
    match child["kind"]:
        case "Deployment":
            counts = [("updatedReplicas", "updated"), ("readyReplicas", "ready"), ("availableReplicas", "available")]
            said = [f"{given.get('replicas', 1)} desired", *(f"{status.get(key, 0)} {word}" for key, word in counts)]
            return ", ".join(said)
        case "Job":
            done = [f"{each.get('type')}" for each in status.get("conditions") or () if each.get("status") == "True"]
            return ", ".join(done) or f"{status.get('active', 0)} active, {status.get('failed', 0)} failed"
        case "Service":
            ports = ", ".join(str(each.get("port")) for each in given.get("ports") or ())
            return f"{given.get('type')} {given.get('clusterIP')}, port {ports}"
        case "PersistentVolumeClaim":
            return f"{status.get('phase')} {dig(status, 'capacity', 'storage') or ''}".strip()
        case "PodDisruptionBudget":
            return f"{status.get('disruptionsAllowed', '?')} pods may be taken now"
        case "HorizontalPodAutoscaler":
            return f"{status.get('currentReplicas', '?')} now, {status.get('desiredReplicas', '?')} wanted"
        case "Ingress":
            points = dig(status, "loadBalancer", "ingress") or []
            where = ", ".join(str(each.get("ip") or each.get("hostname")) for each in points)
            return f"at {where}" if where else "no address yet"
    return ""


def _deployment(found: Gathered) -> list[str]:
    """Whether the Deployment is what the controller works on, and which template each pod is of."""
    lines: list[str] = []
    for each in (found.children.get(Kind.DEPLOYMENT.title) or Answer()).value or ():
        generation, seen = each["metadata"].get("generation"), dig(each, "status", "observedGeneration")
        lag = "" if seen == generation else " (its controller has not looked at it as it is now)"
        wanted = dig(each, "spec", "template", "metadata", "labels", TEMPLATE_HASH)
        live = Counter(
            str(dig(pod, "metadata", "labels", TEMPLATE_HASH) or "unknown")
            for pod in found.pods.value or ()
            if dig(pod, "metadata", "labels", "app.kubernetes.io/component") == RANKING
        )
        pods = ", ".join(f"{count} of {of}" for of, count in live.items()) or "none"
        lines.append(f"  Deployment {each['metadata']['name']}:")
        lines.append(f"    generation {generation}, observed {seen}{lag}")
        lines.append(f"    template hash wanted {wanted}; live pods: {pods}")
        for said in dig(each, "status", "conditions") or ():
            words = f"{said.get('type')} is {said.get('status')} ({said.get('reason')}): {said.get('message')}"
            lines += paragraph(words, indent=4)
    return lines


def named(found: Gathered) -> list[str]:
    """What the spec refers to, and whether it exists; of Secrets and ConfigMaps, the names of their keys."""
    if found.named.value is None:
        return paragraph(str(found.named.problem))
    rows = [("KIND", "NAME", "NAMED BY", "STATE")]
    rows += [
        (each.reference.kind, each.reference.name, each.reference.field, _resolved(found, each))
        for each in found.named.value
    ]
    listed = {each.reference.name for each in found.named.value if each.reference.kind == Kind.SECRET.title}
    rows += [
        ("Secret", name, "a pod, or an optional reference", _existing(answer, None))
        for name, answer in found.secrets.items()
        if name not in listed
    ]
    return table(rows) if len(rows) > 1 else ["  nothing"]


def _resolved(found: Gathered, each: Named) -> str:
    if each.reference.kind == Kind.SECRET.title:
        return _existing(found.secrets.get(each.reference.name, Answer(problem="not looked up")), each.reference.key)
    return _existing(each.answer, each.reference.key)


def _existing(answer: Answer[Json], key: str | None) -> str:
    document = answer.value
    if document is None:
        return "DOES NOT EXIST" if answer.absent else f"unknown: {answer.problem}"
    keys = sorted({name for part in ("data", "binaryData") for name in document.get(part) or {}})
    if key is not None and key not in keys:
        return f"HAS NO KEY {key}; its keys: {', '.join(keys) or 'none'}"
    if document.get("kind") in (Kind.SECRET.title, Kind.CONFIG_MAP.title):
        return f"exists; keys: {', '.join(keys) or 'none'}"
    return f"exists {_state(document)}".strip()
