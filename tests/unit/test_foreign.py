"""What somebody else put into our Deployment goes; what the server or an exempt manager put there stays."""

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonpatch
import pytest
import yaml

from reranker_operator.reconcile.foreign import removals

INPUT = Path(__file__).parent.parent / "golden" / "input" / "minimal.yaml"


@pytest.fixture(scope="module")
def wanted() -> dict[str, Any]:
    rendered = subprocess.run(
        [Path(sys.executable).with_name("reranker-operator"), "render", INPUT],
        capture_output=True,
        text=True,
        check=True,
    )
    documents = yaml.safe_load_all(rendered.stdout)
    return next(document for document in documents if document["kind"] == "Deployment")


@pytest.fixture
def live(wanted: dict[str, Any]) -> dict[str, Any]:
    made = copy.deepcopy(wanted)
    made["metadata"]["resourceVersion"] = "7"
    made["metadata"]["managedFields"] = []
    return made


def pod(document: dict[str, Any]) -> dict[str, Any]:
    return document["spec"]["template"]["spec"]


def paths(operations: list[dict[str, Any]]) -> list[str]:
    return [each["path"] for each in operations if each["op"] == "remove"]


def test_nothing_foreign_means_no_operation(live: dict[str, Any], wanted: dict[str, Any]) -> None:
    pod(live)["dnsPolicy"] = "ClusterFirst"
    pod(live)["schedulerName"] = "default-scheduler"
    pod(live)["containers"][0]["imagePullPolicy"] = "IfNotPresent"
    assert removals(live, wanted, []) == []


def test_a_server_that_defaults_requests_from_limits_is_no_stranger(
    live: dict[str, Any], wanted: dict[str, Any]
) -> None:
    container = pod(live)["containers"][0]
    container["resources"]["requests"] = dict(container["resources"]["limits"])
    assert removals(live, wanted, []) == []


@pytest.mark.parametrize(
    ("add", "removed"),
    [
        (lambda p: p["containers"].append({"name": "x", "image": "x"}), "/containers/1"),
        (lambda p: p["containers"].insert(0, {"name": "x", "image": "x"}), "/containers/0"),
        (lambda p: p["initContainers"].append({"name": "x", "image": "x"}), "/initContainers/1"),
        (lambda p: p["volumes"].append({"name": "x", "emptyDir": {}}), "/volumes/3"),
        (lambda p: p["containers"][0]["env"].append({"name": "X", "value": "1"}), "/containers/0/env/9"),
        (lambda p: p["containers"][0].update(envFrom=[{"secretRef": {"name": "x"}}]), "/containers/0/envFrom"),
        (lambda p: p["containers"][0].update(lifecycle={"preStop": {}}), "/containers/0/lifecycle"),
        (
            lambda p: p["containers"][0]["volumeMounts"].append({"name": "x", "mountPath": "/x"}),
            "/containers/0/volumeMounts/3",
        ),
        (
            lambda p: p["containers"][0]["securityContext"].update(runAsUser=0),
            "/containers/0/securityContext/runAsUser",
        ),
        (lambda p: p["securityContext"].update(sysctls=[{"name": "x"}]), "/securityContext/sysctls"),
        (
            lambda p: p["containers"][0]["securityContext"]["capabilities"].update(add=["NET_RAW"]),
            "/containers/0/securityContext/capabilities/add",
        ),
        (
            lambda p: p["containers"][0]["volumeMounts"][0].update(subPath="other"),
            "/containers/0/volumeMounts/0/subPath",
        ),
        (lambda p: p["containers"][0]["ports"][0].update(hostPort=80), "/containers/0/ports/0/hostPort"),
        (
            lambda p: p["containers"][0]["readinessProbe"].update(initialDelaySeconds=3600),
            "/containers/0/readinessProbe/initialDelaySeconds",
        ),
        (
            lambda p: p["containers"][0]["readinessProbe"]["httpGet"].update(host="elsewhere"),
            "/containers/0/readinessProbe/httpGet/host",
        ),
        (
            lambda p: p["containers"][0]["resources"].update(claims=[{"name": "x"}]),
            "/containers/0/resources/claims",
        ),
        (lambda p: p.update(schedulerName="other"), "/schedulerName"),
        (lambda p: p.update(dnsPolicy="None"), "/dnsPolicy"),
        (lambda p: p.update(dnsConfig={"nameservers": ["203.0.113.1"]}), "/dnsConfig"),
        (lambda p: p.update(readinessGates=[{"conditionType": "x"}]), "/readinessGates"),
        (
            lambda p: p["topologySpreadConstraints"].append(
                {"maxSkew": 1, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule"}
            ),
            "/topologySpreadConstraints/2",
        ),
        (
            lambda p: p["containers"][0]["resources"]["limits"].update({"a/b": "1"}),
            "/containers/0/resources/limits/a~1b",
        ),
    ],
)
def test_foreign_entries_are_removed(live: dict[str, Any], wanted: dict[str, Any], add: Any, removed: str) -> None:
    add(pod(live))
    operations = removals(live, wanted, [])
    assert operations[0] == {"op": "test", "path": "/metadata/resourceVersion", "value": "7"}
    assert paths(operations) == [f"/spec/template/spec{removed}"]


def test_several_entries_are_removed_from_the_end(live: dict[str, Any], wanted: dict[str, Any]) -> None:
    env = pod(live)["containers"][0]["env"]
    env.insert(0, {"name": "X", "value": "1"})
    env.append({"name": "Y", "value": "1"})
    root = "/spec/template/spec/containers/0/env"
    assert paths(removals(live, wanted, [])) == [f"{root}/{len(env) - 1}", f"{root}/0"]


def test_all_at_once_leaves_exactly_what_is_wanted(live: dict[str, Any], wanted: dict[str, Any]) -> None:
    pod(live)["containers"].insert(0, {"name": "x", "image": "x"})
    pod(live)["containers"][1]["env"].insert(3, {"name": "X", "value": "1"})
    pod(live)["containers"][1]["lifecycle"] = {"preStop": {"sleep": {"seconds": 1}}}
    pod(live)["containers"][1]["volumeMounts"][1]["subPath"] = "other"
    pod(live)["containers"][1]["volumeMounts"].insert(0, {"name": "x", "mountPath": "/x"})
    pod(live)["initContainers"][0]["env"] = [{"name": "X", "value": "1"}]
    pod(live)["initContainers"].insert(0, {"name": "y", "image": "y"})
    pod(live)["volumes"].insert(0, {"name": "x", "emptyDir": {}})
    left = jsonpatch.apply_patch(live, removals(live, wanted, []))
    assert pod(left) == pod(wanted)


def test_containers_of_an_exempt_manager_stay(live: dict[str, Any], wanted: dict[str, Any]) -> None:
    pod(live)["containers"].append({"name": "istio-proxy", "image": "x"})
    owned = {
        "f:spec": {
            "f:template": {"f:spec": {"f:containers": {json.dumps({"name": "istio-proxy"}).replace(": ", ":"): {}}}}
        }
    }
    containers = owned["f:spec"]["f:template"]["f:spec"]["f:containers"]
    owned["f:spec"]["f:template"]["f:spec"]["f:containers"] = {f"k:{key}": value for key, value in containers.items()}
    live["metadata"]["managedFields"] = [{"manager": "injector", "fieldsV1": owned}]
    assert removals(live, wanted, ["injector"]) == []
    assert paths(removals(live, wanted, [])) == ["/spec/template/spec/containers/1"]
