"""The test kit tested: what it shows of pods must be what a real kubelet would show."""

import gc
import json
import os
import subprocess
import sys
import urllib.request
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from localkube.api import Json
from localkube.cluster import Cluster
from localkube.faultproxy import FaultProxy
from localkube.images import Image
from localkube.processes import Child, Identity, PidFile, wait_ended, wait_until

PYTHON = "localkube/python"
SERVER = """
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        ok = self.path != "/ready" or os.path.exists(os.environ.get("READY_FILE", "/"))
        self.send_response(200 if ok else 503)
        self.end_headers()
        self.wfile.write(os.environ["HOSTNAME"].encode())
http.server.ThreadingHTTPServer(("0.0.0.0", 8000), Handler).serve_forever()
"""


@pytest.fixture(scope="module", autouse=True)
def python_image(cluster: Cluster) -> None:
    """An image whose program is Python."""
    cluster.add_image(Image(PYTHON, entrypoint=["python"]))


def container(program: str, **more: Any) -> Json:
    return {"name": "main", "image": PYTHON, "imagePullPolicy": "IfNotPresent", "args": ["-c", program], **more}


def pod(name: str, *containers: Json, **spec: Any) -> Json:
    settings = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 5, **spec}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"containers": list(containers), **settings},
    }


def ended(item: Json) -> Any:
    """The terminated state of a pod's only container."""
    return (
        item["status"]["phase"] in {"Succeeded", "Failed"}
        and item["status"]["containerStatuses"][0]["state"]["terminated"]
    )


def condition(kind: str, status: str = "True") -> Callable[[Json], Any]:
    def check(item: Json) -> Any:
        return next((c for c in item["status"]["conditions"] if (c["type"], c["status"]) == (kind, status)), None)

    return check


def waiting(reason: str) -> Callable[[Json], Any]:
    def check(item: Json) -> Any:
        state = item["status"]["containerStatuses"][0]["state"]
        return state["waiting"] if state["waiting"]["reason"] == reason else None

    return check


def run(cluster: Cluster, namespace: str, item: Json, expected: Callable[[Json], Any]) -> Any:
    cluster.apply(item, namespace=namespace)
    return cluster.wait("v1", "Pod", item["metadata"]["name"], expected, namespace=namespace, timeout=30)


def test_exit_code_message_and_log_of_a_job(cluster: Cluster, namespace: str) -> None:
    program = "import sys; print('said'); open('/dev/termination-log', 'w').write('last words'); sys.exit(3)"
    template = {"spec": {"restartPolicy": "Never", "containers": [container(program)]}}
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "job"},
        "spec": {"backoffLimit": 0, "template": template},
    }
    cluster.apply(job, namespace=namespace)
    cluster.wait("batch/v1", "Job", "job", condition("Failed"), namespace=namespace, timeout=30)
    (item,) = cluster.objects("v1", "Pod", namespace)
    terminated = item["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (terminated["exitCode"], terminated["reason"], terminated["message"]) == (3, "Error", "last words")
    assert cluster.logs(item["metadata"]["name"], namespace) == "said\n"


def test_service_forwards_to_ready_pods_only(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    probe = {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 1, "failureThreshold": 1}
    server = container(
        SERVER,
        ports=[{"name": "http", "containerPort": 8000}],
        env=[{"name": "READY_FILE", "value": "/shared/ready"}],
        volumeMounts=[{"name": "shared", "mountPath": "/shared"}],
        readinessProbe=probe,
    )
    spec = {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {
                "containers": [server],
                "volumes": [{"name": "shared", "hostPath": {"path": str(tmp_path), "type": "Directory"}}],
            },
        },
    }
    ports = [{"port": 8080, "targetPort": "http"}]
    cluster.apply(
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web"},
            "spec": {"selector": {"app": "web"}, "ports": ports},
        },
        namespace=namespace,
    )

    def started(item: Json) -> bool:
        return bool(item["status"].get("unavailableReplicas") == 2 and item["status"]["replicas"] == 2)

    cluster.wait("apps/v1", "Deployment", "web", started, namespace=namespace)
    url = cluster.service_url("web", namespace)
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(url, timeout=5)
    (tmp_path / "ready").touch()
    cluster.wait("apps/v1", "Deployment", "web", lambda d: d["status"].get("readyReplicas") == 2, namespace=namespace)
    assert cluster.wait_service("web", namespace) == url
    pods = {item["metadata"]["name"] for item in cluster.objects("v1", "Pod", namespace, {"app": "web"})}
    seen: set[str] = set()

    def both_answered() -> bool:
        seen.add(urllib.request.urlopen(url, timeout=5).read().decode())
        return seen == pods

    wait_until("both pods to answer", both_answered, timeout=20)
    (tmp_path / "ready").unlink()
    cluster.wait("apps/v1", "Deployment", "web", lambda d: not d["status"].get("readyReplicas"), namespace=namespace)


