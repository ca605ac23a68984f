"""What a spec refers to, as it was when its rollout failed: which changes of it are worth another try."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import copy
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest

from reranker_operator.api import RerankerService
from reranker_operator.desired.metadata import FAILED
from reranker_operator.kube import ForbiddenError, Kind, KubeError, ServerError
from reranker_operator.reconcile.cache import Cache
from reranker_operator.reconcile.circumstances import Circumstances, circumstances, have_changed
from reranker_operator.reconcile.contents import KEY_SECRET, Contents
from reranker_operator.reconcile.references import references

Json = dict[str, Any]

SPEC = {
    "model": {
        "source": {
            "huggingFace": {"repository": "a/b", "revision": "0" * 40, "cache": {"existingClaim": "weights"}},
        }
    },
    "image": {"pullSecrets": [{"name": "registry"}]},
    "tls": {"secretName": "docs-tls"},
    "ingress": {"host": "rank.example.com", "tlsSecretName": "outer", "className": "nginx"},
    "proxy": {"caConfigMap": {"name": "company-ca", "key": "ca.crt"}},
    "pod": {"serviceAccountName": "docs", "priorityClassName": "high"},
}
FAILED_ONCE = {"metadata": {"annotations": {FAILED: "0123456789"}}}


def entry(value: str) -> str:
    return base64.b64encode(value.encode()).decode()


def things() -> dict[tuple[Kind, str], Json]:
    """What the spec refers to, and the operator's own key."""
    found: dict[tuple[Kind, str], Json] = {
        (Kind.SECRET, "registry"): {"data": {".dockerconfigjson": entry("{}")}},
        (Kind.SECRET, "docs-tls"): {"data": {"tls.crt": entry("broken"), "tls.key": entry("key"), "ca.crt": ""}},
        (Kind.SECRET, "outer"): {"data": {"tls.crt": entry("outer")}},
        (Kind.CONFIG_MAP, "company-ca"): {"data": {"ca.crt": "one", "notes": "of others"}},
        (Kind.CLAIM, "weights"): {"spec": {"accessModes": ["ReadWriteMany"]}, "status": {"phase": "Pending"}},
        (Kind.SERVICE_ACCOUNT, "docs"): {},
        (Kind.PRIORITY_CLASS, "high"): {"value": 5},
        (Kind.INGRESS_CLASS, "nginx"): {},
        (Kind.SECRET, KEY_SECRET): {"data": {"key": entry("the operator's own")}},
    }
    for (kind, name), each in found.items():
        namespace = {"namespace": "search"} if kind.value.namespaced else {}
        each |= {"kind": kind.title, "metadata": {"name": name, "uid": name, "resourceVersion": "5", **namespace}}
    return found


class Server:
    """In the API server's place."""

    def __init__(self, found: dict[tuple[Kind, str], Json], fails: dict[str, KubeError]) -> None:
        self.found, self.fails = found, fails
        self.read: set[str] = set()

    async def list_all(self, kind: Kind, *_: object, metadata_only: bool, **__: object) -> tuple[list[Json], str]:
        if metadata_only and (failure := self.fails.get(f"list {kind.title}")) is not None:
            raise failure
        return [each for (other, _), each in self.found.items() if metadata_only and other is kind], "5"

    async def watch(self, *_: object, **__: object) -> AsyncGenerator[tuple[str, Json]]:
        await asyncio.Event().wait()
        yield "BOOKMARK", {}

    async def get(self, kind: Kind, _namespace: str, name: str) -> Json | None:
        if (failure := self.fails.get(f"get {kind.title}")) is not None and name != KEY_SECRET:
            raise failure
        self.read.add(name)
        return self.found.get((kind, name))


def service(on_failure: str = "Hold") -> RerankerService:
    spec = SPEC | {"rollout": {"onFailure": on_failure}}
    metadata = {"name": "docs", "namespace": "search", "uid": "7"}
    document = {"apiVersion": "reranking.dev/v1alpha1", "kind": "RerankerService", "metadata": metadata, "spec": spec}
    return RerankerService.parse(document)


def looked_at(
    server: Server, deployment: Json | None = FAILED_ONCE, asked: RerankerService | None = None
) -> Circumstances:
    """What an operator finds that has just started."""

    async def look() -> Circumstances:
        cache = Cache(server, ["search"], lambda _key: None)  # type: ignore[arg-type]
        running = asyncio.create_task(cache.run())
        try:
            await cache.complete(lambda _words: None)
            contents = Contents(server, cache, "reranker-system")  # type: ignore[arg-type]
            return await circumstances(cache, contents, asked or service(), deployment)
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running

    return asyncio.run(look())


def after(
    change: Callable[[dict[tuple[Kind, str], Json]], object],
    *,
    before: dict[str, KubeError] | None = None,
    now: dict[str, KubeError] | None = None,
) -> bool:
    """Whether there is another try after this change; requests that fail did so `before`, or do so `now`."""
    found = things()
    then = looked_at(Server(found, before or {}))
    changed = copy.deepcopy(found)
    change(changed)
    return have_changed(then, looked_at(Server(changed, now or {})))


