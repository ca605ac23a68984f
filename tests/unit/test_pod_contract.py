"""The two halves share no code: this proves that the runtime knows whatever the operator's builders emit."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from reranker_operator import contract
from reranker_runtime.settings import read_settings, unknown_variables

OUTPUTS = sorted((Path(__file__).parent.parent / "golden" / "output").glob("*.yaml"))


def ranking_container(path: Path) -> dict[str, Any]:
    documents = yaml.safe_load_all(path.read_text())
    deployment = next(document for document in documents if document["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return container


@pytest.mark.parametrize("path", OUTPUTS, ids=lambda path: path.stem)
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
    emitted = {entry["name"] for path in OUTPUTS for entry in ranking_container(path)["env"]}
    assert set(contract.OPERATOR_VARIABLES) <= emitted


@pytest.mark.parametrize("path", OUTPUTS, ids=lambda path: path.stem)
def test_the_ports_are_the_ones_the_runtime_listens_on(path: Path) -> None:
    container = ranking_container(path)
    settings = read_settings({entry["name"]: entry["value"] for entry in container["env"] if "value" in entry})
    assert {port["name"]: port["containerPort"] for port in container["ports"]} == {
        "api": settings.port,
        "internal": settings.internal_port,
    }
