"""`reranker-operator diagnose` as a person uses it, on services that are well and on services that are not."""

import base64
import json
import re
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from diagnosing import Completed, front, report_of, run
from localkube.api import write_kubeconfig
from localkube.cluster import Cluster
from localkube.images import Image
from localkube.operator_process import OperatorProcess
from localkube.processes import free_port
from rerankers import Json, Rerankers

PLANTED = "planted-in-a-secret-4711"
LITERAL = "planted-in-a-variable-4711"
PASSWORD = "planted-in-a-proxy-4711"
SECTIONS = [
    "CONDITIONS",
    "SPEC",
    "MODEL AND RANKING",
    "CHILDREN",
    "PODS",
    "MODEL JOB",
    "WHAT THE SPEC REFERS TO",
    "EVENTS",
    "LOGS",
    "METRICS",
    "OPERATOR",
    "CLUSTER",
]


def test_a_service_that_is_well(rerankers: Rerankers) -> None:
    rerankers.apply("docs", authentication={"generate": True})
    rerankers.wait_ready("docs")
    rerankers.wait_condition("docs", "RankingVerified", "True")
    (pod,) = rerankers.pods("docs")
    report = report_of(rerankers, "docs")
    assert report.text.splitlines()[0] == f"RerankerService {rerankers.namespace}/docs is Ready"
    assert "Beware" not in report.verdict
    assert [title.split(" (")[0] for title in report.titles] == SECTIONS
    assert "RankingVerified True Ranked" in report["CONDITIONS"]
    assert "model.source.inImage.path /models/all-minilm-l6-v2" in report["SPEC"]
    assert rerankers.small_model_digest() in report["MODEL AND RANKING"]
    assert "8 passages in" in report["MODEL AND RANKING"]
    assert "1 desired, 1 updated, 1 ready, 1 available" in report["CHILDREN"]
    template = rerankers.deployment("docs")["spec"]["template"]["metadata"]["labels"]["reranking.dev/template-hash"]
    assert f"template hash wanted {template}; live pods: 1 of {template}" in report["CHILDREN"]
    assert f"{pod['metadata']['name']}: ranking, Running, ready, on node-" in report["PODS"]
    (job,) = rerankers.jobs("docs")
    assert f"{job}, age" in report["MODEL JOB"]
    assert "ok True" in report["MODEL JOB"]
    keys = "Secret docs-api-keys spec.authentication.generate exists; keys: default, operator"
    assert keys in report["WHAT THE SPEC REFERS TO"]
    replica_set = pod["metadata"]["ownerReferences"][0]["name"]
    assert f"Deployment docs ScalingReplicaSet Scaled up replica set {replica_set}" in report["EVENTS"]
    assert report["EVENTS"].count("8 passages were ranked through") == 1
    assert "POST /v1/ranking status=200" in report["LOGS"]
    assert "Lease reranker-operator: held by " in report["OPERATOR"]
    assert "Kubernetes v1." in report["CLUSTER"]
    assert "POST" not in report_of(rerankers, "docs", "--tail", "0").text


def test_a_missing_secret_is_the_first_thing_that_is_said(rerankers: Rerankers) -> None:
    secret = {"secretKeyRef": {"name": "tokens", "key": "hub"}}
    rerankers.apply("docs", server={"env": [{"name": "HUB", "valueFrom": secret}]})
    rerankers.wait_condition("docs", "ReferencesResolved", "False", "NotFound")
    report = report_of(rerankers, "docs")
    assert report.text.splitlines()[0] == f"RerankerService {rerankers.namespace}/docs is not Ready: NotFound"
    missing = f"Secret tokens does not exist in namespace {rerankers.namespace}"
    assert f"ReferencesResolved is False: {missing}" in report.verdict
    assert "What to do: create what is missing" in report.verdict
    assert "Secret tokens spec.server.env[HUB] DOES NOT EXIST" in report["WHAT THE SPEC REFERS TO"]
    assert "Job: does not exist Deployment: does not exist" in report["CHILDREN"]
    assert report["PODS"] == "PODS none"

    made = ("create", "secret", "generic", "tokens", "--from-literal=other=x")
    rerankers.cluster.kubectl("-n", rerankers.namespace, *made)
    assert "HAS NO KEY hub; its keys: other" in report_of(rerankers, "docs")["WHAT THE SPEC REFERS TO"]