def test_variables(cluster: Cluster, namespace: str) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key"}, "stringData": {"token": "s3cret"}}
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "config"}, "data": {"A": "from config"}}
    program = "import json, os; print(json.dumps([dict(os.environ), os.getuid(), __import__('sys').argv[1:]]))"
    item = pod(
        "variables",
        {
            **container(program, securityContext={"runAsUser": 65532, "runAsGroup": 7}),
            "args": ["-c", program, "$(TOKEN)", "$$(TOKEN)", "$(UNKNOWN)"],
            "envFrom": [{"configMapRef": {"name": "config"}, "prefix": "P_"}],
            "env": [
                {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "key", "key": "token"}}},
                {"name": "TWICE", "value": "$(TOKEN) $(TOKEN)"},
                {"name": "MINE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
                {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            ],
        },
    )
    cluster.apply(item, namespace=namespace)
    message = cluster.wait("v1", "Pod", "variables", waiting("CreateContainerConfigError"), namespace=namespace)[
        "message"
    ]
    assert message == 'configmap "config" not found'
    cluster.apply(config, secret, namespace=namespace)
    cluster.wait("v1", "Pod", "variables", ended, namespace=namespace)
    found, uid, arguments = json.loads(cluster.logs("variables", namespace))
    wanted = {"TOKEN": "s3cret", "TWICE": "s3cret s3cret", "MINE": "variables", "P_A": "from config"}
    assert wanted.items() <= found.items()
    assert found["IP"] == cluster.get("v1", "Pod", "variables", namespace)["status"]["podIP"]
    assert uid == 65532
    assert arguments == ["s3cret", "$(TOKEN)", "$(UNKNOWN)"]


