"""Gather everything that decides about one service, or tells of it: what exists, what was said, what was logged."""

import asyncio
import datetime
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from reranker_operator import contract
from reranker_operator.api import KIND, InvalidResourceError, RerankerService
from reranker_operator.desired.metadata import RANKING
from reranker_operator.diagnose.arguments import lease_name
from reranker_operator.diagnose.layout import dig, is_ready, last_seen
from reranker_operator.diagnose.reader import Answer, Json, Reader
from reranker_operator.diagnose.redact import Redactor, named_secrets, secret_literals, secret_variables, values_of
from reranker_operator.kube import Kind
from reranker_operator.kube.events import utc_now
from reranker_operator.reconcile.references import Reference, mounted_authorities, references

MOST_PODS = 20
"""Pods that are told of in full, with their logs: those that are not ready before those that are."""
MOST_OBJECTS = 500
MOST_EVENTS = 5000
"""Of the whole namespace: an event is found by what it is about only after it was read."""
MOST_SECRETS = 200
TOO_MANY = f"not read: more than {MOST_SECRETS} Secrets are named"
LOG_BYTES = 1 << 20
METRICS_BYTES = 1 << 20
OPERATOR_LINES = 5000
"""Of each operator's log, among which those about one service are looked for."""

OPERATOR_LABELS = "app.kubernetes.io/name=reranker-operator"
_NO_CHILDREN = {Kind.POD, Kind.EVENT, Kind.SECRET, Kind.LEASE, Kind.CONFIG_MAP, Kind.RERANKER_SERVICE}
"""Told of elsewhere; every other kind of a namespace may be a child's."""
_WITH_PODS = (Kind.DEPLOYMENT.title, Kind.JOB.title)


@dataclass(frozen=True)
class Named:
    """Something that the spec refers to."""

    reference: Reference
    answer: Answer[Json]


@dataclass(frozen=True)
class Log:
    """The end of what a container wrote."""

    pod: str
    container: str
    previous: bool
    """True where it is of the process before the present one."""
    answer: Answer[str] = field(default_factory=Answer)


@dataclass(frozen=True)
class Operator:
    """Whoever should see to the service."""

    namespace: str
    deployments: Answer[list[Json]]
    pods: Answer[list[Json]]
    lease: Answer[Json]
    logs: list[Log] = field(default_factory=list)
    """Only the lines about this service."""


@dataclass(frozen=True)
class Gathered:
    """Everything about one service, at one time."""

    at: datetime.datetime
    version: Answer[str]
    service: Json
    children: dict[str, Answer[list[Json]]]
    """By kind."""
    pods: Answer[list[Json]]
    """Ranking and verifying, those that are not ready first, then newest first."""
    named: Answer[list[Named]]
    secrets: dict[str, Answer[Json]]
    """Those that the spec or a pod speaks of, by name."""
    events: Answer[list[Json]]
    """About the service, its children and its pods."""
    operator: Operator
    logs: list[Log] = field(default_factory=list)
    metrics: dict[str, Answer[str]] = field(default_factory=dict)
    """By pod."""

    @property
    def name(self) -> str:
        """Of the service."""
        return str(self.service["metadata"]["name"])

    @property
    def namespace(self) -> str:
        """Of the service."""
        return str(self.service["metadata"]["namespace"])

    @property
    def found(self) -> list[Json]:
        """Every child that was found."""
        return [each for answer in self.children.values() for each in answer.value or ()]

    @property
    def shown_pods(self) -> list[Json]:
        """The pods that are told of in full."""
        return (self.pods.value or [])[:MOST_PODS]