@pytest.fixture
def crashing(rerankers: Rerankers) -> Rerankers:
    """A service whose pods end at once, telling a value out of a Secret in their last words; more secrets around it."""
    manifest = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "tokens", "namespace": rerankers.namespace},
        "stringData": {"hub": PLANTED},
    }
    # As most people do it: kubectl then keeps the manifest, values included, in an annotation.
    rerankers.cluster.kubectl("apply", "-f", "-", stdin=json.dumps(manifest))
    variables = [
        {"name": "RERANKER_DEVICE", "valueFrom": {"secretKeyRef": {"name": "tokens", "key": "hub"}}},
        {"name": "MY_API_TOKEN", "value": LITERAL},
        {"name": "https_proxy", "value": f"http://me:{PASSWORD}@127.0.0.1:3128"},
    ]
    document = rerankers.manifest("docs", server={"env": variables})
    rerankers.cluster.kubectl("apply", "-f", "-", stdin=json.dumps(document))
    rerankers.wait_condition("docs", "Progressing", "True", "Crashing")

    def restarted(pod: Json) -> bool:
        ranking = pod["metadata"]["labels"]["app.kubernetes.io/component"] == "ranking"
        return bool(ranking and pod["status"]["containerStatuses"][0]["restartCount"] > 0)

    rerankers.cluster.wait_any("v1", "Pod", restarted, namespace=rerankers.namespace)
    return rerankers


def test_a_crash_is_told_with_its_exit_code_and_its_last_words(crashing: Rerankers) -> None:
    (pod,) = crashing.pods("docs")
    report = report_of(crashing, "docs")
    assert "is not Ready: Crashing" in report.verdict
    assert "exit code 2" in report.verdict
    assert "last message of exit code 2: error: RERANKER_DEVICE=[redacted] cannot be honoured" in report["PODS"]
    before = f"--- {pod['metadata']['name']}, ranking (the process before)"
    assert f"{before} error: RERANKER_DEVICE=[redacted] cannot" in report["LOGS"]
    assert re.search(r"x[0-9]+ Warning Pod docs-\S+ BackOff", report["EVENTS"])


def test_an_archive_holds_everything_but_secrets(crashing: Rerankers, tmp_path: Path) -> None:
    (pod,) = crashing.pods("docs")
    name, archive, output = pod["metadata"]["name"], tmp_path / "docs.tar.gz", tmp_path / "report.txt"
    printed = report_of(crashing, "docs", "--archive", archive, "--output", output)
    assert printed.text == ""
    assert archive.stat().st_mode & 0o777 == 0o600
    with tarfile.open(archive) as packed:
        files = {member.name: packed.extractfile(member).read().decode() for member in packed}  # type: ignore[union-attr]
    assert files["report.txt"] == output.read_text()
    (job,) = crashing.jobs("docs")
    for kind, of in (
        ("RerankerService", "docs"),
        ("Deployment", "docs"),
        ("Service", "docs"),
        ("ServiceAccount", "docs"),
        ("Job", job),
        ("Pod", name),
        ("Secret", "tokens"),
    ):
        document = yaml.safe_load(files[f"objects/{kind}-{of}.yaml"])
        assert (document["kind"], document["metadata"]["name"]) == (kind, of)
    assert yaml.safe_load(files["objects/Secret-tokens.yaml"])["data"] == {"hub": "[redacted]"}
    service = yaml.safe_load(files["objects/RerankerService-docs.yaml"])
    variables = {each["name"]: each.get("value") for each in service["spec"]["server"]["env"]}
    assert variables["MY_API_TOKEN"] == "[redacted]"
    assert variables["https_proxy"] == "http://[redacted]@127.0.0.1:3128"
    assert "RERANKER_DEVICE=[redacted] cannot be honoured" in files[f"logs/{name}-ranking.previous.log"]
    assert f"logs/{name}-ranking.log" in files
    assert f"metrics/{name}.txt" in files
    assert {each["kind"] for each in yaml.safe_load(files["events.yaml"])} == {"Event"}
    assert "operator/objects/Lease-reranker-operator.yaml" in files

    token = yaml.safe_load(crashing.cluster.kubeconfig.read_text())["users"][0]["user"]["token"]
    encoded = base64.b64encode(PLANTED.encode()).decode()
    for secret in (PLANTED, encoded, LITERAL, PASSWORD, token):
        assert [file for file, text in files.items() if secret in text] == []


