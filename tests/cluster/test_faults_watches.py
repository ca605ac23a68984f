"""Watches that break: whatever happened while nobody watched is found out, and put right."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from faults import CHEAP, REAL, Faulty, Scene
from localkube.faultproxy import Call, FaultProxy, Match, readings, watches
from localkube.processes import wait_until
from rerankers import API, KIND

Gap = Callable[[FaultProxy, Match], AbstractContextManager[None]]
"""A time during which nothing is heard of what matches."""


def running(proxy: FaultProxy, match: Match) -> int:
    """How many watches there are to be broken, once there are any: after a gap, a list may have told of all before."""
    return wait_until("a watch to run", lambda: proxy.watching(match) or None, timeout=60)


@contextmanager
def cut(proxy: FaultProxy, match: Match) -> Iterator[None]:
    """Watches are cut, and afterwards go on where they were."""
    running(proxy, match)
    with proxy.holding(lambda call: watches(call) and match(call)):
        assert proxy.cut_watches(match)
        yield


@contextmanager
def refused(proxy: FaultProxy, match: Match) -> Iterator[None]:
    """Watches are cut, and who would go on is answered 410: the server has forgotten where that was."""
    with proxy.failing(410, lambda call: watches(call) and match(call), times=running(proxy, match)) as fault:
        with cut(proxy, match):
            yield
        wait_until("each watch to be refused", lambda: fault.met == fault.times, timeout=60)


@contextmanager
def expired(proxy: FaultProxy, match: Match) -> Iterator[None]:
    """Watches end with the event ERROR, 410 Expired, and what is there can be listed only afterwards."""
    running(proxy, match)
    with proxy.holding(lambda call: readings(call) and match(call)):
        assert proxy.expire_watches(match)
        yield


def test_watches_that_are_cut_again_and_again(faulty: Faulty, scene: Scene) -> None:
    dropped = 0
    for _ in range(8):
        dropped += faulty.proxy.cut_watches()
        scene.edit()
        scene.rerankers.cluster.delete("v1", "Service", CHEAP[1], scene.rerankers.namespace)
        dropped += faulty.proxy.cut_watches()
        scene.edit()
    assert dropped
    scene.converged()


@pytest.mark.parametrize("gap", [cut, refused, expired])
def test_what_happens_while_nobody_watches(faulty: Faulty, scene: Scene, gap: Gap) -> None:
    rerankers, cluster, namespace = scene.rerankers, scene.rerankers.cluster, scene.rerankers.namespace
    first, second = CHEAP
    with gap(faulty.proxy, lambda _call: True):
        rerankers.delete(first)
        rerankers.apply("third", replicas=0)
        scene.edit(second)
        cluster.delete("v1", "Service", REAL, namespace)
        cluster.merge("v1", "ServiceAccount", second, {"automountServiceAccountToken": True}, namespace)
    scene.converged()
    assert cluster.get(API, KIND, first, namespace) is None

    # Of one kind only, so that no other watch tells of it.
    def of_services(call: Call) -> bool:
        return call.resource == "services"

    with gap(faulty.proxy, of_services):
        cluster.delete("v1", "Service", REAL, namespace)
        cluster.merge("v1", "Service", second, {"spec": {"selector": {"app": "other"}}}, namespace)
    scene.converged()


def test_a_ranking_is_asked_for_at_a_new_address_though_nothing_else_is_heard(faulty: Faulty, scene: Scene) -> None:
    """The round that makes the Service anew must ask for the ranking: the operator's own words may be all it hears."""
    with cut(faulty.proxy, lambda call: call.resource == "rerankerservices"):
        scene.rerankers.cluster.delete("v1", "Service", REAL, scene.rerankers.namespace)
        scene.converged()