def test_what_is_read_only_cannot_be_written(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")
    program = """
import json
def attempt(path):
    try:
        open(path, "w").close()
    except OSError as error:
        return error.strerror
    return "written"
print(json.dumps([open("/made/for/this/file").read()] + [attempt(path) for path in
    ("/made/for/this/file", "/usr/new", "/new", "/etc/new", "/scratch/new", "/dev/shm/new", "/one")]))
"""
    item = pod(
        "read-only",
        container(
            program,
            securityContext={"readOnlyRootFilesystem": True, "runAsUser": 65532, "allowPrivilegeEscalation": False},
            volumeMounts=[
                {"name": "host", "mountPath": "/made/for/this", "readOnly": True},
                {"name": "host", "mountPath": "/one", "subPath": "file", "readOnly": True},
                {"name": "scratch", "mountPath": "/scratch"},
            ],
        ),
        volumes=[
            {"name": "host", "hostPath": {"path": str(tmp_path), "type": "Directory"}},
            {"name": "scratch", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        ],
    )
    assert run(cluster, namespace, item, ended)["exitCode"] == 0
    refused = "Read-only file system"
    expected = ["content", refused, refused, refused, refused, "written", "written", refused]
    assert json.loads(cluster.logs("read-only", namespace)) == expected


def test_claim_is_provisioned_and_bound(cluster: Cluster, namespace: str) -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "models"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    cluster.apply(claim, namespace=namespace)
    (cluster.claim_folder("models", namespace) / "word").write_text("found")
    volumes = [{"name": "models", "persistentVolumeClaim": {"claimName": "models", "readOnly": True}}]
    reader = container("print(open('/m/word').read())", volumeMounts=[{"name": "models", "mountPath": "/m"}])
    assert run(cluster, namespace, pod("reader", reader, volumes=volumes), ended)["exitCode"] == 0
    assert cluster.logs("reader", namespace) == "found\n"


def test_gpus_are_scarce(cluster: Cluster, namespace: str) -> None:
    sleeper = container("import signal; signal.pause()", resources={"limits": {"nvidia.com/gpu": 1}})
    for number in range(3):
        run(cluster, namespace, pod(f"gpu-{number}", sleeper), condition("Ready"))
    unschedulable = run(cluster, namespace, pod("gpu-3", sleeper), condition("PodScheduled", "False"))
    assert unschedulable["reason"] == "Unschedulable"
    assert "Insufficient nvidia.com/gpu" in unschedulable["message"]


def test_missing_image(cluster: Cluster, namespace: str) -> None:
    item = pod("pulling", {**container("print('here')"), "image": "nowhere/nothing:1"})
    assert "nowhere/nothing:1" in run(cluster, namespace, item, waiting("ErrImagePull"))["message"]
    cluster.wait("v1", "Pod", "pulling", waiting("ImagePullBackOff"), namespace=namespace)
    cluster.add_image(Image("nowhere/nothing:1", entrypoint=["python"]))
    assert cluster.wait("v1", "Pod", "pulling", ended, namespace=namespace)["exitCode"] == 0
    cluster.remove_image("nowhere/nothing:1")


def test_deletion_gives_grace(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    program = """
import signal, sys
def end(number, frame):
    open("/shared/ended", "w").write("orderly")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
open("/shared/up", "w").close()
while True: signal.pause()
"""
    probe = {"exec": {"command": ["python", "-S", "-c", "open('/shared/up')"]}, "periodSeconds": 1}
    item = pod(
        "graceful",
        container(
            program,
            volumeMounts=[{"name": "shared", "mountPath": "/shared"}],
            readinessProbe=probe,
            lifecycle={"preStop": {"exec": {"command": ["python", "-S", "-c", "open('/shared/stopping', 'w')"]}}},
        ),
        container("import signal; signal.pause()") | {"name": "deaf"},
        volumes=[{"name": "shared", "hostPath": {"path": str(tmp_path)}}],
        terminationGracePeriodSeconds=3,
    )
    run(cluster, namespace, item, condition("Ready"))
    cluster.delete("v1", "Pod", "graceful", namespace)
    cluster.wait_gone("v1", "Pod", "graceful", namespace=namespace, timeout=15)
    assert (tmp_path / "ended").read_text() == "orderly"
    assert (tmp_path / "stopping").exists()


def test_crashing_container_backs_off(cluster: Cluster, namespace: str) -> None:
    item = pod("crashing", container("import sys; sys.exit(7)"), restartPolicy="Always")
    run(cluster, namespace, item, waiting("CrashLoopBackOff"))
    status = cluster.get("v1", "Pod", "crashing", namespace)["status"]["containerStatuses"][0]
    assert status["restartCount"] >= 1
    assert status["lastState"]["terminated"]["exitCode"] == 7


def test_liveness_and_startup_probes_restart(cluster: Cluster, namespace: str) -> None:
    probe = {"tcpSocket": {"port": 8000}, "periodSeconds": 1, "failureThreshold": 1}
    item = pod("unlively", container("import signal; signal.pause()", livenessProbe=probe), restartPolicy="Always")
    item["spec"]["terminationGracePeriodSeconds"] = 1

    def restarted(item: Json) -> Any:
        status = item["status"]["containerStatuses"][0]
        return status["restartCount"] and status["lastState"]["terminated"]

    assert run(cluster, namespace, item, restarted)["exitCode"] == 137


def test_a_node_that_comes_back_starts_its_pods_again(cluster: Cluster, namespace: str) -> None:
    item = pod("survivor", container("import signal; signal.pause()"), restartPolicy="Always", nodeName="node-b")
    run(cluster, namespace, item, condition("Ready"))
    cluster.stop_node("node-b")
    cluster.start_node("node-b")

    def restarted(item: Json) -> Any:
        return item["status"]["containerStatuses"][0]["restartCount"] == 1 and condition("Ready")(item)

    cluster.wait("v1", "Pod", "survivor", restarted, namespace=namespace, timeout=30)


def test_init_containers_come_first(cluster: Cluster, namespace: str) -> None:
    mounts = [{"name": "work", "mountPath": "/work-dir"}]
    first = container("open('/work-dir/a', 'w').write('made')", volumeMounts=mounts) | {"name": "first"}
    main = container("print(open('/work-dir/a').read())", volumeMounts=mounts)
    item = pod("two-steps", main, initContainers=[first], volumes=[{"name": "work", "emptyDir": {}}])
    assert run(cluster, namespace, item, ended)["exitCode"] == 0
    assert cluster.logs("two-steps", namespace) == "made\n"
    bad = pod("bad-init", main, initContainers=[container("raise SystemExit(2)") | {"name": "first"}])
    bad["spec"]["volumes"] = [{"name": "work", "emptyDir": {}}]
    assert run(cluster, namespace, bad, lambda item: item["status"]["phase"] == "Failed")


def test_missing_host_folder_keeps_the_pod_waiting(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    folder = tmp_path / "later"
    volumes = [{"name": "host", "hostPath": {"path": str(folder), "type": "Directory"}}]
    cluster.apply(pod("mounting", container("print(1)"), volumes=volumes), namespace=namespace)

    def failed_mount(item: Json) -> Any:
        return item["reason"] == "FailedMount" and item["message"]

    message = cluster.wait_any("v1", "Event", failed_mount, namespace=namespace)
    assert "hostPath type check failed" in message
    folder.mkdir()
    assert cluster.wait("v1", "Pod", "mounting", ended, namespace=namespace)["exitCode"] == 0


def test_pid_file_ends_only_what_was_written_down(tmp_path: Path) -> None:
    sleeper = [sys.executable, "-S", "-c", "import signal; signal.pause()"]
    ours, stranger = (Child(name, sleeper, tmp_path / name, tethered=True) for name in ("ours", "stranger"))
    file = PidFile(tmp_path / "pids.json")
    file.write([ours])
    entries = json.loads(file.path.read_text())
    entries.append({"name": "recycled", "pid": stranger.process.pid, "started": stranger.identity.started - 1})
    file.path.write_text(json.dumps(entries))
    assert [identity.name for identity in file.end_all()] == ["ours"]
    assert not ours.running
    assert stranger.running
    stranger.stop()


def test_a_fault_proxy_leaves_no_connection_behind(cluster: Cluster, tmp_path: Path) -> None:
    """What it forgets is closed while another test runs, which then fails for it."""
    plane = cluster.control_plane
    with warnings.catch_warnings(record=True) as left:
        warnings.simplefilter("always", ResourceWarning)
        with FaultProxy(plane) as proxy:
            kubeconfig = tmp_path / "kubeconfig"
            kubeconfig.write_text(plane.admin.read_text().replace(plane.url, proxy.url))
            kubectl = [plane.binary, "kubectl", "--kubeconfig", kubeconfig, "get", "-A", "--watch"]
            kinds = ("pods", "services", "secrets", "configmaps")
            watching = [Child(kind, [*map(str, kubectl), kind], tmp_path / kind, tethered=True) for kind in kinds]
            wait_until("all watches to run", lambda: proxy.watching() == len(kinds), timeout=60)
            proxy.cut_watches(lambda call: call.resource == "pods")
            for each in watching:
                each.kill()
        for each in watching:
            each.process.wait()
        gc.collect()
    assert [str(each.message) for each in left] == []


def test_nothing_outlives_the_process_that_started_a_cluster(tmp_path: Path) -> None:
    script = (
        "import json, os, pathlib, sys\n"
        "from localkube.cluster import Cluster\n"
        f"cluster = Cluster(pathlib.Path({str(tmp_path / 'state')!r}), images={{}})\n"
        "cluster.start()\n"
        "children = [*cluster.control_plane.children, *cluster.children.values()]\n"
        "print(json.dumps([vars(child.identity) for child in children]), flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    result = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    identities = [Identity(**entry) for entry in json.loads(result.stdout)]
    assert len(identities) == 7
    assert wait_ended(identities, 10) == []