def test_what_a_user_may_not_read_is_said_in_its_place(crashing: Rerankers, tmp_path: Path) -> None:
    cluster, where = crashing.cluster, ("-n", crashing.namespace)
    cluster.kubectl(*where, "create", "serviceaccount", "few")
    cluster.kubectl(*where, "create", "role", "few", "--verb=get", "--resource=rerankerservices.reranking.dev")
    cluster.kubectl(*where, "create", "rolebinding", "few", "--role=few", f"--serviceaccount={crashing.namespace}:few")
    token = cluster.kubectl(*where, "create", "token", "few").strip()
    plane = cluster.control_plane
    few = write_kubeconfig(tmp_path / "few", plane.url, plane.authority.certificate, token)
    report = report_of(crashing, "docs", kubeconfig=few)
    assert "is not Ready: Crashing" in report.verdict
    assert "What texts repeat of tokens may still stand there" in report.verdict
    assert PLANTED not in report.text  # known by the variable's name
    assert "Deployment" in report["CHILDREN"]
    assert "may not be listed by you" in report["CHILDREN"]
    assert report["PODS"] == "PODS not read: you may not list pods"
    assert report["EVENTS"] == "EVENTS not read: you may not list events"
    assert "unknown: you may not get secrets" in report["WHAT THE SPEC REFERS TO"]
    assert "Lease: not read: you may not get leases" in report["OPERATOR"]
    other = run(few, f"{crashing.namespace}/other")
    assert other.returncode == 2
    assert "you may not list rerankerservices" in other.stderr


@pytest.mark.long
def test_an_operator_that_is_gone_makes_the_status_doubtful(rerankers: Rerankers, operator: OperatorProcess) -> None:
    rerankers.apply("docs", replicas=0)
    rerankers.wait_condition("docs", "Ready", "False", "Paused")
    operator.stop()
    try:
        rerankers.apply("docs", replicas=0, gpus=2)
        rerankers.apply("new")
        changed, new = report_of(rerankers, "docs"), report_of(rerankers, "new")
    finally:
        operator.start()
    assert "scale rerankerservice/docs --replicas=1" in changed.verdict
    assert "it is of generation 2, the status of 1" in changed.verdict
    assert "no operator leads: the last one stopped and gave its lease back" in changed.verdict
    assert f"{rerankers.namespace}/new is not Ready: no operator has looked at it" in new.verdict
    wrong = report_of(rerankers, "docs", "--operator-namespace", "default")
    assert "no operator has ever run in namespace default" in wrong.verdict
    assert "Lease: does not exist" in wrong["OPERATOR"]


