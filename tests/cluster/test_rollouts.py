"""Rollouts: where there is no GPU to spare, where a new template fails, and where nothing should roll at all."""

import pytest
from certificates import Pair

from localkube.cluster import RUNTIME_IMAGE, Cluster
from localkube.images import Image
from localkube.operator_process import NAMESPACE, OperatorProcess
from rerankers import Json, Rerankers

ALL_OF_A_NODE = {"gpus": 2, "pod": {"annotations": {"try": "1"}}}
"""The cluster has one node with two GPUs: a second pod of this kind fits nowhere."""
BROKEN = {"env": [{"name": "RERANKER_WORKERS", "value": "none"}]}
"""The runtime refuses to start with this."""


def changed(number: int) -> Json:
    return {**ALL_OF_A_NODE, "pod": {"annotations": {"try": str(number)}}}


def strategy(deployment: Json) -> Json:
    update: Json = deployment["spec"]["strategy"]["rollingUpdate"]
    return update


def template(rerankers: Rerankers, name: str) -> Json:
    found: Json = rerankers.deployment(name)["spec"]["template"]
    return found


def uids(pods: list[Json]) -> list[str]:
    return sorted(pod["metadata"]["uid"] for pod in pods)


@pytest.mark.long
def test_auto_lets_an_old_pod_make_room_and_surges_again_afterwards(rerankers: Rerankers) -> None:
    rollout = {"surgeTimeoutSeconds": 1}
    rerankers.apply("docs", **ALL_OF_A_NODE, rollout=rollout)
    rerankers.wait_ready("docs")
    assert strategy(rerankers.deployment("docs")) == {"maxSurge": 1, "maxUnavailable": 0}
    (old,) = rerankers.pods("docs")
    rerankers.apply("docs", **changed(2), rollout=rollout)
    rerankers.wait_event("MakingRoom", "fits no node")
    rerankers.wait_ready("docs", generation=2)
    (new,) = rerankers.pods("docs")
    assert new["metadata"]["uid"] != old["metadata"]["uid"]
    rerankers.wait_deployment("docs", lambda found: strategy(found) == {"maxSurge": 1, "maxUnavailable": 0})


@pytest.mark.long
def test_surge_waits_with_the_old_pod_serving_and_replace_does_not(rerankers: Rerankers) -> None:
    rerankers.apply("docs", **ALL_OF_A_NODE, rollout={"strategy": "Surge"})
    rerankers.wait_ready("docs")
    rerankers.apply("docs", **changed(2), rollout={"strategy": "Surge"})
    waits = rerankers.wait_condition("docs", "Progressing", "True", "Unschedulable", generation=2)
    assert "spec.rollout.strategy to Auto or Replace" in waits["message"]
    assert rerankers.condition("docs", "Ready")["status"] == "False"
    assert len(rerankers.rank("docs", "q", ["a", "b"])["rankings"]) == 2
    rerankers.apply("docs", **changed(2), rollout={"strategy": "Replace"})
    rerankers.wait_ready("docs", generation=3)
    assert strategy(rerankers.deployment("docs")) == {"maxSurge": 0, "maxUnavailable": 1}


@pytest.mark.long
def test_a_failed_rollout_is_taken_back_and_stays_so_until_the_spec_changes(
    rerankers: Rerankers, operator: OperatorProcess
) -> None:
    rollout = {"onFailure": "Rollback", "progressDeadlineSeconds": 10}
    rerankers.apply("docs", rollout=rollout)
    rerankers.wait_ready("docs")
    good, pods = template(rerankers, "docs"), rerankers.pods("docs")
    rerankers.apply("docs", rollout=rollout, server=BROKEN)
    crash = rerankers.wait_condition("docs", "Progressing", "True", "Crashing", generation=2)
    assert "RERANKER_WORKERS" in crash["message"]
    stalled = rerankers.wait_condition("docs", "Stalled", "True", "RolledBack", generation=2)
    assert "serves again" in stalled["message"]
    assert rerankers.condition("docs", "Ready")["reason"] == "RolledBack"
    rerankers.wait_deployment("docs", lambda found: found["spec"]["template"] == good)
    assert set(uids(pods)) <= set(uids(rerankers.pods("docs")))
    assert len(rerankers.rank("docs", "q", ["a", "b"])["rankings"]) == 2

    # What was decided is read back from the cluster.
    operator.restart()
    rerankers.cluster.kubectl("-n", rerankers.namespace, "annotate", "rrs", "docs", "looked=again")
    rerankers.apply("docs", rollout=rollout, server=BROKEN, service={"labels": {"a": "b"}})
    rerankers.wait_condition("docs", "Stalled", "True", "RolledBack", generation=3)
    assert template(rerankers, "docs") == good

    rerankers.apply("docs", rollout=rollout)
    rerankers.wait_ready("docs", generation=4)
    assert set(uids(pods)) <= set(uids(rerankers.pods("docs")))
    # The spec moved on: the same one again is another try.
    rerankers.apply("docs", rollout=rollout, server=BROKEN)
    rerankers.wait_condition("docs", "Progressing", "True", "Crashing", generation=5)


