"""When a real ranking is asked for, of whom, and by what name."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from probing import Ranker, Watch
from test_probe import RANKED, Secrets, certificate

from reranker_operator.api import Reason, RerankerService
from reranker_operator.reconcile.probe import (
    BEAT_SECONDS,
    OLDER_SECONDS,
    RETRY_SECONDS,
    Prober,
    Target,
    target_of,
)


def target(port: int, secrets: dict[str, str] | None = None, name: str = "docs") -> Target:
    """Where to ask for a ranking of a service whose Service has this address."""
    metadata = {"name": name, "namespace": "search", "uid": "7"}
    model = {"source": {"inImage": {"path": "/models/docs"}}}
    spec = {"model": model, "service": {"port": port}, "server": {"maxPassages": 2}}
    document = {"apiVersion": "reranking.dev/v1alpha1", "kind": "RerankerService", "metadata": metadata, "spec": spec}
    found = target_of(RerankerService.parse(document), {"spec": {"clusterIP": "127.0.0.1"}}, "t", secrets or {})
    assert found is not None
    return found


def scene(script: Callable[[Watch, Ranker], Awaitable[None]]) -> None:
    """Play a script with a Service and a prober of it."""

    async def play() -> None:
        ranker = Ranker()
        async with ranker.served() as port:
            await script(Watch(Secrets(), target(port)), ranker)

    asyncio.run(play())


@pytest.mark.parametrize(
    ("served", "reason", "seconds"),
    [
        ({}, Reason.RANKED, BEAT_SECONDS),
        ({"answer": "{}"}, Reason.RANKING_WRONG, RETRY_SECONDS),
        ({"status": 503}, Reason.OVERLOADED, RETRY_SECONDS),
        ({"revision": "older"}, Reason.RANKING_PENDING, OLDER_SECONDS),
    ],
    ids=["ranked", "wrong", "overloaded", "older"],
)
def test_it_is_asked_again_on_a_slow_beat_and_sooner_while_it_does_not_rank(
    served: dict[str, Any], reason: Reason, seconds: float
) -> None:
    assert OLDER_SECONDS < RETRY_SECONDS < BEAT_SECONDS == 300

    async def script(watch: Watch, ranker: Ranker) -> None:
        vars(ranker).update(served)
        assert (await watch.look()).reason is reason
        assert watch.due_in() == seconds
        watch.turn(seconds - 1)
        await watch.look()
        assert watch.due_in() == 1  # nothing is under way, or it would be the beat
        assert len(ranker.asked) == 1
        ranker.answer, ranker.status, ranker.revision = RANKED, 200, "t"
        watch.turn(1)
        assert (await watch.look()).reason is Reason.RANKED
        assert len(ranker.asked) == 2
        assert watch.due_in() == BEAT_SECONDS

    scene(script)


def test_a_pod_of_an_earlier_template_says_nothing_of_this_one() -> None:
    async def script(watch: Watch, ranker: Ranker) -> None:
        for revision in ("older", "", "older"):
            ranker.revision = revision
            probe = await watch.look()
            assert (probe.status.value, probe.reason, probe.milliseconds) == ("Unknown", Reason.RANKING_PENDING, None)
            assert "a pod of an earlier template answered" in probe.message
            watch.turn(OLDER_SECONDS)
        ranker.revision = "t"
        probe = await watch.look()
        assert (probe.status.value, probe.reason, probe.passages) == ("True", Reason.RANKED, 2)

    scene(script)


def test_who_looks_again_is_woken_for_what_is_new() -> None:
    async def script(watch: Watch, ranker: Ranker) -> None:
        await watch.look()
        assert watch.woken == 1
        watch.turn(BEAT_SECONDS)
        await watch.look()
        assert watch.woken == 1  # it ranks as before
        watch.turn(BEAT_SECONDS)
        ranker.answer = "{}"
        await watch.look()
        assert watch.woken == 2
        watch.turn(RETRY_SECONDS)
        await watch.look()
        assert watch.woken == 3  # or nobody would look again in time

    scene(script)


def test_it_is_asked_for_by_the_services_name_over_tls_too(tmp_path: Path) -> None:
    shown, context = certificate(tmp_path)

    async def play() -> tuple[Ranker, int]:
        ranker = Ranker()
        kube = Secrets(tls_crt=shown, operator=b"a-key-of-the-operator")
        async with ranker.served(context) as port:
            asked = target(port, {"tls": "docs-tls", "api-keys": "clients"})
            assert asked.url == f"https://127.0.0.1:{port}/v1/ranking"
            assert (await Watch(kube, asked).look()).reason is Reason.RANKED
        return ranker, port

    ranker, port = asyncio.run(play())
    assert ranker.asked == [(f"docs.search.svc:{port}", "Bearer a-key-of-the-operator")]
    assert ranker.names == ["docs.search.svc"]


@pytest.mark.parametrize(("told", "reason"), [(True, Reason.CERTIFICATE_PENDING), (False, Reason.RANKING_PENDING)])
def test_a_certificate_that_is_renewed_while_the_operator_restarts_leaves_ready_what_has_ranked(
    tmp_path: Path, told: bool, reason: Reason
) -> None:
    _served, context = certificate(tmp_path)
    renewed, _context = certificate(tmp_path)

    async def play() -> None:
        async with Ranker().served(context) as port:
            watch = Watch(Secrets(tls_crt=renewed), target(port, {"tls": "docs-tls"}), told=told)
            watch.turn(BEAT_SECONDS)
            assert (await watch.look()).reason is reason

    asyncio.run(play())


def test_after_a_restart_the_first_ones_are_spread_over_a_beat() -> None:
    now = [datetime.datetime(2026, 11, 25, tzinfo=datetime.UTC)]
    prober = Prober(Secrets(), lambda _key: None, lambda: now[0])  # type: ignore[arg-type]
    services = [target(8000, name=f"docs-{number}") for number in range(100)]
    waits = [prober.due_in(each, told=True) for each in services]
    for start in range(0, 300, 60):
        assert 10 <= sum(start <= each < start + 60 for each in waits) <= 30
    # What no earlier operator has told of is in a hurry.
    assert {prober.due_in(each, told=False) for each in services} == {0}
    now[0] += datetime.timedelta(seconds=BEAT_SECONDS)
    assert {prober.due_in(each, told=True) for each in services} == {0}
