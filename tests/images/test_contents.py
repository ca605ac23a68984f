"""What is in the images, and what is not."""

from __future__ import annotations

import json
import re
import stat
import subprocess
import tomllib
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from imagekit.image import HOME, Image

TOOLS = {"pip", "uv", "hatchling", "cyclonedx-bom", "wheel", "pytest"}
PROGRAM = re.compile(r"(pip|uv|gcc|g\+\+|cc|clang|ld|make|sh|bash)[\d.-]*")


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_operators_image_has_no_torch(operator: Image, runtime: Image) -> None:
    assert not {"torch", "numpy", "transformers", "triton"} & set(operator.distributions)
    assert not [name for name in operator.distributions if name.startswith(("nvidia", "cuda"))]
    assert not (operator.root / "models").exists()
    assert {"torch", "triton", "nvidia-cublas"} <= set(runtime.distributions)
    assert not {"kopf", "kubernetes"} & set(runtime.distributions)


def test_it_runs_as_a_numbered_user_without_a_shell(image: Image) -> None:
    user, group = image.config["User"].split(":")
    assert int(user) > 0
    assert int(group) > 0
    assert image.config["Entrypoint"] == [f"reranker-{image.name.rpartition('reranker-')[2].partition(':')[0]}"]
    said = image.python(
        "import json, os; print(json.dumps([os.getuid(), os.getgid(), os.getgroups(), os.listdir('/usr/bin')]))"
    )
    assert said[:3] == [int(user), int(group), []]
    assert sorted(said[3]) == sorted(image.interpreter), "the tests run it with the interpreter alone"


def test_neither_build_tools_nor_compilers_are_left(image: Image) -> None:
    assert not TOOLS & set(image.distributions)
    programs = {
        path.name
        for part in ("venv", "code", "packages", "torch")
        for path in (image.root / HOME / part / "bin").glob("*")
    }
    assert "reranker-operator" in programs
    assert not [name for name in programs if PROGRAM.fullmatch(name)]
    assert not (image.root / "opt/build").exists()
    assert not (image.root / "src").exists()


def test_nothing_in_it_can_be_written_or_runs_as_another_user(image: Image, base: Image) -> None:
    def loose(of: Image) -> set[Path]:
        wide = stat.S_IWOTH | stat.S_ISUID | stat.S_ISGID
        return {path for path, found in of.files() if found.st_mode & wide}

    assert loose(image) <= loose(base)
    ours = [(path, found) for path, found in image.files() if path.is_relative_to(HOME) or path.parts[0] == "models"]
    assert ours
    assert {(found.st_uid, found.st_gid) for _, found in ours} == {(0, 0)}
    unreadable = [path for path, found in ours if not found.st_mode & stat.S_IROTH]
    assert unreadable == []


def test_bytecode_is_there_and_is_taken_without_the_source_being_looked_at(image: Image) -> None:
    flags = image.python(
        "import importlib.util as u, json, reranker_operator.cli as c, json.decoder as d\n"
        "print(json.dumps([open(m.__cached__, 'rb').read()[4] for m in (c,)] + [bool(d.__cached__)]))"
    )
    assert flags == [1, True], "1: hash-based, unchecked (PEP 552)"


def test_labels_say_what_it_is_made_of(image: Image, root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    revision = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True).stdout.strip()
    assert image.labels["version"] == project["version"]
    assert image.labels["licenses"] == project["license"]
    assert image.labels["title"] == image.config["Entrypoint"][0]
    assert image.labels["revision"].removesuffix("-changed") == revision
    assert image.labels["source"]
    assert image.labels["description"]
    assert datetime.fromisoformat(image.labels["created"]).tzinfo is not None


def test_the_bill_of_materials_names_what_is_installed(image: Image, validate: Callable[[Path], str]) -> None:
    file = image.root / HOME / "about/sbom.cdx.json"
    assert validate(file) == "valid\n"
    bill = json.loads(file.read_text())
    assert bill["bomFormat"] == "CycloneDX"
    named = {plain(part["name"]): part["version"] for part in [*bill["components"], bill["metadata"]["component"]]}
    assert named == {plain(name): version for name, version in image.distributions.items()}


def test_the_licences_of_all_that_is_installed_are_there(image: Image) -> None:
    directory = image.root / HOME / "about/licenses"
    index = json.loads((directory / "index.json").read_text())
    assert {entry["name"]: entry["version"] for entry in index} == image.distributions
    for entry in index:
        assert all((directory / file).stat().st_size for file in entry["files"])
    without = {entry["name"] for entry in index if not entry["license"] and not entry["files"]}
    assert without <= {"cuda-toolkit"}, "a name for others, which brings nothing itself"
    ours = next(entry for entry in index if entry["name"] == "reranker-operator")
    assert "Apache License" in (directory / ours["files"][0]).read_text()


def test_no_address_of_an_index_is_left(image: Image, base: Image) -> None:
    configured = {path for path, _ in image.files() if path.name in ("pip.conf", "uv.toml", ".netrc", ".pypirc")}
    assert configured <= {path for path, _ in base.files()}
    assert not (image.root / "run/secrets").exists()
    told = json.dumps([image.config, image.history])
    assert "index" not in told.lower()
    assert "PIP_" not in told


def test_the_large_part_is_a_layer_below_the_code(runtime: Image) -> None:
    copied = [step["created_by"] for step in runtime.history if "COPY" in step["created_by"]]
    order = [
        next(n for n, step in enumerate(copied) if f"reranker/{part}" in step) for part in ("torch", "packages", "code")
    ]
    assert order == sorted(order)
    assert order[-1] == len(copied) - 1


@pytest.mark.parametrize("target", ["operator"])
def test_the_same_source_gives_the_same_layers(target: str, operator: Image, build: Callable[..., Image]) -> None:
    again = build(target, "--no-cache", tag="again")
    assert again.layers == operator.layers
