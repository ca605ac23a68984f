"""The two halves share no code: this proves that the runtime knows whatever the operator's builders emit."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from reranker_operator import contract
from reranker_runtime.settings import read_settings, unknown_variables

OUTPUTS = Path(__file__).parent.parent / "golden" / "output"


def ranking_container(path: Path) -> dict[str, Any]:
    documents = yaml.safe_load_all(path.read_text())
    deployment = next(document for document in documents if document["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return container


BUNDLED = [path for path in sorted(OUTPUTS.glob("*.yaml")) if "command" in ranking_container(path)]
NIM = [path for path in sorted(OUTPUTS.glob("*.yaml")) if "command" not in ranking_container(path)]


@pytest.mark.parametrize("path", BUNDLED, ids=lambda path: path.stem)
def test_the_runtime_takes_every_variable_that_the_operator_sets(path: Path) -> None:
    emitted = {
        entry["name"]: entry.get("value", "0123456789")  # the revision comes from a label of the pod
        for entry in ranking_container(path)["env"]
        if entry["name"] in contract.OPERATOR_VARIABLES
    }
    assert emitted
    assert unknown_variables(emitted) == []
    settings = read_settings(emitted)
    assert str(settings.model_path) == emitted["NIM_MODEL_PATH"]
    assert settings.names == (emitted["NIM_SERVED_MODEL_NAME"],)
    assert settings.revision == "0123456789"


def test_the_golden_files_hold_every_variable_that_the_operator_can_set() -> None:
    emitted = {entry["name"] for path in BUNDLED for entry in ranking_container(path)["env"]}
    assert set(contract.OPERATOR_VARIABLES) <= emitted


@pytest.mark.parametrize("path", NIM, ids=lambda path: path.stem)
def test_nvidias_image_is_told_nothing_but_its_cache_and_key(path: Path) -> None:
    """Newer images refuse to start on variables of older ones, so no other is set; its own entrypoint runs."""
    asked = yaml.safe_load((OUTPUTS.parent / "input" / path.name).read_text())
    container = ranking_container(path)
    theirs = {entry["name"] for entry in asked["spec"].get("server", {}).get("env", ())}
    emitted = {entry["name"] for entry in container["env"]} - theirs
    assert emitted - {"HTTPS_PROXY", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"} <= set(contract.NIM_VARIABLES)
    assert "args" not in container
    assert [port["containerPort"] for port in container["ports"]] == [contract.API_PORT]


def test_what_downloads_sees_the_token_and_the_way_out_and_what_ranks_does_not() -> None:
    documents = list(yaml.safe_load_all((OUTPUTS / "hugging-face-mirror.yaml").read_text()))
    job = next(document for document in documents if document["kind"] == "Job")
    (fetch,) = job["spec"]["template"]["spec"]["initContainers"]
    outward = {"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "HF_TOKEN"}
    assert outward <= {entry["name"] for entry in fetch["env"]}
    deployment = next(document for document in documents if document["kind"] == "Deployment")
    pod = yaml.safe_dump(deployment["spec"]["template"])
    assert not any(word in pod for word in (*outward, "company-ca", "read-token"))


@pytest.mark.parametrize("path", BUNDLED, ids=lambda path: path.stem)
def test_the_ports_are_the_ones_the_runtime_listens_on(path: Path) -> None:
    container = ranking_container(path)
    settings = read_settings({entry["name"]: entry["value"] for entry in container["env"] if "value" in entry})
    assert {port["name"]: port["containerPort"] for port in container["ports"]} == {
        "api": settings.port,
        "internal": settings.internal_port,
    }
