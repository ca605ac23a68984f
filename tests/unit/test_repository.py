"""The shape of the repository, which the design rests on."""

import subprocess
import sys
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent


def test_operator_folder_does_not_shadow_the_standard_library(root: Path) -> None:
    assert not (root / "operator" / "__init__.py").exists()
    found = subprocess.run(
        [sys.executable, "-c", "import operator; print(operator.itemgetter)"], cwd=root, capture_output=True, text=True
    )
    assert found.returncode == 0, found.stderr


def test_operator_and_runtime_do_not_import_each_other(root: Path) -> None:
    checked = subprocess.run([BIN / "lint-imports"], cwd=root, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
    assert "0 broken" in checked.stdout


@pytest.fixture(scope="module")
def operator_only(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with what an operator image installs."""
    place = tmp_path_factory.mktemp("operator-only")
    uv = BIN / "uv"
    for arguments in (
        ["venv", "--quiet", "--python", sys.executable, place],
        [
            "pip",
            "install",
            "--quiet",
            "--python",
            place / "bin/python",
            "--requirement",
            root / "requirements/operator.txt",
        ],
        ["pip", "install", "--quiet", "--python", place / "bin/python", "--no-deps", root],
    ):
        installed = subprocess.run([uv, *arguments], capture_output=True, text=True)
        assert installed.returncode == 0, installed.stderr
    return place


def test_installing_only_the_operator_does_not_bring_torch(operator_only: Path) -> None:
    python = operator_only / "bin/python"
    missing = subprocess.run([python, "-c", "import torch"], capture_output=True, text=True)
    assert "No module named 'torch'" in missing.stderr
    printed = subprocess.run([operator_only / "bin/reranker-operator", "crd"], capture_output=True, text=True)
    assert printed.returncode == 0, printed.stderr
    assert "kind: CustomResourceDefinition" in printed.stdout


def test_the_runtime_without_its_extra_says_what_to_install(operator_only: Path) -> None:
    started = subprocess.run(
        [operator_only / "bin/reranker-runtime", "serve", "--model", "/models/any"], capture_output=True, text=True
    )
    assert started.returncode == 2
    assert "reranker-operator[runtime]" in started.stderr
    assert "Traceback" not in started.stderr


def test_no_file_names_a_package_registry(root: Path) -> None:
    words = ["pypi" + ".org", "files.python" + "hosted", "proxy.golang" + ".org", "registry.npm" + "js"]
    tracked = subprocess.run(["git", "ls-files"], cwd=root, capture_output=True, text=True, check=True).stdout.split()
    found = [
        (name, word)
        for name in tracked
        for word in words
        if word in (root / name).read_text(encoding="utf-8", errors="ignore")
    ]
    assert found == []
