"""A real Prometheus reads the real operator and its pods: what alerts and dashboards ask for is there."""

from __future__ import annotations

import math
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from localkube.loopback import NO_PROXY
from localkube.operator_process import NAMESPACE, OperatorProcess
from localkube.processes import wait_until
from localkube.prometheus import Prometheus, PrometheusUnavailableError, Target, tool
from observability import RULE_FILES, alerts, queries
from rerankers import Rerankers

NOT_HERE = {
    "Certificate",  # no TLS
    "Failed rounds",
    "Refused by cause",
    "GPU memory",
}
"""Panels of what need not happen, or is not, in this cluster."""
INSTEAD = {
    # Nodes of this kit forward nothing, and reach pods themselves.
    "kubectl -n $NAMESPACE port-forward pod/$POD 8002 &": "true",
    "http://localhost:8002": "http://$ADDRESS:8002",
    "--replicas=3": "--replicas=1",
    # Nothing here measures pods or serves certificates.
    "top pods": "get pods",
    "get certificates": "get secrets",
}
"""What this cluster is too small for."""


@pytest.fixture
def watched(rerankers: Rerankers) -> Rerankers:
    """A service that ranks and is scaled by its queue, and one that waits for a Secret."""
    scaling = {"minReplicas": 1, "maxReplicas": 1, "targetQueueSeconds": 0.5}
    rerankers.apply("docs", autoscaling=scaling)
    missing = {"name": "HEADERS", "valueFrom": {"secretKeyRef": {"name": "none", "key": "headers"}}}
    rerankers.apply("waits", replicas=0, server={"env": [missing]})
    rerankers.wait_ready("docs")
    rerankers.wait_condition("docs", "RankingVerified", "True")
    rerankers.wait_condition("waits", "Ready", "False", "NotFound")
    return rerankers


@pytest.fixture
def prometheus(operator: OperatorProcess, watched: Rerankers, tmp_path: Path) -> Iterator[Prometheus]:
    """One that gives the labels that the ServiceMonitors would give. In CI it must be there."""
    try:
        tool("prometheus")
    except PrometheusUnavailableError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"alerts and dashboards cannot be tried: {error}")
        pytest.skip(f"alerts and dashboards were not tried: {error}")
    (pod,) = watched.pods("docs")
    place = {"namespace": watched.namespace, "service": "docs", "pod": pod["metadata"]["name"]}
    targets = [
        Target(f"127.0.0.1:{operator.metrics_port}", "/metrics", {"namespace": NAMESPACE, "pod": "operator-1"}),
        Target(f"{pod['status']['podIP']}:8002", "/v1/metrics", place),
    ]
    with Prometheus(tmp_path / "prometheus", targets, RULE_FILES) as running:
        yield running


@pytest.mark.long
def test_every_panel_shows_something_and_every_alert_is_evaluated(prometheus: Prometheus, watched: Rerankers) -> None:
    (pod,) = watched.pods("docs")
    address, times = pod["status"]["podIP"], count()

    def shown(expression: str) -> bool:
        return any(math.isfinite(float(series["value"][1])) for series in prometheus.query(expression))

    def load() -> None:
        watched.cluster.kubectl(
            "-n", watched.namespace, "annotate", "--overwrite", "rrs/waits", f"touched={next(times)}"
        )  # for a round of the operator
        watched.rank("docs", "which way should i go?", ["two roads diverged", "two roads diverged", "a stew"])
        assert watched.post("docs", {"query": {"text": "which way?"}, "passages": "none"}).status_code == 422
        with socket.create_connection((address, 8000), timeout=30) as stranger:
            stranger.sendall(b"what?\r\n\r\n")
            assert b"400" in stranger.recv(64)

    empty = {where for where in queries() if where.partition(": ")[2] in NOT_HERE}
    assert len(empty) == len(NOT_HERE)
    waiting = {where: text for where, text in queries().items() if not where.startswith("alert ")}

    def all_shown() -> bool:
        load()  # rates need counters that move between two looks
        for where in [where for where, text in waiting.items() if shown(text)]:
            del waiting[where]
        return set(waiting) <= empty

    try:
        wait_until("every panel to show something", all_shown, timeout=60, interval=1)
    finally:
        assert set(waiting) <= empty  # by name

    wait_until("every rule to be evaluated", lambda: _evaluated(prometheus) == set(alerts()), timeout=30)
    pending = f'ALERTS{{alertname="RerankerServiceNotReady", namespace="{watched.namespace}"}}'
    (found,) = wait_until("the alert of the service that waits", lambda: prometheus.query(pending) or None, timeout=30)
    assert found["metric"]["name"] == "waits"


def _evaluated(prometheus: Prometheus) -> set[str]:
    rules = prometheus.rules()
    assert [rule for rule in rules if rule["health"] == "err"] == []
    return {rule["name"] for rule in rules if rule["health"] == "ok"}


def test_every_command_of_the_runbooks_runs(repository: Path, watched: Rerankers, tmp_path: Path) -> None:
    text = (repository / "docs/runbooks.md").read_text()
    for said, instead in INSTEAD.items():
        assert said in text
        text = text.replace(said, instead)
    blocks = re.findall(r"^```console\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    commands = [command for block in blocks[1:] for command in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]]
    assert len(commands) > len(alerts())
    (pod,) = watched.pods("docs")
    kubectl = tmp_path / "bin/kubectl"
    kubectl.parent.mkdir()
    kubectl.write_text(f'#!/bin/sh\nexec "{watched.cluster.binary}" kubectl "$@"\n')
    kubectl.chmod(0o755)
    environment = {
        **os.environ,
        **NO_PROXY,
        "PATH": os.pathsep.join([str(kubectl.parent), str(Path(sys.executable).parent), os.environ["PATH"]]),
        "KUBECONFIG": str(watched.cluster.kubeconfig),
        "OPERATOR": NAMESPACE,
        "NAMESPACE": watched.namespace,
        "NAME": "docs",
        "POD": pod["metadata"]["name"],
        "ADDRESS": pod["status"]["podIP"],
    }
    # To find nothing is no failure; all else is, also in front of a pipe.
    grep = 'grep() { command grep "$@" || test $? = 1; }\n'
    script = "set -euxo pipefail\n" + grep + "".join(commands)
    run = subprocess.run(
        ["bash", "-c", script], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert run.returncode == 0, run.stdout[-4000:]