@pytest.mark.long
def test_metrics_come_through_the_api_server(rerankers: Rerankers, tmp_path: Path) -> None:
    """The API server refuses to connect to loopback addresses, which pods of this kit have; here something does."""
    rerankers.apply("docs")
    rerankers.wait_ready("docs")
    (pod,) = rerankers.pods("docs")
    name = pod["metadata"]["name"]
    proxied = f"/api/v1/namespaces/{rerankers.namespace}/pods/{name}:8002/proxy/metrics"
    hung = threading.Event()

    def connects(path: str) -> tuple[int, bytes] | None:
        if path != proxied:
            return None
        return 200, httpx.get(f"http://{pod['status']['podIP']}:8002/metrics", trust_env=False).content

    def hangs(path: str) -> tuple[int, bytes] | None:
        if path == proxied:
            hung.wait()
        return None

    rerankers.post("docs", {"query": {"text": "q"}, "passages": [{"text": "a"}], "model": "another"})
    with front(rerankers.cluster, tmp_path, connects) as kubeconfig:
        archive = tmp_path / "docs.tar.gz"
        table = report_of(rerankers, "docs", "--archive", archive, kubeconfig=kubeconfig)["METRICS"]
    titles, figures = table.partition(" POD ")[2].split(f" {name} ")
    shown = dict(zip(titles.split(), figures.split(), strict=True))
    assert (shown["READY"], shown["4XX"], shown["5XX"]) == ("1", "1", "0")
    assert int(shown["2XX"]) >= 1
    with tarfile.open(archive) as packed:
        raw = packed.extractfile(f"metrics/{name}.txt")
        assert raw is not None
        assert b"reranker_requests_total{" in raw.read()
    with front(rerankers.cluster, tmp_path, hangs) as kubeconfig:
        try:
            report = report_of(rerankers, "docs", kubeconfig=kubeconfig)
        finally:
            hung.set()
    assert f"{name}: not read: no answer in time" in report["METRICS"]


def test_a_cluster_without_the_crd(rerankers: Rerankers, tmp_path: Path) -> None:
    def without(path: str) -> tuple[int, bytes] | None:
        return (404, b"404 page not found\n") if path.startswith("/apis/reranking.dev/") else None

    with front(rerankers.cluster, tmp_path, without) as kubeconfig:
        refused(run(kubeconfig, "search/docs"), "serves no RerankerService", "CRD")


@pytest.mark.parametrize("given", ["foo", "a/b/c", "a/", "", "A/b", "a/b\n"])
def test_what_is_no_name_of_a_service(given: str) -> None:
    refused(run("/nowhere", given), "expected NAMESPACE/NAME")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "does not exist; set KUBECONFIG"),
        ("", "it cannot be used as it is"),
        ("a: [", "it cannot be used as it is"),
        ("[1, 2]", "it cannot be used as it is"),
    ],
)
def test_without_a_kubeconfig_it_says_where_it_looked(tmp_path: Path, content: str | None, said: str) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    if content is not None:
        kubeconfig.write_text(content)
    refused(run(kubeconfig, "search/docs"), str(kubeconfig), said)


def test_a_credential_plugin_that_fails_is_told(cluster: Cluster, tmp_path: Path) -> None:
    document = yaml.safe_load(cluster.kubeconfig.read_text())
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": "/nowhere/plugin", "interactiveMode": "Never"}
    document["users"][0]["user"] = {"exec": plugin}
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(document))
    refused(run(kubeconfig, "search/docs"), "/nowhere/plugin")


def test_a_server_that_does_not_answer(cluster: Cluster, tmp_path: Path) -> None:
    authority = cluster.control_plane.authority.certificate
    kubeconfig = write_kubeconfig(tmp_path / "kubeconfig", f"https://127.0.0.1:{free_port()}", authority, "token")
    refused(run(kubeconfig, "search/docs"), "https://127.0.0.1:", "Cannot connect")


def test_credentials_that_nobody_knows(cluster: Cluster, tmp_path: Path) -> None:
    plane = cluster.control_plane
    kubeconfig = write_kubeconfig(tmp_path / "kubeconfig", plane.url, plane.authority.certificate, "not-a-token")
    refused(run(kubeconfig, "search/docs"), "log in again")