async def gather(reader: Reader, service: Json, operator_namespace: str, tail: int) -> Gathered:
    """Everything about `service`, secrets included (`redacted` takes them out); `tail` lines of each log."""
    namespace, name = service["metadata"]["namespace"], service["metadata"]["name"]
    kinds = [kind for kind in Kind if kind.value.namespaced and kind not in _NO_CHILDREN]
    children, pods, named, events, operator, version = await asyncio.gather(
        asyncio.gather(*(_children(reader, kind, namespace, name) for kind in kinds)),
        reader.find(Kind.POD, namespace, MOST_OBJECTS, labelSelector=_labels(name)),
        _named(reader, service),
        reader.find(Kind.EVENT, namespace, MOST_EVENTS),
        _operator(reader, operator_namespace, namespace),
        reader.text("/version", METRICS_BYTES),
    )
    found = Gathered(
        at=utc_now(),
        version=version.of(_git_version),
        service=service,
        children={kind.title: answer for kind, answer in zip(kinds, children, strict=True)},
        pods=pods.of(_in_order),
        named=named,
        secrets={},
        events=events,
        operator=operator,
    )
    shown = found.shown_pods
    secrets, authorities, logs, metrics, operator_logs = await asyncio.gather(
        _secrets(reader, found),
        _authorities(reader, found),
        asyncio.gather(*(_log(reader, namespace, each, tail) for pod in shown for each in _logged(pod))),
        asyncio.gather(*(_metrics(reader, pod) for pod in shown if _serves(pod))),
        _operator_logs(reader, operator, namespace, name, tail),
    )
    return replace(
        found,
        secrets=secrets,
        named=named.of(lambda each: [*each, *authorities]),
        events=events.of(lambda each: _about(found, each)),
        logs=logs,
        metrics=dict(metrics),
        operator=replace(operator, logs=operator_logs),
    )


def redacted(found: Gathered, token: str | None) -> tuple[Gathered, Redactor]:
    """The same without secrets, and what took them out; `token` is what the person shows to the API server."""
    values = {value for answer in found.secrets.values() if answer.value for value in values_of(answer.value)}
    documents = [found.service, *found.found, *(found.pods.value or ())]
    documents += [each.answer.value for each in found.named.value or () if each.answer.value is not None]
    redactor = Redactor([*values, *secret_literals(documents), token or ""], secret_variables(documents))
    return redactor.clean(found), redactor


def _git_version(text: str) -> str:
    try:
        return str(json.loads(text)["gitVersion"])
    except (ValueError, KeyError, TypeError):  # some gateway in between
        return f"unknown: /version answers {text[:100]!r}"


def _labels(name: str) -> str:
    return f"app.kubernetes.io/name=reranker,app.kubernetes.io/instance={name}"


async def _children(reader: Reader, kind: Kind, namespace: str, name: str) -> Answer[list[Json]]:
    """Those with the service's labels, and what stands under its name: somebody else's may stand where ours should."""
    labelled = await reader.find(kind, namespace, MOST_OBJECTS, labelSelector=_labels(name))
    # A claim of that name is likelier the user's own than in our way.
    named: Answer[Json] = await reader.get(kind, namespace, name) if kind is not Kind.CLAIM else Answer()
    both = [*(labelled.value or ()), *([named.value] if named.value else ())]
    each_once = {each["metadata"]["uid"]: each for each in both}
    return replace(labelled, value=list(each_once.values())) if both else labelled


async def _named(reader: Reader, service: Json) -> Answer[list[Named]]:
    """What the spec refers to, each looked up, but for Secrets, which are looked up once for all."""
    try:
        parsed = RerankerService.parse(service)
    except InvalidResourceError as error:
        return Answer(problem=f"the spec does not fit this version of {KIND}: {'; '.join(error.problems)}")

    async def look(each: Reference) -> Named:
        if each.kind == Kind.SECRET.title:
            return Named(each, Answer())
        return Named(each, await reader.get(Kind.of({"kind": each.kind}), parsed.namespace, each.name))

    return Answer(await asyncio.gather(*map(look, references(parsed))))


async def _secrets(reader: Reader, found: Gathered) -> dict[str, Answer[Json]]:
    """The Secrets that the spec, a child or a pod speaks of: their keys are told, their values looked for in texts."""
    templates = [each.get("spec") for each in [found.service, *found.found, *(found.pods.value or ())]]
    names = named_secrets(templates)
    names |= {each.reference.name for each in found.named.value or () if each.reference.kind == Kind.SECRET.title}
    ordered = sorted(names)
    wanted, beyond = ordered[:MOST_SECRETS], ordered[MOST_SECRETS:]
    answers = await asyncio.gather(*(reader.get(Kind.SECRET, found.namespace, name) for name in wanted))
    return dict(zip(wanted, answers, strict=True)) | {name: Answer(problem=TOO_MANY) for name in beyond}