@pytest.mark.long
def test_a_failed_rollout_is_taken_back_where_there_is_room_for_one_pod_alone(rerankers: Rerankers) -> None:
    """The failed pod holds the GPUs that the earlier template needs again."""
    rollout = {"onFailure": "Rollback", "progressDeadlineSeconds": 15, "surgeTimeoutSeconds": 1}
    rerankers.apply("docs", **ALL_OF_A_NODE, rollout=rollout)
    rerankers.wait_ready("docs")
    good = template(rerankers, "docs")
    # What is refused beside it keeps nothing from being taken back.
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}}
    hard = {"hard": {"count/ingresses.networking.k8s.io": "0"}}
    rerankers.cluster.apply({**quota, "spec": hard}, namespace=rerankers.namespace)
    rerankers.cluster.wait(
        "v1", "ResourceQuota", "none", lambda found: found.get("status", {}).get("hard"), namespace=rerankers.namespace
    )
    outside = {"ingress": {"host": "rank.example.com"}}
    rerankers.apply("docs", **ALL_OF_A_NODE, rollout=rollout, server=BROKEN, **outside)
    refused = rerankers.wait_condition("docs", "Accepted", "False", "ChildRefused", generation=2)
    assert "exceeded quota" in refused["message"]
    rerankers.wait_condition("docs", "Stalled", "True", "RolledBack", generation=2)

    def as_before(found: Json) -> bool:
        status = found["status"]
        return found["spec"]["template"] == good and status.get("readyReplicas") == status.get("updatedReplicas") == 1

    rerankers.wait_deployment("docs", as_before)
    assert len(rerankers.rank("docs", "q", ["a", "b"])["rankings"]) == 2


@pytest.mark.long
def test_a_failed_rollout_that_is_held_says_so_with_the_cause(rerankers: Rerankers) -> None:
    rerankers.apply("docs", rollout={"progressDeadlineSeconds": 10}, server=BROKEN)
    stalled = rerankers.wait_condition("docs", "Stalled", "True", "ProgressDeadlineExceeded")
    assert "RERANKER_WORKERS" in stalled["message"]


