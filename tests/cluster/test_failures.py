"""Whatever is wrong is named in a condition with its remedy, and the old pods go on serving."""

import json
from pathlib import Path

import pytest

from localkube.cluster import Cluster
from localkube.settings import PROBE_SECONDS
from rerankers import Json, Rerankers, spec_of
from standin import StandIn


def test_a_wrong_model_directory_is_known_while_the_old_pods_serve(rerankers: Rerankers) -> None:
    rerankers.apply("docs")
    rerankers.wait_ready("docs")
    (old,) = rerankers.pods("docs")
    template = rerankers.deployment("docs")["spec"]["template"]
    rerankers.apply("docs", model={"source": {"inImage": {"path": "/models/nothing-here"}}})
    refused = rerankers.wait_condition("docs", "ModelVerified", "False", "ModelRefused", generation=2)
    assert "/models/nothing-here" in refused["message"]
    stalled = rerankers.condition("docs", "Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", "ModelRefused")
    assert rerankers.condition("docs", "Ready")["status"] == "False"
    assert "1 pod(s) of an earlier template go on serving" in rerankers.condition("docs", "Available")["message"]
    assert rerankers.deployment("docs")["spec"]["template"] == template
    assert [pod["metadata"]["uid"] for pod in rerankers.pods("docs")] == [old["metadata"]["uid"]]
    assert len(rerankers.rank("docs", "q", ["a", "b"])["rankings"]) == 2
    rerankers.wait_event("ModelRefused", "/models/nothing-here")

    rerankers.apply("docs")
    rerankers.wait_ready("docs", generation=3)
    assert [pod["metadata"]["uid"] for pod in rerankers.pods("docs")] == [old["metadata"]["uid"]]


def test_a_wrong_digest_is_refused_with_both_digests(rerankers: Rerankers) -> None:
    model = {**spec_of()["model"], "digest": f"sha256:{'0' * 64}"}
    rerankers.apply("docs", model=model)
    refused = rerankers.wait_condition("docs", "ModelVerified", "False", "DigestMismatch")
    assert "0" * 64 in refused["message"]
    assert rerankers.small_model_digest() in refused["message"]
    assert rerankers.pods("docs") == []
    rerankers.apply("docs", model={**model, "digest": rerankers.small_model_digest()})
    rerankers.wait_condition("docs", "ModelVerified", "True", generation=2)


NO_KEY = {"key": "nowhere", "path": "x"}
"""Of a volume's items: the kubelet waits for it, and the pod stays in ContainerCreating."""


def test_a_missing_secret_is_named_and_waited_for(rerankers: Rerankers) -> None:
    secret = {"secretKeyRef": {"name": "tokens", "key": "hub"}}
    rerankers.apply("docs", server={"env": [{"name": "TOKEN", "valueFrom": secret}]})
    missing = rerankers.wait_condition("docs", "ReferencesResolved", "False", "NotFound")
    assert f"Secret tokens does not exist in namespace {rerankers.namespace}" in missing["message"]
    assert "spec.server.env[TOKEN]" in missing["message"]
    assert rerankers.jobs("docs") == []
    kubectl, where = rerankers.cluster.kubectl, ("-n", rerankers.namespace)
    kubectl(*where, "create", "secret", "generic", "tokens", "--from-literal=other=x")
    rerankers.wait_status("docs", lambda found: "has no key hub" in json.dumps(found))
    kubectl(*where, "patch", "secret", "tokens", "--patch", '{"stringData": {"hub": "y"}}')
    rerankers.wait_condition("docs", "ReferencesResolved", "True")
    rerankers.wait_job("docs")


HUB: Json = {
    "repository": "a/b",
    "revision": "0123456789abcdef0123456789abcdef01234567",
    "endpoint": "http://127.0.0.1:1",
    "cache": {"size": "1Gi", "storageClassName": "nowhere"},
}
CLAIM: Json = {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}
OF_THE_CLUSTER = {"PriorityClass", "RuntimeClass", "StorageClass"}


@pytest.mark.parametrize(
    ("spec", "version", "kind", "content"),
    [
        (
            {"model": {"source": {"persistentVolumeClaim": {"claimName": "nowhere"}}}},
            "v1",
            "PersistentVolumeClaim",
            CLAIM,
        ),
        ({"model": {"source": {"huggingFace": HUB}}}, "storage.k8s.io/v1", "StorageClass", {"provisioner": "a/b"}),
        ({"image": {"pullSecrets": [{"name": "nowhere"}]}}, "v1", "Secret", {}),
        ({"pod": {"serviceAccountName": "nowhere"}}, "v1", "ServiceAccount", {}),
        ({"pod": {"priorityClassName": "nowhere"}}, "scheduling.k8s.io/v1", "PriorityClass", {"value": 1}),
        ({"pod": {"runtimeClassName": "nowhere"}}, "node.k8s.io/v1", "RuntimeClass", {"handler": "runc"}),
        ({"pod": {"volumes": [{"name": "x", "configMap": {"name": "nowhere"}}]}}, "v1", "ConfigMap", {}),
    ],
)
def test_every_kind_of_missing_reference_is_named_and_found_when_it_appears(
    rerankers: Rerankers, spec: Json, version: str, kind: str, content: Json
) -> None:
    namespace = None if kind in OF_THE_CLUSTER else rerankers.namespace
    rerankers.apply("docs", replicas=0, **spec)
    missing = rerankers.wait_condition("docs", "ReferencesResolved", "False", "NotFound")["message"]
    where = "(named" if kind in OF_THE_CLUSTER else f"in namespace {rerankers.namespace}"
    assert f"{kind} nowhere does not exist {where}" in missing
    made = {"apiVersion": version, "kind": kind, "metadata": {"name": "nowhere"}, **content}
    rerankers.cluster.apply(made, namespace=namespace)
    try:
        rerankers.wait_condition("docs", "ReferencesResolved", "True", "Resolved")
    finally:
        if namespace is None:
            rerankers.cluster.delete(version, kind, "nowhere")


