"""The chart as text: golden files, refusals, and that every value does something. No cluster, only the binary's helm.

After a change that is meant to change the golden files: `.venv/bin/pytest tests/cluster/test_chart_rendering.py
--update-golden`, and read the diff.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from charts import CHART, DEFAULTS, EVERYTHING, Helm, Json, flags_of, golden_text, of_kind, without_version
from flows import Peer, matches, selected
from localkube.processes import PACKAGE_ROOT

HERE = Path(__file__).parent / "chart"
VALUES = sorted((HERE / "values").glob("*.yaml"))
DEPLOY = PACKAGE_ROOT.parent.parent / "deploy"
ROLES = ("Role", "ClusterRole")
AGGREGATED = ("reranker-operator-view", "reranker-operator-edit")


@pytest.mark.parametrize("path", VALUES, ids=lambda path: path.stem)
def test_lint_has_nothing_to_say(helm: Helm, path: Path) -> None:
    said = helm.run("lint", "--strict", str(CHART), "--values", str(path))
    assert said.returncode == 0, said.stdout
    assert "[WARNING]" not in said.stdout


@pytest.mark.parametrize("path", VALUES, ids=lambda path: path.stem)
def test_the_golden_objects(helm: Helm, path: Path, request: pytest.FixtureRequest) -> None:
    golden = HERE / "output" / path.name
    made = helm.objects(path, flags_of(path))
    for each in of_kind(made, "ConfigMap", "PrometheusRule"):
        each.pop("data", None)  # dashboards and alerts are compared with their files, below
        each.pop("spec", None)
    if request.config.getoption("--update-golden"):
        golden.write_text(golden_text(made))
    expected = without_version(golden.read_text())
    assert list(yaml.safe_load_all(golden_text(made))) == list(yaml.safe_load_all(expected))


def test_each_golden_output_has_values() -> None:
    assert {path.name for path in (HERE / "output").iterdir()} == {path.name for path in VALUES}


@pytest.mark.parametrize("path", sorted((HERE / "refused").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_refusal_names_the_key(helm: Helm, path: Path) -> None:
    expected = path.read_text().splitlines()[0].removeprefix("# expect: ")
    made = helm.template(path)
    assert made.returncode != 0
    assert expected in made.stderr


# Rights


def rules(objects: list[Json]) -> list[tuple[str, str, Any]]:
    """Kind, namespace and rules of each role that the operator has."""
    return sorted(
        ((each["kind"], each["metadata"].get("namespace", ""), each["rules"]) for each in of_kind(objects, *ROLES)),
        key=json.dumps,
    )


def test_cluster_wide_rights_are_those_of_deploy(helm: Helm, kustomize: Any) -> None:
    made = helm.objects({"rbac": {"aggregate": False}})
    assert rules(made) == rules(kustomize(DEPLOY))


def test_namespaced_rights_are_those_of_deploy(helm: Helm, kustomize: Any) -> None:
    made = helm.objects({"watchNamespaces": ["search"]})
    watched = kustomize(DEPLOY / "namespaced/watched")
    for each in watched:
        each["metadata"]["namespace"] = "search"
    assert rules(made) == rules(kustomize(DEPLOY / "namespaced") + watched)
    wide = [each for each in made if "namespace" not in each["metadata"]]
    assert [each["kind"] for each in wide] == ["CustomResourceDefinition"]


@pytest.mark.parametrize("values", [{}, {"watchNamespaces": ["search", "shop"]}], ids=["cluster-wide", "namespaced"])
def test_each_role_is_bound_to_the_account_that_the_pods_have(helm: Helm, values: Json) -> None:
    made = helm.objects(values)
    (account,) = of_kind(made, "ServiceAccount")
    (deployment,) = of_kind(made, "Deployment")
    assert deployment["spec"]["template"]["spec"]["serviceAccountName"] == account["metadata"]["name"]
    bound = of_kind(made, "RoleBinding", "ClusterRoleBinding")
    subject = {"kind": "ServiceAccount", "name": "reranker-operator", "namespace": "reranker-system"}
    assert [each["subjects"] for each in bound] == [[subject]] * len(bound)
    place = {(each["roleRef"]["kind"], each["roleRef"]["name"], each["metadata"].get("namespace")) for each in bound}
    there = {
        (each["kind"], each["metadata"]["name"], each["metadata"].get("namespace")) for each in of_kind(made, *ROLES)
    }
    assert place == {each for each in there if each[1] not in AGGREGATED}


def test_each_release_of_a_namespace_leads_by_a_lease_of_its_own(helm: Helm) -> None:
    made = helm.objects({"fullnameOverride": "second", "watchNamespaces": ["shop"]})
    (deployment,) = of_kind(made, "Deployment")
    assert "--lease-name=second" in deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    (role,) = [each for each in of_kind(made, "Role") if each["metadata"]["name"] == "second-lease"]
    assert [rule["resourceNames"] for rule in role["rules"] if "resourceNames" in rule] == [["second"]]
    (pod,) = of_kind(made, "Pod")
    assert pod["spec"]["containers"][0]["args"][1:] == ["reranker-system", "second", "shop"]


def test_whoever_may_edit_may_create_pods(helm: Helm) -> None:
    view, edit = (
        each
        for name in AGGREGATED
        for each in of_kind(helm.objects(), "ClusterRole")
        if each["metadata"]["name"] == name
    )
    assert {verb for rule in view["rules"] for verb in rule["verbs"]} == {"get", "list", "watch"}
    assert "is creating pods" in edit["metadata"]["annotations"]["reranking.dev/means"]
    assert "rbac.authorization.k8s.io/aggregate-to-view" not in edit["metadata"]["labels"]
    for role in (view, edit):
        assert {group for rule in role["rules"] for group in rule["apiGroups"]} == {"reranking.dev"}


# The Deployment


def test_the_deployment_is_that_of_deploy_and_more(helm: Helm, kustomize: Any) -> None:
    """Whatever the manifest of deploy/ says of pods holds for the chart's, too."""
    (ours,), (theirs,) = (of_kind(made, "Deployment") for made in (helm.objects(), kustomize(DEPLOY)))
    mine, other = (each["spec"]["template"]["spec"] for each in (ours, theirs))
    (container,), (wanted,) = mine.pop("containers"), other.pop("containers")
    assert mine.items() >= other.items()
    assert container.pop("args")[0] == wanted.pop("args")[0] == "run"
    assert container.items() >= wanted.items()
    assert ours["spec"]["replicas"] == theirs["spec"]["replicas"]
    labels = ours["spec"]["template"]["metadata"]["labels"]
    assert labels.items() >= theirs["spec"]["template"]["metadata"]["labels"].items()