async def _authorities(reader: Reader, found: Gathered) -> list[Named]:
    """The certificates that the operator's own default proxy names: the spec does not, the children mount them."""
    templates = [each["spec"]["template"] for each in found.found if each["kind"] in _WITH_PODS]
    known = {(each.reference.kind, each.reference.name) for each in found.named.value or ()}
    mounted = {each for template in templates for each in mounted_authorities(template)}
    missing = sorted(each for each in mounted if (each.kind, each.name) not in known)
    answers = await asyncio.gather(*(reader.get(Kind.CONFIG_MAP, found.namespace, each.name) for each in missing))
    return [Named(reference, answer) for reference, answer in zip(missing, answers, strict=True)]


async def _operator(reader: Reader, namespace: str, of_service: str) -> Operator:
    deployments, pods = await asyncio.gather(
        reader.find(Kind.DEPLOYMENT, namespace, MOST_PODS, labelSelector=OPERATOR_LABELS),
        reader.find(Kind.POD, namespace, MOST_PODS, labelSelector=OPERATOR_LABELS),
    )
    lease = await reader.get(Kind.LEASE, namespace, lease_name(deployments.value or [], of_service))
    return Operator(namespace, deployments, pods.of(_in_order), lease)


async def _operator_logs(reader: Reader, operator: Operator, namespace: str, name: str, tail: int) -> list[Log]:
    """The lines about one service: those about others' are nobody's business here."""
    logs = await asyncio.gather(
        *(
            _log(reader, operator.namespace, each, OPERATOR_LINES)
            for pod in operator.pods.value or ()
            for each in _logged(pod)
            if not each.previous
        )
    )
    words = [re.compile(rf"(?<![-a-z0-9.]){re.escape(word)}(?![-a-z0-9])") for word in (namespace, name)]

    def ours(text: str) -> str:
        lines = [line for line in text.splitlines() if all(word.search(line) for word in words)]
        return "".join(f"{line}\n" for line in lines[len(lines) - tail :])

    return [replace(log, answer=log.answer.of(ours)) for log in logs]


def _logged(pod: Json) -> Iterator[Log]:
    """Which logs there can be, not read yet."""
    status = pod.get("status", {})
    for each in [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]:
        if each.get("restartCount") or dig(each, "lastState", "terminated"):
            yield Log(pod["metadata"]["name"], each["name"], previous=True)
        if each.get("restartCount") or not dig(each, "state", "waiting"):
            yield Log(pod["metadata"]["name"], each["name"], previous=False)


async def _log(reader: Reader, namespace: str, log: Log, tail: int) -> Log:
    path = Kind.POD.path(namespace, log.pod, "log")
    query = {"container": log.container, "tailLines": str(tail), **({"previous": "true"} if log.previous else {})}
    return replace(log, answer=await reader.text(path, LOG_BYTES, **query))


def _serves(pod: Json) -> bool:
    """Whether there may be metrics to read."""
    component = dig(pod, "metadata", "labels", "app.kubernetes.io/component")
    return bool(component == RANKING and dig(pod, "status", "phase") == "Running")


async def _metrics(reader: Reader, pod: Json) -> tuple[str, Answer[str]]:
    name = pod["metadata"]["name"]
    proxied = Kind.POD.path(pod["metadata"]["namespace"], f"{name}:{contract.INTERNAL_PORT}", "proxy")
    return name, await reader.text(proxied + contract.METRICS_PATH, METRICS_BYTES)


def _in_order(pods: list[Json]) -> list[Json]:
    newest = sorted(pods, key=lambda pod: str(dig(pod, "metadata", "creationTimestamp")), reverse=True)
    return sorted(newest, key=lambda pod: is_ready(pod) or dig(pod, "status", "phase") == "Succeeded")


def _about(found: Gathered, events: list[Json]) -> list[Json]:
    """Events about the service, its children and pods, also about pods that are gone; the newest last."""
    known = {
        (each["kind"], each["metadata"]["name"]) for each in [found.service, *found.found, *(found.pods.value or ())]
    }
    name = re.escape(found.name)
    made = {
        "ReplicaSet": re.compile(rf"{name}-[a-z0-9]{{1,10}}"),
        "Pod": re.compile(rf"{name}-(model-)?[a-z0-9]{{1,10}}-[a-z0-9]{{5}}"),
        "Job": re.compile(rf"{name}-model-[0-9a-f]{{10}}"),
    }

    def ours(event: Json) -> bool:
        kind, of = str(dig(event, "involvedObject", "kind")), str(dig(event, "involvedObject", "name"))
        return (kind, of) in known or (kind in made and made[kind].fullmatch(of) is not None)

    return sorted(filter(ours, events), key=last_seen)