def test_a_key_that_a_volume_names_and_is_not_there_is_named(rerankers: Rerankers) -> None:
    config_map = {"name": "kube-root-ca.crt", "items": [NO_KEY]}
    rerankers.apply("docs", replicas=0, pod={"volumes": [{"name": "x", "configMap": config_map}]})
    missing = rerankers.wait_condition("docs", "ReferencesResolved", "False", "NotFound")["message"]
    assert "ConfigMap kube-root-ca.crt has no key nowhere in namespace" in missing


@pytest.mark.parametrize("name", ["../../kube-system/secrets/any", "..", "../../../../../healthz", "a?watch=true", ""])
def test_a_name_that_is_a_path_leads_nowhere(rerankers: Rerankers, name: str) -> None:
    """It is looked up nowhere else: not in another namespace, and not as another request."""
    secret = {"secretKeyRef": {"name": name, "key": "k"}}
    rerankers.apply("docs", server={"env": [{"name": "TOKEN", "valueFrom": secret}]})
    missing = rerankers.wait_condition("docs", "ReferencesResolved", "False", "NotFound")
    assert f"Secret {name} does not exist in namespace {rerankers.namespace}" in missing["message"]


@pytest.mark.long
def test_a_server_that_fails_is_told_and_tried_again(rerankers: Rerankers) -> None:
    """A webhook for Deployments that cannot be reached, and that must be."""
    name = f"down-{rerankers.namespace}"
    rule = {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["*"], "resources": ["deployments"]}
    webhook = {
        "name": "down.example.com",
        "rules": [rule],
        "clientConfig": {"url": "https://127.0.0.1:1/"},
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": rerankers.namespace}},
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": "Fail",
    }
    kind = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration"}
    rerankers.cluster.apply({**kind, "metadata": {"name": name}, "webhooks": [webhook]})
    try:
        rerankers.apply("docs")
        told = rerankers.wait_condition("docs", "Progressing", "True", "ServerFailing")
        assert "down.example.com" in told["message"]
        assert rerankers.condition("docs", "Accepted")["status"] == "Unknown"
        assert rerankers.condition("docs", "Ready")["reason"] == "ServerFailing"
    finally:
        rerankers.cluster.delete(kind["apiVersion"], kind["kind"], name)
    rerankers.wait_ready("docs")


def test_pods_that_pod_security_refuses_are_named(rerankers: Rerankers, tmp_path: Path) -> None:
    cluster, namespace = rerankers.cluster, rerankers.namespace
    cluster.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    rerankers.apply("docs", model={"source": {"hostPath": {"path": str(tmp_path)}}})
    refused = rerankers.wait_condition("docs", "Progressing", "True", "PodCreationRefused")
    assert "violates PodSecurity" in refused["message"]
    assert "hostPath" in refused["message"]


def test_pods_that_a_quota_refuses_are_named(rerankers: Rerankers) -> None:
    rerankers.cluster.kubectl("-n", rerankers.namespace, "create", "quota", "none", "--hard=pods=0")
    rerankers.apply("docs")
    refused = rerankers.wait_condition("docs", "Progressing", "True", "PodCreationRefused")
    assert "exceeded quota: none" in refused["message"]


def test_scarce_gpus_are_named(rerankers: Rerankers) -> None:
    rerankers.apply("docs", gpus=16)
    waiting = rerankers.wait_condition("docs", "Progressing", "True", "Unschedulable")
    assert "Insufficient nvidia.com/gpu" in waiting["message"]
    ready = rerankers.wait_condition("docs", "Ready", "False", "Unschedulable")
    assert "Insufficient nvidia.com/gpu" in ready["message"]


def test_an_image_that_cannot_be_pulled_is_named(rerankers: Rerankers) -> None:
    rerankers.apply("docs", image={"repository": "example/nowhere", "tag": "1"})
    waiting = rerankers.wait_condition("docs", "Progressing", "True", "ImagePull")
    assert "example/nowhere:1" in waiting["message"]


def test_a_crash_is_named_with_its_last_words(rerankers: Rerankers) -> None:
    rerankers.apply("docs", server={"env": [{"name": "RERANKER_DEVICE", "value": "abacus"}]})
    crashing = rerankers.wait_condition("docs", "Progressing", "True", "Crashing")
    assert "exit code 2" in crashing["message"]
    assert "RERANKER_DEVICE=abacus" in crashing["message"]


