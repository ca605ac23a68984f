"""An API server that is overloaded, fails or says nothing: the operator gets there all the same."""

import pytest

from faults import CHEAP, Faulty, Scene
from localkube.faultproxy import Call, Match, every
from localkube.processes import wait_until
from rerankers import Json, Rerankers

EDITS = 10


@pytest.mark.parametrize(("status", "retry_after"), [(429, 1), pytest.param(500, None, marks=pytest.mark.long)])
def test_some_requests_fail(faulty: Faulty, scene: Scene, status: int, retry_after: int | None) -> None:
    with faulty.proxy.failing(status, share=0.3, retry_after=retry_after) as fault:
        for number in range(1, EDITS + 1):
            scene.edit()
            scene.rerankers.cluster.delete("v1", "Service", CHEAP[0], scene.rerankers.namespace)
            wait_until("requests to have failed", lambda least=2 * number: fault.met >= least, timeout=60)
    scene.converged()


@pytest.mark.parametrize(("status", "retry_after"), [(429, 1), (500, None)])
def test_every_request_fails_for_a_time(faulty: Faulty, scene: Scene, status: int, retry_after: int | None) -> None:
    with faulty.proxy.failing(status, retry_after=retry_after) as fault:
        faulty.proxy.cut_watches()
        scene.edit()
        scene.rerankers.delete(CHEAP[0])
        wait_until("requests to have failed", lambda: fault.met >= EDITS, timeout=60)
    scene.converged()


def deployments(namespace: str) -> Match:
    """Each try to write one."""
    return lambda call: (call.verb, call.resource, call.namespace) == ("patch", "deployments", namespace)


NOWHERE: Json = {
    "model": None,
    "runtime": "NIM",
    "image": {"repository": "registry.example/nim/none", "tag": "1"},
    "replicas": 0,
}
"""A service without a model Job or pods."""


@pytest.mark.long
def test_a_failure_that_is_told_in_ever_other_words_is_not_tried_again_at_once(faulty: Faulty, scene: Scene) -> None:
    """Each write of the status is an event, and no reason to try again: there are about as few tries as without one."""
    rerankers = scene.rerankers
    told, silent = (rerankers.at(f"{rerankers.namespace}-{name}") for name in ("told", "silent"))
    for each in (told, silent):
        rerankers.cluster.create_namespace(each.namespace)
    with (
        faulty.proxy.failing(500, deployments(told.namespace)) as ever_other,
        faulty.proxy.failing(500, deployments(silent.namespace), message="as before") as the_same,
    ):
        for each in (told, silent):
            each.apply("docs", **NOWHERE)
        wait_until("five tries in the same words", lambda: the_same.met >= 5, timeout=120)
        # What else is made wakes both, now and then once more.
        assert 1 <= ever_other.met <= 3 * the_same.met
    for each in (told, silent):
        rerankers.cluster.delete("v1", "Namespace", each.namespace)
    scene.converged()


@pytest.mark.long
@pytest.mark.parametrize(
    ("status", "words"),
    [
        # Server-side apply of a field that an older server does not know.
        (500, "failed to create typed patch object (apps/v1, Kind=Deployment): .spec.x: field not declared in schema"),
        (422, 'Deployment.apps "first" is invalid: spec.template.spec.x: Invalid value: "y"'),
    ],
    ids=["undeclared", "invalid"],
)
def test_what_is_refused_for_good_is_told_and_not_tried_again(
    faulty: Faulty, scene: Scene, status: int, words: str
) -> None:
    """Not while another failure, which may pass, is tried again and again."""
    rerankers = scene.rerankers
    elsewhere = rerankers.at(f"{rerankers.namespace}-{status}")
    rerankers.cluster.create_namespace(elsewhere.namespace)

    with faulty.proxy.failing(status, deployments(rerankers.namespace), message=words) as refused:
        made = rerankers.apply(CHEAP[0], replicas=0, server={"env": [{"name": "CHANGE", "value": "refused"}]})
        generation = made["metadata"]["generation"]
        told = rerankers.wait_condition(CHEAP[0], "Accepted", "False", "ChildRefused", generation=generation)
        assert words in told["message"]
        assert rerankers.condition(CHEAP[0], "Stalled")["status"] == "True"
        with faulty.proxy.failing(500, deployments(elsewhere.namespace)) as failing:
            elsewhere.apply("docs", **NOWHERE)
            wait_until("the other failure to have met four tries", lambda: failing.met >= 4, timeout=60)
            assert refused.met <= 2  # two watches tell of the edit
    rerankers.cluster.delete("v1", "Namespace", elsewhere.namespace)
    scene.edit(CHEAP[0])  # another spec is another matter
    scene.converged()