def written(kind: Kind, name: str, part: str = "", **entries: Any) -> Callable[[dict[tuple[Kind, str], Json]], None]:
    """The object has been written, with these entries in a part of it."""

    def change(found: dict[tuple[Kind, str], Json]) -> None:
        document = found[kind, name]
        document["metadata"]["resourceVersion"] = "6"
        if part:
            document[part] = {
                **document.get(part, {}),
                **{key.replace("_", "."): each for key, each in entries.items()},
            }

    return change


def gone(kind: Kind, name: str) -> Callable[[dict[tuple[Kind, str], Json]], object]:
    return lambda found: found.pop((kind, name))


def nothing(_found: dict[tuple[Kind, str], Json]) -> None:
    pass


WORTH_A_TRY = {
    "certificate": written(Kind.SECRET, "docs-tls", "data", tls_crt=entry("whole")),
    "pull-secret": written(Kind.SECRET, "registry", "data", _dockerconfigjson=entry("{'auths': {}}")),
    "authority": written(Kind.CONFIG_MAP, "company-ca", "data", ca_crt="two"),
    "bound-claim": written(Kind.CLAIM, "weights", "spec", volumeName="pv-1"),
    "another-claim": lambda found: found[Kind.CLAIM, "weights"]["metadata"].update(uid="another"),
    "account": written(Kind.SERVICE_ACCOUNT, "docs", imagePullSecrets=[]),
    "class": written(Kind.PRIORITY_CLASS, "high"),
    "gone": gone(Kind.SECRET, "registry"),
}
NOT_WORTH_ONE = {
    "nothing": nothing,
    "a-note-of-others": written(Kind.SECRET, "docs-tls", "metadata", annotations={"leader": "x"}),
    "an-entry-that-is-not-read": written(Kind.SECRET, "docs-tls", "data", ca_crt=entry("authority")),
    "another-key": written(Kind.CONFIG_MAP, "company-ca", "data", notes="more"),
    "made-again-as-it-was": lambda found: found[Kind.SECRET, "docs-tls"]["metadata"].update(uid="another"),
    "a-claims-status": written(Kind.CLAIM, "weights", "status", phase="Bound"),
    "the-ingress": written(Kind.SECRET, "outer", "data", tls_crt=entry("renewed")),
    "the-ingress-class": written(Kind.INGRESS_CLASS, "nginx"),
}


@pytest.mark.parametrize("change", WORTH_A_TRY.values(), ids=WORTH_A_TRY)
def test_a_change_of_what_pods_are_made_with_is_worth_another_try(change: Callable[[Any], object]) -> None:
    assert after(change)


@pytest.mark.parametrize("change", NOT_WORTH_ONE.values(), ids=NOT_WORTH_ONE)
def test_what_pods_are_not_made_with_is_not(change: Callable[[Any], object]) -> None:
    assert not after(change)


REFUSED = {
    "get Secret": ForbiddenError("no", status=403),
    "get PersistentVolumeClaim": ForbiddenError("no", status=403),
}
UNLISTED = {"list Secret": ForbiddenError("no", status=403), "list PriorityClass": ForbiddenError("no", status=403)}


@pytest.mark.parametrize(
    "failing", [REFUSED, UNLISTED, {"get Secret": ServerError("etcd", status=500)}], ids=["read", "list", "fault"]
)
def test_what_may_not_be_read_for_a_moment_has_not_changed(failing: dict[str, KubeError]) -> None:
    assert not after(nothing, now=failing)
    assert not after(nothing, before=failing)


def test_where_secrets_may_never_be_read_their_metadata_tell() -> None:
    assert after(WORTH_A_TRY["certificate"], before=REFUSED, now=REFUSED)
    assert not after(nothing, before=REFUSED, now=REFUSED)
    assert not after(NOT_WORTH_ONE["a-claims-status"], before=REFUSED, now=REFUSED)
    # What was noted without it is known by its version afterwards, too.
    assert after(WORTH_A_TRY["certificate"], before=REFUSED)


def test_nothing_is_read_where_no_rollout_has_failed() -> None:
    server = Server(things(), {})
    assert looked_at(server, deployment={"metadata": {}}) == looked_at(server, deployment=None) == {}
    assert server.read == set()


def test_what_a_rollout_fails_with_is_what_holds_when_it_does() -> None:
    """A round later it may be mended already, which would go unnoticed."""
    said = [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]
    fails = {"metadata": {}, "status": {"conditions": said}}
    assert looked_at(Server(things(), {}), fails, service("Rollback")) == looked_at(Server(things(), {}))
    assert looked_at(Server(things(), {}), fails, service("Hold")) == {}


def test_no_value_can_be_told_from_what_is_noted() -> None:
    """Not by guessing either: with another key of the operator's, the same values are noted otherwise."""
    found = things()
    one = looked_at(Server(found, {}))
    found[Kind.SECRET, KEY_SECRET]["data"]["key"] = entry("another operator's")
    other = looked_at(Server(found, {}))
    secrets = [name for name in one if name.startswith("Secret ")]
    assert secrets == ["Secret registry", "Secret docs-tls tls.crt", "Secret docs-tls tls.key"]
    assert all(one[name][1] != other[name][1] for name in secrets)
    assert {f"{each.kind} {each.name}" for each in references(service()) if "ingress" not in each.field} == {
        " ".join(name.split()[:2]) for name in one
    }
