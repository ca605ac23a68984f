"""The CRD on a real API server: applied in every way, and refusing what it should in words that help."""

from pathlib import Path

import pytest
import yaml

from localkube.processes import ProcessError
from rerankers import Rerankers

ROOT = Path(__file__).parents[2]
CRD = ROOT / "crds" / "reranking.dev_rerankerservices.yaml"
REFUSED = sorted((ROOT / "tests/golden/refused").glob("*.yaml"))


@pytest.mark.parametrize(
    "flags", [[], ["--server-side"], ["--validate=strict"]], ids=["client-side", "server-side", "strict"]
)
def test_the_crd_can_be_applied(rerankers: Rerankers, flags: list[str]) -> None:
    applied = rerankers.cluster.kubectl(
        "apply",
        "--dry-run=server",
        "--force-conflicts" if "--server-side" in flags else "--wait=false",
        *flags,
        "-f",
        str(CRD),
    )
    assert "rerankerservices.reranking.dev" in applied


def test_the_crd_is_small_enough_for_client_side_apply() -> None:
    assert CRD.stat().st_size < 200_000


def test_the_whole_deploy_folder_is_accepted(rerankers: Rerankers) -> None:
    flags = ["--server-side", "--force-conflicts", "--dry-run=server"]
    made = rerankers.cluster.kubectl("apply", *flags, "-k", str(ROOT / "deploy"))
    assert "deployment.apps/reranker-operator serverside-applied" in made


@pytest.mark.parametrize("path", REFUSED, ids=lambda path: path.stem)
def test_the_server_refuses_what_render_refuses(rerankers: Rerankers, path: Path) -> None:
    """Rules are told in the same words; the schema's own checks in the server's, with the same field."""
    expected = path.read_text().splitlines()[0].removeprefix("# expect: ")
    field, _, words = expected.partition(": ")
    with pytest.raises(ProcessError) as refused:
        rerankers.cluster.kubectl("-n", rerankers.namespace, "apply", "--validate=strict", "-f", str(path))
    said = str(refused.value)
    assert words in said
    assert field.removeprefix("spec.").removeprefix("metadata.") in said


@pytest.mark.parametrize("path", sorted((ROOT / "tests/golden/input").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_server_takes_what_render_takes(rerankers: Rerankers, path: Path, tmp_path: Path) -> None:
    manifest = tmp_path / path.name
    manifest.write_text(path.read_text().replace("namespace: search", f"namespace: {rerankers.namespace}"))
    rerankers.cluster.kubectl(
        "-n", rerankers.namespace, "apply", "--validate=strict", "--dry-run=server", "-f", str(manifest)
    )


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_server_takes_every_example_as_it_is(rerankers: Rerankers, path: Path, tmp_path: Path) -> None:
    documents = [each for each in yaml.safe_load_all(path.read_text()) if each["kind"] != "Namespace"]
    for each in documents:
        each["metadata"]["namespace"] = rerankers.namespace
    manifest = tmp_path / path.name
    manifest.write_text(yaml.safe_dump_all(documents))
    rerankers.cluster.kubectl("apply", "--validate=strict", "--dry-run=server", "-f", str(manifest))


def test_unset_fields_get_their_defaults(rerankers: Rerankers) -> None:
    rerankers.cluster.kubectl("-n", rerankers.namespace, "apply", "-f", str(ROOT / "tests/golden/input/minimal.yaml"))
    made = rerankers.cluster.get("reranking.dev/v1alpha1", "RerankerService", "minimal", rerankers.namespace)
    assert made is not None
    spec = made["spec"]
    assert (spec["replicas"], spec["gpus"], spec["gpuResource"]) == (1, 1, "nvidia.com/gpu")
    assert (spec["model"]["precision"], spec["image"]["pullPolicy"]) == ("auto", "IfNotPresent")
    assert spec["server"] == {"maxPassages": 512, "maxQueueSeconds": 10, "logLevel": "info"}
    assert spec["service"] == {"type": "ClusterIP", "port": 8000}