def test_a_name_that_is_not_there_gives_those_that_are(rerankers: Rerankers) -> None:
    kubeconfig = rerankers.cluster.kubeconfig
    refused(run(kubeconfig, f"{rerankers.namespace}/docs"), "holds none", "kubectl get rerankerservices -A")
    rerankers.apply("docs", replicas=0)
    rerankers.apply("more", replicas=0)
    refused(run(kubeconfig, f"{rerankers.namespace}/dosc"), "does not exist", f"{rerankers.namespace} holds docs, more")


@pytest.mark.parametrize("flag", ["--output", "--archive"])
def test_a_file_that_cannot_be_written(cluster: Cluster, tmp_path: Path, flag: str) -> None:
    refused(run(cluster.kubeconfig, "search/docs", flag, tmp_path), str(tmp_path))
    refused(run(cluster.kubeconfig, "search/docs", flag, tmp_path / "nowhere/file"), f"{tmp_path}/nowhere/file")


def refused(made: Completed, *words: str) -> None:
    assert made.returncode == 2, made.stdout
    assert made.stdout == ""
    assert len(made.stderr.splitlines()) == 1, made.stderr
    for each in words:
        assert each in made.stderr


@pytest.fixture
def elsewhere(cluster: Cluster, operator: OperatorProcess, repository: Path) -> Iterator[str]:
    """A namespace with an operator as the project ships it, that watches that namespace alone.

    Pods of this kit reach the API server only in the host's network, so its ports must be free.
    """
    name = "operator-elsewhere"
    cluster.create_namespace(name)
    document = yaml.safe_load((repository / "deploy/operator/deployment.yaml").read_text())
    document["metadata"]["namespace"] = name
    document["spec"]["replicas"] = 1
    pod = document["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    ports = {"metrics": free_port(), "health": free_port()}
    container["args"] += ["--namespace", name, *(f"--{each}-port={port}" for each, port in ports.items())]
    container["ports"] = [{"name": each, "containerPort": port, "hostPort": port} for each, port in ports.items()]
    pod["hostNetwork"] = True
    account = {"kind": "ServiceAccount", "name": "reranker-operator", "namespace": name}
    group = "rbac.authorization.k8s.io"
    binding = {
        "apiVersion": f"{group}/v1",
        "metadata": {"name": name, "namespace": name},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [account],
    }
    cluster.add_image(Image(container["image"], entrypoint=["reranker-operator"]))
    cluster.apply(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account["name"], "namespace": name}},
        {**binding, "kind": "RoleBinding"},
        document,
    )
    try:
        yield name
    finally:
        cluster.delete("apps/v1", "Deployment", "reranker-operator", name)
        cluster.wait_gone("apps/v1", "Deployment", "reranker-operator", namespace=name)
        cluster.delete("v1", "Namespace", name)


def test_the_operator_itself_is_part_of_the_report(cluster: Cluster, elsewhere: str, rerankers: Rerankers) -> None:
    def leads(lease: Json) -> bool:
        return bool(lease["spec"].get("holderIdentity"))

    cluster.wait("coordination.k8s.io/v1", "Lease", "reranker-operator", leads, namespace=elsewhere)
    rerankers.apply("docs", replicas=0)
    rerankers.wait_condition("docs", "Ready", "False", "Paused")
    report = report_of(rerankers, "docs", "--operator-namespace", elsewhere)
    assert f"the operator watches only {elsewhere}: add --namespace {rerankers.namespace}" in report.verdict
    assert re.search(r"Deployment reranker-operator: [01] of 1 ready, ghcr.io/reranker-operator/", report["OPERATOR"])
    assert f"--namespace {elsewhere}" in report["OPERATOR"]
    assert re.search(r"reranker-operator-\S+: Running", report["OPERATOR"])
    assert "lines about this service (nothing)" in report["OPERATOR"]