@pytest.mark.long
def test_a_pod_that_ceases_to_live_is_named_with_what_ended_it(rerankers: Rerankers, stand_in: StandIn) -> None:
    """It ends in an orderly way, as the runtime does that the kubelet ends: with exit code 0."""
    rerankers.apply("docs", pod={"annotations": {PROBE_SECONDS: "0.2"}}, **stand_in.spec)
    rerankers.wait_ready("docs")
    stand_in.cease_to_live()
    failing = rerankers.wait_condition("docs", "Progressing", "True", "ProbesFailing")
    (pod,) = rerankers.pods("docs")
    assert f"pod {pod['metadata']['name']}, container ranking" in failing["message"]
    assert "startup or liveness probe failed" in failing["message"]
    assert rerankers.condition("docs", "Ready")["reason"] == "ProbesFailing"
    stand_in.say(0.0)
    rerankers.wait_ready("docs")


def test_last_words_that_repeat_a_secret_are_told_without_it(rerankers: Rerankers) -> None:
    metadata = {"name": "tokens", "namespace": rerankers.namespace}
    rerankers.cluster.apply(
        {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"hub": "planted secret"}}
    )
    of_secret = {"secretKeyRef": {"name": "tokens", "key": "hub"}}
    rerankers.apply("docs", server={"env": [{"name": "RERANKER_DEVICE", "valueFrom": of_secret}]})
    crashing = rerankers.wait_condition("docs", "Progressing", "True", "Crashing")
    assert "RERANKER_DEVICE=[redacted]" in crashing["message"]
    assert "planted" not in str(rerankers.status("docs"))


def test_a_host_path_is_refused_unless_allowed(rerankers: Rerankers) -> None:
    rerankers.apply("docs", model={"source": {"hostPath": {"path": "/etc/secrets"}}})
    refused = rerankers.wait_condition("docs", "Accepted", "False", "HostPathNotAllowed")
    assert "--allow-host-path" in refused["message"]
    assert rerankers.jobs("docs") == []


def test_a_model_that_changes_under_a_pod_is_named(rerankers: Rerankers, tmp_path: Path) -> None:
    """A directory of a node can be another one tomorrow: each pod checks it whole, and says what it found."""
    directory = tmp_path / "model"
    tmp_path.chmod(0o755)
    rerankers.put_model(directory)
    rerankers.apply("docs", model={"source": {"hostPath": {"path": str(directory)}}})
    rerankers.wait_ready("docs")
    weights = next(directory.glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1000])
    (pod,) = rerankers.pods("docs")
    rerankers.cluster.delete("v1", "Pod", pod["metadata"]["name"], rerankers.namespace)
    named = rerankers.wait_condition("docs", "Progressing", "True", "ModelCheckFailed")
    assert weights.name in named["message"]
    assert rerankers.condition("docs", "Ready")["status"] == "False"


def test_example_host_directory(rerankers: Rerankers, tmp_path: Path, repository: Path) -> None:
    """The example with its directory moved to where a test may write."""
    example = (repository / "examples/host-directory.yaml").read_text()
    file = tmp_path / "example.yaml"
    file.write_text(example.replace("/srv/models/", f"{tmp_path}/"))
    tmp_path.chmod(0o755)
    rerankers.put_model(tmp_path / "my-reranker")
    rerankers.cluster.apply_file(file, namespace=rerankers.namespace)
    rerankers.wait_ready("from-host")
    assert len(rerankers.rank("from-host", "q", ["a", "b"])["rankings"]) == 2


def test_a_field_that_the_server_refuses_in_a_child_is_told_in_its_words(rerankers: Rerankers) -> None:
    """A toleration that the CRD's schema lets pass and the Deployment's validation does not."""
    rerankers.apply("docs", pod={"tolerations": [{"key": "a", "operator": "Exists", "value": "b"}]})
    refused = rerankers.wait_condition("docs", "Accepted", "False", "ChildRefused")
    assert "value must be empty when `operator` is 'Exists'" in refused["message"]
    rerankers.apply("docs", pod={})
    rerankers.wait_condition("docs", "Accepted", "True", generation=2)


def test_a_spec_written_by_another_version_is_left_alone(rerankers: Rerankers, cluster: Cluster) -> None:
    crd = "rerankerservices.reranking.dev"
    path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/gpus/maximum"
    cluster.kubectl(
        "patch", "crd", crd, "--type=json", "--patch", json.dumps([{"op": "replace", "path": path, "value": 99}])
    )
    try:
        cluster.kubectl(
            "-n", rerankers.namespace, "apply", "-f", "-", stdin=json.dumps(rerankers.manifest("docs", gpus=99))
        )
        refused = rerankers.wait_condition("docs", "Accepted", "False", "Invalid")
        assert "spec.gpus: Input should be less than or equal to 64" in refused["message"]
        assert rerankers.jobs("docs") == []
    finally:
        cluster.kubectl(
            "patch", "crd", crd, "--type=json", "--patch", json.dumps([{"op": "replace", "path": path, "value": 64}])
        )
