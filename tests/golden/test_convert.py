"""Golden files of `reranker-operator convert`: manifests of NVIDIA's NIM operator, what they become, and what is told.

Each input is converted for NVIDIA's image, and those of `BUNDLED` for the bundled runtime too.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from converting import SERVICE, run

from reranker_operator.cli import main
from reranker_operator.convert import Wishes, convert
from reranker_operator.convert.table import CACHE_LEFT, LEFT, ROUTER_LEFT

HERE = Path(__file__).parent / "convert"
INPUTS = sorted(path.stem for path in (HERE / "input").glob("*.yaml"))
COMMIT = "0123456789abcdef0123456789abcdef01234567"
BUNDLED = {
    "everything": ["--hugging-face", f"my-org/my-reranker@{COMMIT}"],
    "pipeline": ["--claim", "models/rerank"],
    "hub": [],
}
CASES = {
    **{f"{name}.nim": (name, ["--runtime", "NIM"]) for name in INPUTS},
    **{f"{name}.bundled": (name, ["--runtime", "Bundled", *flags]) for name, flags in BUNDLED.items()},
}
PAGE = Path(__file__).parents[2] / "docs/migrate-from-nim-operator.md"


@pytest.mark.parametrize("case", sorted(CASES))
def test_manifests_become_the_golden_services(case: str, request: pytest.FixtureRequest) -> None:
    name, flags = CASES[case]
    file = HERE / "input" / f"{name}.yaml"
    result = run(*flags, str(file))
    assert result.returncode == 0, result.stderr
    told = result.stderr.replace(f"reranker-operator: {file}: ", "")
    golden, words = HERE / "output" / f"{case}.yaml", HERE / "output" / f"{case}.txt"
    if request.config.getoption("--update-golden"):
        golden.write_text(result.stdout)
        words.write_text(told)
    assert list(yaml.safe_load_all(result.stdout)) == list(yaml.safe_load_all(golden.read_text()))
    assert told == words.read_text()


def test_each_golden_output_has_a_case() -> None:
    assert {path.stem for path in (HERE / "output").iterdir()} == set(CASES)


@pytest.mark.parametrize("case", sorted(CASES))
def test_render_takes_what_was_converted(case: str, tmp_path: Path) -> None:
    name, flags = CASES[case]
    (tmp_path / "made.yaml").write_text(run(*flags, str(HERE / "input" / f"{name}.yaml")).stdout)
    rendered = CliRunner(catch_exceptions=False).invoke(main, ["render", str(tmp_path / "made.yaml")])
    assert rendered.exit_code == 0, rendered.stderr
    assert any(made["kind"] == "Deployment" for made in yaml.safe_load_all(rendered.stdout))


def known_paths() -> set[str]:
    """Every path that the converter reads, of a manifest that has them all."""
    with (HERE / "input/everything.yaml").open("rb") as file:
        read = convert([("everything.yaml", file)], Wishes()).read
    with (HERE / "input/pipeline.yaml").open("rb") as file:
        pipeline = convert([("pipeline.yaml", file)], Wishes()).read
    read |= {path for path in pipeline if path.startswith("NIMPipeline.") and not _of_a_service(path)}
    # A field with fields of its own stands for itself only where it is read as a whole.
    return {path for path in read if not any(other.startswith((f"{path}.", f"{path}[]")) for other in read)}


def _of_a_service(path: str) -> bool:
    return path.startswith("NIMPipeline.spec.services[].spec.")


def table_paths() -> set[str]:
    """First column of the page's tables, below the heading of their kind."""
    found: set[str] = set()
    for kind, text in re.findall(
        r"^## Fields of (?:a )?(\w+)\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.DOTALL | re.MULTILINE
    ):
        for row in re.findall(r"^\| (`.*?) \|", text, re.MULTILINE):
            found |= {f"{kind}.{path}" for path in re.findall(r"`([^`]+)`", row)}
    return found


def test_the_table_of_the_page_has_exactly_the_fields_that_are_known() -> None:
    assert table_paths() == known_paths()


def value_at(document: dict[str, Any], path: str) -> Any:
    """The value of a field; of the older router, that of today's."""
    found: Any = document
    for step in path.replace("spec.router.", "spec.expose.router.").split("."):
        found = found[step]
    return found


SAID_BY_ITS_PLACE = {"spec.type"}
"""`reranking` is what every service here is."""


@pytest.mark.parametrize(
    "path",
    sorted(
        each.removeprefix("NIMService.")
        for each in known_paths()
        if ".spec." in each and each.startswith("NIMService.")
    ),
)
@pytest.mark.parametrize("runtime", ["NIM", "Bundled"])
def test_no_field_is_dropped_in_silence(path: str, runtime: str) -> None:
    """A field alone makes a difference: to the service, or to what is told."""
    everything = list(yaml.safe_load_all((HERE / "input/everything.yaml").read_text()))[1]
    alone = yaml.safe_load(SERVICE)
    if path == "spec.image.tag":
        del alone["spec"]["image"]["tag"]
    flags = ["--runtime", runtime, *(["--claim", "models"] if runtime == "Bundled" else [])]
    before = run(*flags, "-", stdin=yaml.safe_dump(alone))
    *above, last = path.split(".")
    place = alone
    for step in above:
        place = place.setdefault(step, {})
    place[last] = value_at(everything, path) or "a-value"
    after = run(*flags, "-", stdin=yaml.safe_dump(alone))
    assert before.returncode == 0, before.stderr
    differs = (after.returncode, after.stdout, after.stderr) != (before.returncode, before.stdout, before.stderr)
    assert differs or path in SAID_BY_ITS_PLACE


def test_a_manifest_with_every_field_has_every_one_that_is_left_out() -> None:
    told = (HERE / "output/everything.nim.txt").read_text()
    for path in LEFT:
        assert f"NIMService rerank: spec.{path}: left out" in told, path
    for path in ROUTER_LEFT:
        assert f"NIMService rerank: spec.expose.router.{path}: left out" in told, path
    for path in CACHE_LEFT.keys() - {"source.dataStore"}:
        assert f"NIMCache rerank-cache: spec.{path}: left out" in told, path
