"""Resources that a newer version of the CustomResourceDefinition let in: told of, and left alone."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from localkube.cluster import Cluster
from localkube.operator_process import OperatorProcess
from localkube.processes import wait_until
from rerankers import API, KIND, Json, Rerankers

ROOT = Path(__file__).parents[2]
CRD = "rerankerservices.reranking.dev"
CHILDREN = (
    ("apps/v1", "Deployment"),
    ("v1", "Service"),
    ("v1", "ServiceAccount"),
    ("batch/v1", "Job"),
    ("apps/v1", "ControllerRevision"),
)


def newer(document: Json) -> Json:
    """The CustomResourceDefinition of a version to come: fields, words and a status that this one does not know."""
    made = copy.deepcopy(document)
    (version,) = made["spec"]["versions"]
    properties = version["schema"]["openAPIV3Schema"]["properties"]
    spec, status = properties["spec"]["properties"], properties["status"]["properties"]
    spec["speculation"] = {"type": "object", "properties": {"depth": {"type": "integer"}}}
    spec["server"]["properties"]["warmth"] = {"type": "string"}
    spec["rollout"]["properties"]["strategy"]["enum"].append("BlueGreen")
    spec["pod"]["properties"]["tolerations"]["items"]["properties"]["mood"] = {"type": "string"}
    status["mood"] = {"type": "string"}
    # Another version, in which objects are stored from now on.
    later = {**copy.deepcopy(version), "name": "v1beta1"}
    version["storage"] = False
    made["spec"]["versions"].append(later)
    return made


@pytest.fixture
def tomorrow(cluster: Cluster, operator: OperatorProcess) -> Iterator[None]:
    """Such a one is installed, as by a newer release that was then taken back."""
    (document,) = yaml.safe_load_all((ROOT / "crds/reranking.dev_rerankerservices.yaml").read_text())
    made = newer(document)
    flags = ["--server-side", "--force-conflicts", "-f", "-"]
    cluster.kubectl("apply", *flags, stdin=json.dumps(made))
    cluster.wait(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        CRD,
        lambda item: "v1beta1" in item["status"]["storedVersions"],
    )
    yield
    # Back again. What is stored as v1beta1 could never be read any more, and nothing tells when the server stores as
    # v1alpha1 again: so nothing stays.
    cluster.kubectl("delete", "rrs", "--all", "--all-namespaces")
    for each in made["spec"]["versions"]:
        each["storage"] = each["name"] == "v1alpha1"
    cluster.kubectl("apply", *flags, stdin=json.dumps(made))
    patch = json.dumps({"status": {"storedVersions": ["v1alpha1"]}})
    cluster.kubectl("patch", "crd", CRD, "--subresource=status", "--type=merge", "-p", patch)
    cluster.kubectl("apply", *flags, stdin=json.dumps(document))


def children(rerankers: Rerankers) -> dict[str, Json]:
    """Everything that was made for the service, but for what controllers write into it."""
    found: dict[str, Json] = {}
    for version, kind in CHILDREN:
        for each in rerankers.cluster.objects(
            version, kind, rerankers.namespace, {"app.kubernetes.io/instance": "docs"}
        ):
            kept = {key: value for key, value in each.items() if key != "status"}
            kept["metadata"] = {
                k: v for k, v in each["metadata"].items() if k not in ("resourceVersion", "managedFields")
            }
            found[f"{kind}/{each['metadata']['name']}"] = kept
    return found


UNKNOWN: list[tuple[Json, str]] = [
    ({"speculation": {"depth": 4}}, "spec.speculation: Extra inputs are not permitted"),
    ({"server": {"warmth": "hot"}}, "spec.server.warmth: Extra inputs are not permitted"),
    ({"rollout": {"strategy": "BlueGreen"}}, "spec.rollout.strategy: Input should be 'Auto', 'Surge' or 'Replace'"),
    (
        {"pod": {"tolerations": [{"key": "gpu", "operator": "Exists", "mood": "calm"}]}},
        "spec.pod.tolerations.0: mood is no field",
    ),
]


@pytest.mark.long
@pytest.mark.usefixtures("tomorrow")
def test_what_a_newer_version_wrote_is_told_and_its_objects_are_left_alone(
    cluster: Cluster, operator: OperatorProcess, rerankers: Rerankers
) -> None:
    rerankers.apply("docs")
    ready = rerankers.wait_ready("docs")
    before, pods = children(rerankers), [pod["metadata"]["name"] for pod in rerankers.pods("docs")]
    cluster.kubectl(
        *("-n", rerankers.namespace, "patch", "rrs", "docs", "--subresource=status", "--type=merge"),
        *("-p", json.dumps({"status": {"mood": "calm"}})),
    )
    generation = 1
    for spec, said in UNKNOWN:
        # Beside it a change that this operator would make, if it took the spec.
        rerankers.apply("docs", **spec, service={"labels": {"generation": str(generation)}})
        generation += 1
        refused = rerankers.wait_condition("docs", "Accepted", "False", "NewerVersion", generation=generation)
        assert said in refused["message"]
        assert "written for a newer one" in refused["message"]
        assert rerankers.condition("docs", "Stalled")["status"] == "True"
    status = rerankers.status("docs")
    kept = ("replicas", "readyReplicas", "selector", "endpoint", "model", "probe")
    assert {key: status[key] for key in kept} == {key: ready[key] for key in kept}
    assert status["mood"] == "calm"

    # Nor does it act on them for another reason: a round of a new process, and a child that somebody changed.
    cluster.kubectl("-n", rerankers.namespace, "label", "service", "docs", "touched=yes")
    operator.restart()
    counted = 'reason="NewerVersion"'
    wait_until("the operator to have looked at the service", lambda: counted in operator.metrics(), timeout=30)
    after = children(rerankers)
    assert after["Service/docs"]["metadata"]["labels"].pop("touched") == "yes"
    assert after == before
    assert [pod["metadata"]["name"] for pod in rerankers.pods("docs")] == pods
    assert len(rerankers.rank("docs", "q", ["a", "b"])["rankings"]) == 2

    rerankers.apply("docs", service={"labels": {"generation": "last"}})
    rerankers.wait_ready("docs", generation=generation + 1)
    assert rerankers.service("docs")["metadata"]["labels"]["generation"] == "last"


@pytest.mark.usefixtures("tomorrow")
def test_a_service_of_a_newer_version_goes_with_all_that_was_made_for_it(rerankers: Rerankers) -> None:
    rerankers.apply("docs", replicas=0)
    rerankers.wait_condition("docs", "Ready", "False", "Paused")
    rerankers.apply("docs", replicas=0, speculation={"depth": 4})
    rerankers.wait_condition("docs", "Accepted", "False", "NewerVersion", generation=2)
    rerankers.delete("docs")
    for version, kind in (("apps/v1", "Deployment"), ("v1", "Service")):
        rerankers.cluster.wait_gone(version, kind, "docs", namespace=rerankers.namespace)


@pytest.mark.usefixtures("tomorrow")
def test_several_versions_are_served_and_the_operator_reads_its_own(rerankers: Rerankers) -> None:
    """Stored as v1beta1, written as v1beta1, and seen to as v1alpha1."""
    document = {**rerankers.manifest("docs", replicas=0), "apiVersion": "reranking.dev/v1beta1"}
    rerankers.cluster.apply(document)
    rerankers.wait_condition("docs", "Accepted", "True")
    rerankers.wait_condition("docs", "Ready", "False", "Paused")
    owner = rerankers.service("docs")["metadata"]["ownerReferences"][0]
    assert (owner["apiVersion"], owner["kind"]) == (API, KIND)