def env_of(secret: str, key: str) -> Json:
    return {"env": [{"name": "A_TOKEN", "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}]}


def put(rerankers: Rerankers, name: str, **entries: str) -> None:
    rerankers.cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": rerankers.namespace},
            "stringData": entries,
        }
    )


WORKERS = {"env": [{"name": "RERANKER_WORKERS", "valueFrom": {"secretKeyRef": {"name": "given", "key": "workers"}}}]}


@pytest.mark.long
@pytest.mark.parametrize("how", ["read", "mounted"])
def test_a_failed_rollout_is_tried_again_once_the_secret_that_it_names_is_put_right(
    rerankers: Rerankers, operator: OperatorProcess, how: str
) -> None:
    """A variable's value is part of the template; a certificate is reloaded, and so is not."""
    pair = Pair.make("docs")
    change: Json = {"server": WORKERS} if how == "read" else {"tls": {"secretName": "given"}}
    rollout = {"onFailure": "Rollback", "progressDeadlineSeconds": 10}
    rerankers.apply("docs", rollout=rollout)
    rerankers.wait_ready("docs")
    good = template(rerankers, "docs")
    put(rerankers, "given", **{"workers": "none", "tls.crt": "no certificate", "tls.key": pair.key().decode()})
    rerankers.apply("docs", rollout=rollout, **change)
    rerankers.wait_condition("docs", "Stalled", "True", "RolledBack", generation=2)
    rerankers.wait_deployment("docs", lambda found: found["spec"]["template"] == good)

    # Neither another operator nor what others note on the Secret is a change, nor what no template is made of.
    operator.restart()
    rerankers.cluster.merge("v1", "Secret", "given", {"metadata": {"annotations": {"a": "b"}}}, rerankers.namespace)
    rerankers.apply("docs", rollout={**rollout, "progressDeadlineSeconds": 600}, **change)
    rerankers.wait_condition("docs", "Stalled", "True", "RolledBack", generation=3)
    assert template(rerankers, "docs") == good

    put(rerankers, "given", **{"workers": "1", "tls.crt": pair.cert.decode(), "tls.key": pair.key().decode()})
    rerankers.wait_ready("docs", generation=3)
    assert template(rerankers, "docs") != good
    assert rerankers.condition("docs", "Stalled")["status"] == "False"
    notes = rerankers.deployment("docs")["metadata"]["annotations"]
    assert not {"reranking.dev/failed", "reranking.dev/failed-with"} & notes.keys()


def test_a_rotated_secret_rolls_what_reads_it_and_nothing_else(rerankers: Rerankers) -> None:
    put(rerankers, "tokens", used="a-first-value", other="one")
    rerankers.apply("reads", replicas=0, server=env_of("tokens", "used"))
    rerankers.apply("reads-other", replicas=0, server=env_of("tokens", "other"))
    rerankers.apply("keys", replicas=0, authentication={"apiKeysSecret": {"name": "tokens"}})
    names = ("reads", "reads-other", "keys")
    before = {name: rerankers.wait_deployment(name, lambda found: found["spec"]["template"]) for name in names}
    assert "a-first-value" not in str(before["reads"])
    put(rerankers, "tokens", used="two", other="one")
    after = rerankers.wait_deployment(
        "reads", lambda found: found["spec"]["template"] != before["reads"] and found["spec"]["template"]
    )
    only = {"reranking.dev/inputs"}
    was, now = before["reads"]["metadata"]["annotations"], after["metadata"]["annotations"]
    assert {key for key in now if now[key] != was.get(key)} == only
    # A second change, whose effect is waited for: had the first one touched the others, it would show by now.
    put(rerankers, "tokens", used="two", other="two")
    rerankers.wait_deployment("reads-other", lambda found: found["metadata"]["generation"] == 2)
    assert template(rerankers, "keys") == before["keys"]
    assert rerankers.deployment("reads")["metadata"]["generation"] == 2


def test_a_secret_that_vanishes_rolls_nothing(rerankers: Rerankers) -> None:
    put(rerankers, "tokens", used="one")
    rerankers.apply("docs", replicas=0, server=env_of("tokens", "used"))
    before = rerankers.wait_deployment("docs", lambda found: found["spec"]["template"])
    rerankers.cluster.delete("v1", "Secret", "tokens", rerankers.namespace)
    rerankers.wait_condition("docs", "ReferencesResolved", "False", "NotFound")
    assert template(rerankers, "docs") == before
    put(rerankers, "tokens", used="one")
    rerankers.wait_condition("docs", "ReferencesResolved", "True")
    assert template(rerankers, "docs") == before


@pytest.mark.long
def test_the_digest_of_a_value_is_keyed_by_what_only_the_operator_holds(
    rerankers: Rerankers, operator: OperatorProcess
) -> None:
    """Whoever reads templates cannot try values: under another key the same value has another digest."""
    put(rerankers, "tokens", used="a-weak-one")
    rerankers.apply("docs", replicas=0, server=env_of("tokens", "used"))
    before = rerankers.wait_deployment("docs", lambda found: found["spec"]["template"])["metadata"]["annotations"]
    operator.stop()
    rerankers.cluster.delete("v1", "Secret", "reranker-operator-key", NAMESPACE)
    operator.start()
    changed = rerankers.wait_deployment(
        "docs", lambda found: found["spec"]["template"]["metadata"]["annotations"] != before and found
    )
    after = changed["spec"]["template"]["metadata"]["annotations"]
    assert {key for key in after if after[key] != before.get(key)} == {"reranking.dev/inputs"}


def test_an_upgrade_of_the_operator_rolls_nothing_until_the_spec_changes(
    rerankers: Rerankers, operator: OperatorProcess, cluster: Cluster
) -> None:
    newer = "ghcr.io/reranker-operator/reranker-runtime:9.9.9"
    old = cluster.images[RUNTIME_IMAGE]
    cluster.add_image(Image(newer, entrypoint=old.entrypoint, files=old.files, env=old.env, user=old.user))
    rerankers.apply("docs", replicas=0)
    before = rerankers.wait_deployment("docs", lambda found: found["spec"]["template"])
    rerankers.wait_condition("docs", "Available", "False", "Paused")
    jobs = rerankers.jobs("docs")
    with operator.started_with("--runtime-image", newer):
        # A new service shows that the new operator is at work.
        rerankers.apply("fresh", replicas=0)
        fresh = rerankers.wait_deployment("fresh", lambda found: found["spec"]["template"])
        assert fresh["spec"]["containers"][0]["image"] == newer
        rerankers.apply("docs", replicas=0, service={"labels": {"touched": "yes"}})
        rerankers.wait_condition("docs", "Available", "False", "Paused", generation=2)
        assert template(rerankers, "docs") == before
        assert rerankers.jobs("docs") == jobs
        rerankers.apply("docs", replicas=0, server={"logLevel": "debug"})
        rolled = rerankers.wait_deployment(
            "docs", lambda found: found["spec"]["template"] != before and found["spec"]["template"]
        )
        assert rolled["spec"]["containers"][0]["image"] == newer
