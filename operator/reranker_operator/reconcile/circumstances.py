"""What a spec refers to, as it is just now: a rollout that failed is worth another try once something of it changed.

What a change is must be worth one: the content of a Secret or ConfigMap as far as it is used, a claim's spec, any write
to what has no status. Notes that others keep on an object, and a claim's status, would have a template that fails tried
over and over. No value leaves through it, only digests of keyed digests.
"""

import json
from typing import Any

from reranker_operator.api import RerankerService
from reranker_operator.api.rollout import OnFailure
from reranker_operator.api.runtime import Runtime
from reranker_operator.desired.metadata import FAILED, FAILED_WITH, annotation, digest
from reranker_operator.desired.revision import default_of_pods
from reranker_operator.kube import Kind, KubeError
from reranker_operator.kube.reflector import Knowledge
from reranker_operator.reconcile.cache import Cache
from reranker_operator.reconcile.contents import UNREADABLE, Contents
from reranker_operator.reconcile.progress import out_of_time
from reranker_operator.reconcile.references import KINDS, Reference, default_authorities, references

Circumstances = dict[str, list[str]]
"""Kind, name and key of what is referred to -> its version and, where that may be read, its content. What nothing is
known of is left out."""

_ABSENT = ["absent", "absent"]
_READ = (Kind.SECRET, Kind.CONFIG_MAP, Kind.CLAIM)
"""Kinds whose versions change with what is nobody's business here. The others have no status."""
_NOT_OF_THE_POD = "spec.ingress."


async def circumstances(
    cache: Cache, contents: Contents, service: RerankerService, deployment: dict[str, Any] | None
) -> Circumstances:
    """What holds for `service`; nothing where no rollout has failed or just fails, so that no Secret is read for it."""
    found: Circumstances = {}
    if annotation(deployment, FAILED) is None and not _fails(service, deployment):
        return found
    if service.spec.runtime is Runtime.NIM:
        found["default of spec.proxy"] = [default_of_pods(service) or "none"]
    for each in (*references(service), *default_authorities(service, deployment)):
        if each.field.startswith(_NOT_OF_THE_POD):
            continue
        if (state := await _state(cache, contents, service.namespace, each)) is not None:
            found[" ".join(filter(None, (each.kind, each.name, each.key)))] = state
    return found


def _fails(service: RerankerService, deployment: dict[str, Any] | None) -> bool:
    """Whether a rollout has run out of time and is about to be taken back: what holds now is what it failed with."""
    return service.spec.rollout.on_failure is OnFailure.ROLLBACK and out_of_time(deployment) is not None


def have_changed(before: Circumstances, now: Circumstances) -> bool:
    """Whether something that was known before, and is known now, is not what it was."""
    return any(_differ(before[name], state) for name, state in now.items() if name in before)


def noted(deployment: dict[str, Any] | None) -> Circumstances:
    """What held when the rollout failed that was taken back."""
    try:
        found: Circumstances = json.loads(annotation(deployment, FAILED_WITH) or "{}")
        return {name: [str(written), *map(str, content)] for name, (written, *content) in found.items()}
    except (ValueError, TypeError, AttributeError):  # somebody else's words
        return {}


def note(before: Circumstances, now: Circumstances) -> str | None:
    """What to note: also what nothing was known of at first, or what only a later operator looks at."""
    both = {**now, **before}
    return json.dumps(both, sort_keys=True, separators=(",", ":")) if both else None


def _differ(before: list[str], now: list[str]) -> bool:
    """By the content. Where that could not be read, before or now, by the version: what may not be read for a moment
    has not changed, and what may never be read has when it was written."""
    return before[-1] != now[-1] if len(before) == len(now) else before[0] != now[0]


async def _state(cache: Cache, contents: Contents, namespace: str, reference: Reference) -> list[str] | None:
    kind = KINDS[reference.kind]
    knowledge, identity = await cache.named(kind, namespace, reference.name)
    if knowledge is not Knowledge.WHOLE:
        return None
    if identity is None:
        return _ABSENT
    uid, version = identity["metadata"]["uid"], identity["metadata"]["resourceVersion"]
    written = digest([uid] if kind is Kind.CLAIM else [uid, version])
    if kind not in _READ:
        return [written]
    try:
        entries = await contents.entries(kind, namespace, reference.name)
    except KubeError:
        entries = UNREADABLE
    if entries is UNREADABLE:
        return [written]
    if entries is None:
        return _ABSENT
    held = entries if reference.key is None else entries.get(reference.key)
    return [written, digest([uid, held] if kind is Kind.CLAIM else held)]
