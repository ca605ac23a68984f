"""What was converted is taken by the real server; commands and manifests of the migration pages are run and applied."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from localkube.loopback import NO_PROXY
from localkube.operator_process import OperatorProcess
from rerankers import API, Rerankers

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests/golden/convert"
CONVERTED = sorted((GOLDEN / "output").glob("*.yaml"))


@pytest.mark.parametrize("path", CONVERTED, ids=lambda path: path.stem)
def test_the_server_takes_what_was_converted(rerankers: Rerankers, path: Path) -> None:
    services = list(yaml.safe_load_all(path.read_text()))
    for each in services:
        each["metadata"]["namespace"] = rerankers.namespace
    flags = ["--validate=strict", "--dry-run=server"]
    said = rerankers.cluster.kubectl("apply", *flags, "-f", "-", stdin=yaml.safe_dump_all(services))
    assert len(said.splitlines()) == len(services)


def test_a_converted_service_is_reconciled(rerankers: Rerankers, operator: OperatorProcess) -> None:
    """Not only its schema: its Deployment, with the claim that a NIMCache had."""
    (service,) = yaml.safe_load_all((GOLDEN / "output/pipeline.nim.yaml").read_text())
    service["metadata"]["namespace"] = rerankers.namespace
    rerankers.cluster.apply(service)
    missing = rerankers.wait_condition("rerank", "ReferencesResolved", "False", "NotFound")
    for name in ("ngc-api", "ngc-registry", "rerank-pvc"):
        assert name in missing["message"]


def fenced(page: str, language: str) -> list[str]:
    """Blocks of a page in docs."""
    text = (ROOT / "docs" / page).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def test_commands_of_the_page_about_the_nim_operator(rerankers: Rerankers, tmp_path: Path) -> None:
    """In a folder with manifests; what asks the cluster for NIMServices, whose kinds it does not serve, gets a file."""
    (tmp_path / "nim").mkdir()
    (tmp_path / "services").mkdir()
    (tmp_path / "nim/rerank.yaml").write_text(
        (GOLDEN / "input/pipeline.yaml").read_text().replace("namespace: rag", "")
    )
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/kubectl").write_text(f'#!/bin/sh\nexec "{rerankers.cluster.binary}" kubectl "$@"\n')
    (tmp_path / "bin/kubectl").chmod(0o755)
    blocks = fenced("migrate-from-nim-operator.md", "console")
    script = "".join(command for block in blocks for command in re.split(r"^\$ ", block, flags=re.MULTILINE))
    asks = "kubectl -n search get nimservices,nimcaches,nimpipelines -o yaml"
    assert asks in script
    script = script.replace(asks, "cat nim/rerank.yaml").replace("-n search", f"-n {rerankers.namespace}")
    path = os.pathsep.join([str(tmp_path / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
    variables = {**os.environ, **NO_PROXY, "PATH": path, "KUBECONFIG": str(rerankers.cluster.kubeconfig)}
    done = subprocess.run(
        ["bash", "-euxo", "pipefail", "-c", script], cwd=tmp_path, env=variables, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "services/rerank.yaml").exists()
    assert "rerankerservice.reranking.dev/rerank created (server dry run)" in done.stdout


def test_manifests_of_the_page_about_tei(rerankers: Rerankers) -> None:
    deployment, service = (yaml.safe_load(block) for block in fenced("migrate-from-tei.md", "yaml"))
    assert (deployment["kind"], service["apiVersion"]) == ("Deployment", API)
    for each in (deployment, service):
        flags = ["--validate=strict", "--dry-run=server"]
        rerankers.cluster.kubectl("-n", rerankers.namespace, "apply", *flags, "-f", "-", stdin=yaml.safe_dump(each))