def test_no_request_is_answered_for_longer_than_the_lease_holds(faulty: Faulty, scene: Scene) -> None:
    """A leader that cannot renew its lease leads no more, whatever it was about to write."""
    with faulty.proxy.holding():
        scene.edit()
        scene.rerankers.delete(CHEAP[0])
        wait_until("the leader to step down", lambda: not faulty.operator.leads(), timeout=60)
    scene.converged()


@pytest.mark.long
def test_a_kind_that_cannot_be_listed_holds_up_only_what_refers_to_it(faulty: Faulty, scene: Scene) -> None:
    """As where a Secret cannot be decrypted: the operator comes to know of none. There are more such services than
    workers, so that none of these may wait for long."""
    rerankers = scene.rerankers
    variable = {"name": "A_TOKEN", "valueFrom": {"secretKeyRef": {"name": "none", "key": "none"}}}
    names = [f"reads-{number}" for number in range(10)]
    with faulty.proxy.failing(500, lambda call: (call.verb, call.resource) == ("list", "secrets")):
        faulty.operator.kill()  # what it knew is lost
        for name in names:
            rerankers.apply(name, replicas=0, server={"env": [variable]})
        for name in names:
            told = rerankers.wait_condition(name, "Progressing", "True", "ServerFailing")
            assert "secrets cannot be listed" in told["message"]
            assert "InternalError: injected" in told["message"]
        assert rerankers.condition(names[0], "Accepted")["status"] == "Unknown"
        assert rerankers.condition(names[0], "Ready")["reason"] == "ServerFailing"
        other = rerankers.apply("reads-nothing", replicas=0)
        generation = other["metadata"]["generation"]
        rerankers.wait_condition("reads-nothing", "Ready", "False", "Paused", generation=generation)
    for name in names:
        rerankers.wait_condition(name, "ReferencesResolved", "False", "NotFound")
        rerankers.delete(name)
    rerankers.delete("reads-nothing")
    scene.converged()


def of_secrets(call: Call) -> bool:
    return call.resource == "secrets"


@pytest.mark.long
def test_secrets_that_may_not_be_read_for_a_time_roll_nothing(faulty: Faulty, scene: Scene) -> None:
    """As where a Role is made anew."""
    rerankers = scene.rerankers
    put_token(rerankers, "one")
    variable = {"name": "A_TOKEN", "valueFrom": {"secretKeyRef": {"name": "tokens", "key": "used"}}}
    rerankers.apply("reads", replicas=0, server={"env": [variable]})
    before = rerankers.wait_deployment("reads", lambda found: found["spec"]["template"])
    with faulty.proxy.failing(403, of_secrets):
        faulty.proxy.cut_watches(of_secrets)
        rerankers.wait_status("reads", lambda found: "not checked" in resolved(found))
        assert rerankers.deployment("reads")["spec"]["template"] == before
    rerankers.wait_status("reads", lambda found: "not checked" not in resolved(found))
    assert rerankers.deployment("reads")["spec"]["template"] == before
    put_token(rerankers, "two")
    rerankers.wait_deployment("reads", lambda found: found["spec"]["template"] != before)
    assert rerankers.deployment("reads")["metadata"]["generation"] == 2
    rerankers.delete("reads")
    scene.converged()


def resolved(status: Json) -> str:
    (found,) = [each["message"] for each in status["conditions"] if each["type"] == "ReferencesResolved"]
    return str(found)


def put_token(rerankers: Rerankers, value: str) -> None:
    metadata = {"name": "tokens", "namespace": rerankers.namespace}
    rerankers.cluster.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"used": value}})


def test_every_request_is_counted(faulty: Faulty, scene: Scene) -> None:
    """What the other tests lean on: the proxy sees what the operator asks for, by verb and resource."""
    assert faulty.proxy.watching()
    assert faulty.proxy.counted(lambda call: (call.verb, call.resource) == ("patch", "deployments"))
    assert faulty.proxy.counted(lambda call: (call.verb, call.resource) == ("patch", "rerankerservices/status"))
    before = faulty.proxy.counted(every)
    scene.edit()
    scene.converged()
    assert faulty.proxy.counted(every) > before