def test_labels_of_ones_own_never_change_what_is_selected(helm: Helm) -> None:
    taken = {"app.kubernetes.io/name": "mine", "app.kubernetes.io/instance": "mine"}
    made = helm.objects({"podLabels": taken, "commonLabels": taken, "metrics": {"service": {"labels": taken}}})
    (deployment,) = of_kind(made, "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert labels.items() >= deployment["spec"]["selector"]["matchLabels"].items()
    assert labels["app.kubernetes.io/name"] == "reranker-operator"


# Dependencies, Secrets, names and notes


@pytest.mark.parametrize("enabled", [True, False])
def test_it_can_be_a_dependency_with_a_condition(helm: Helm, tmp_path: Path, *, enabled: bool) -> None:
    parent = tmp_path / "parent"
    shutil.copytree(CHART, parent / "charts/reranker-operator")
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["version"]
    needed = {"name": "reranker-operator", "version": version, "condition": "reranker-operator.enabled"}
    about = {"apiVersion": "v2", "name": "parent", "version": "1.0.0", "dependencies": [needed]}
    (parent / "Chart.yaml").write_text(yaml.safe_dump(about))
    values = {"global": {"region": "north"}, "reranker-operator": {"enabled": enabled, "replicas": 3}}
    (parent / "values.yaml").write_text(yaml.safe_dump(values))
    made = helm.run("template", "platform", str(parent))
    assert made.returncode == 0, made.stderr
    found = [each for each in yaml.safe_load_all(made.stdout) if each]
    replicas = [each["spec"]["replicas"] for each in of_kind(found, "Deployment")]
    assert replicas == ([3] if enabled else [])


def test_two_keys_of_one_secret_are_both_in_it(helm: Helm) -> None:
    keys = {
        "ngc": {"create": {"name": "keys", "apiKey": "a"}},
        "huggingFace": {"create": {"name": "keys", "token": "b"}},
    }
    (secret,) = of_kind(helm.objects({"secrets": keys}), "Secret")
    assert secret["stringData"] == {"NGC_API_KEY": "a", "token": "b"}


NUMBERS = """
fullnameOverride: "2024"
crds: {install: false}
serviceAccount: {name: "2024"}
priorityClassName: "2024"
watchNamespaces: ["2024"]
imagePullSecrets: ["2024", {name: "on"}]
secrets: {ngc: {create: {name: "2024", apiKey: a}}}
networkPolicy: {enabled: true}
metrics: {serviceMonitor: {enabled: true}, prometheusRule: {enabled: true}, dashboards: {enabled: true}}
services: {"on": {namespace: "2024", spec: {gpus: 0}}}
keepForeign: ["a: b"]
allowHostPath: ["/a #b"]
"""


def test_names_that_yaml_would_read_as_numbers_or_truths_stay_names(helm: Helm) -> None:
    command = ["template", "2024", str(CHART), "--namespace", "2024", "--values", "-"]
    made = helm.run(*command, stdin=NUMBERS)
    assert made.returncode == 0, made.stderr
    objects = [each for each in yaml.safe_load_all(made.stdout) if each]
    found = [each for one in objects for each in texts(one)]
    assert [where for where, value in found if not isinstance(value, str)] == []
    assert {("metadata.namespace", "2024"), ("metadata.name", "2024"), ("metadata.name", "on")} < set(found)
    (deployment,) = of_kind(objects, "Deployment")
    arguments = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    assert {"--namespace=2024", "--keep-foreign=a: b", "--allow-host-path=/a #b"} < set(arguments)


TEXTS = {"name", "namespace", "serviceAccountName", "priorityClassName", "secretName", "image", "resourceNames", "args"}


def texts(part: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Where each value stands that must be a text, and the value: names, labels, annotations, arguments."""
    for key, value in part.items():
        path = f"{where}.{key}".lstrip(".")
        if key in {"labels", "matchLabels", "annotations"}:
            yield from ((f"{path}.{name}", each) for name, each in value.items())
        elif key in TEXTS:
            yield from ((path, each) for each in (value if isinstance(value, list) else [value]))
        elif isinstance(value, dict):
            yield from texts(value, path)
        elif isinstance(value, list):
            for each in value:
                yield from texts(each, path) if isinstance(each, dict) else ()


STUB = """#!/bin/sh
printf '%s\\n' "$*" >>"$CALLS"
case "$*" in *"-f -") cat >"$APPLIED" ;; esac
"""


@pytest.mark.parametrize(("watched", "where"), [([], ""), (["search"], "-n search ")], ids=["everywhere", "search"])
def test_the_commands_of_the_notes_work_as_they_are_pasted(
    helm: Helm, tmp_path: Path, watched: list[str], where: str
) -> None:
    stub, calls, applied = (tmp_path / name for name in ("kubectl", "calls", "applied"))
    stub.write_text(STUB)
    stub.chmod(0o755)
    said = helm.run(
        *("install", "reranker-operator", str(CHART), "--dry-run=client", "--values", "-"),
        stdin=yaml.safe_dump({"watchNamespaces": watched}),
    )
    assert said.returncode == 0, said.stderr
    _, _, notes = said.stdout.partition("\nNOTES:\n")
    _, _, commands = notes.partition("Then make a service:\n")
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "CALLS": str(calls), "APPLIED": str(applied)}
    ran = subprocess.run(
        ["bash", "-e"], input=commands, capture_output=True, text=True, env=env, cwd=tmp_path, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert calls.read_text().splitlines() == [
        f"apply {where}-f -",
        f"{where}wait --for=condition=Ready rrs/docs --timeout=10m",
    ]
    assert yaml.safe_load(applied.read_text())["kind"] == "RerankerService"


# The network


def test_the_operators_policy_lets_through_what_it_needs_and_nothing_else(helm: Helm) -> None:
    """No network plugin runs here: the object is judged as one would judge it."""
    policy = of_kind(helm.objects({"networkPolicy": {"enabled": True}}), "NetworkPolicy")[0]
    ranking = {"app.kubernetes.io/name": "reranker", "app.kubernetes.io/component": "ranking"}
    out = [
        ("the API server, by its address", Peer(address="10.0.0.1"), 6443, True),
        ("the API, of a ranking pod", Peer(ranking, "search"), 8000, True),
        ("the internal port of one", Peer(ranking, "anywhere"), 8002, True),
        ("another port of one", Peer(ranking, "search"), 9000, False),
        ("another pod", Peer({"app": "database"}, "search"), 8000, False),
        (
            "the model Job of a service",
            Peer({**ranking, "app.kubernetes.io/component": "model"}, "search"),
            8000,
            False,
        ),
    ]
    into = [
        ("Prometheus", Peer({"app": "prometheus"}, "monitoring"), "metrics", True),
        ("health, from a pod", Peer({"app": "prometheus"}, "monitoring"), "health", False),
        ("an address outside", Peer(address="192.0.2.1"), "metrics", False),
    ]
    for who, peer, port, expected in out:
        assert passes(policy["spec"]["egress"], "to", peer, port) is expected, who
    for who, peer, port, expected in into:
        assert passes(policy["spec"]["ingress"], "from", peer, port) is expected, who
    (deployment,) = of_kind(helm.objects(), "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert selected(policy["spec"]["podSelector"], labels)


def passes(rules: list[Json], side: str, peer: Peer, port: int | str) -> bool:
    """Whether one of the rules lets a flow through."""
    return any(
        any(each["port"] == port and each["protocol"] == "TCP" for each in rule["ports"])
        and (side not in rule or any(matches(each, peer, "reranker-system") for each in rule[side]))
        for rule in rules
    )


def test_the_proxy_of_downloads_is_the_operators_argument(helm: Helm) -> None:
    authorities = {"name": "authorities"}
    made = helm.objects({"proxy": {"https": "http://proxy.example:3128", "caConfigMap": authorities}})
    (deployment,) = of_kind(made, "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    given = [each for each in container["args"] if "proxy" in each]
    assert given == ["--proxy-https=http://proxy.example:3128", "--proxy-ca=authorities/ca.crt"]
    assert [each["name"] for each in container["env"]] == ["POD_NAMESPACE"]


# Alerts and dashboards


def test_metrics_keep_the_namespace_of_the_service_that_they_are_about(helm: Helm) -> None:
    (monitor,) = of_kind(helm.objects(EVERYTHING, flags_of(EVERYTHING)), "ServiceMonitor")
    assert [each["honorLabels"] for each in monitor["spec"]["endpoints"]] == [True]


def test_alerts_and_dashboards_are_those_of_the_files(helm: Helm) -> None:
    made = helm.objects(EVERYTHING, flags_of(EVERYTHING))
    (rule,) = of_kind(made, "PrometheusRule")
    files = [yaml.safe_load(path.read_text()) for path in sorted((CHART / "files/alerts").glob("*.yaml"))]
    page = DEFAULTS["metrics"]["prometheusRule"]["runbooks"]
    told = [each for group in rule["spec"]["groups"] for each in group["rules"] if "alert" in each]
    for each in told:
        assert each["annotations"].pop("runbook_url") == f"{page}#{each['alert'].lower()}"
    written = [group for file in files for group in file["groups"]]
    for each in (each for group in written for each in group["rules"] if "alert" in each):
        each["annotations"].pop("runbook_url", None)
    assert rule["spec"]["groups"] == written
    boards = [each for each in of_kind(made, "ConfigMap") if each["metadata"]["labels"].get("grafana_dashboard")]
    shown = {name: json.loads(text) for each in boards for name, text in each["data"].items()}
    assert shown == {path.name: json.loads(path.read_text()) for path in (CHART / "files/dashboards").glob("*.json")}
    assert told
    assert shown


def test_every_tag_is_the_project_s_version(root: Path) -> None:
    """The version stands in pyproject.toml; the chart and what deploy/ names follow it."""
    found = re.search(r'^version = "(.+)"$', (root / "pyproject.toml").read_text(), re.MULTILINE)
    assert found
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (found[1], found[1])
