"""`make release` in a clone: what it makes, that it makes it again byte by byte, and what it leaves where it fails.

It needs no cluster, but the helm that comes with the control plane.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1.provenance_pb2 import Provenance
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement

from charts import Helm, flags_of, golden_text
from localkube.build import control_plane

NEXT = "987.6.5"
Git = Callable[..., str]
Release = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def release(as_nobody: dict[str, str]) -> Release:
    control_plane()  # built before a test's clock runs

    def run(folder: Path, *arguments: str, umask: int = 0o022) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "scripts/release.py", *arguments]
        return subprocess.run(command, cwd=folder, env=as_nobody, capture_output=True, text=True, umask=umask)

    return run


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def released(origin: Path, git: Git, release: Release, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone after its release."""
    place = tmp_path_factory.mktemp("released") / "clone"
    git(origin, "clone", "--quiet", str(origin), str(place))
    done = release(place, NEXT)
    assert done.returncode == 0, done.stderr
    return place


def test_everything_to_publish_is_made(released: Path) -> None:
    made = released / "dist" / NEXT
    assert {
        f"reranker_operator-{NEXT}-py3-none-any.whl",
        f"reranker_operator-{NEXT}.tar.gz",
        "images.txt",
        "NOTES.md",
        "provenance.intoto.json",
        "SHA256SUMS",
        f"reranker-operator-{NEXT}.tgz",
    } == set(files(made))
    checked = subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=made, capture_output=True)
    assert checked.returncode == 0, checked.stdout
    assert set((made / "images.txt").read_text().split()) == {
        f"ghcr.io/reranker-operator/reranker-{half}:{NEXT}" for half in ("operator", "runtime")
    }
    assert "What this release tells." in (made / "NOTES.md").read_text()


def test_the_commit_holds_version_and_changelog_and_nothing_else(released: Path, git: Git) -> None:
    assert git(released, "status", "--porcelain") == ""
    assert git(released, "log", "-1", "--format=%s") == f"Release {NEXT}"
    assert git(released, "log", "-1", "--format=%s", "HEAD~1") == "Everything"
    changed = git(released, "diff", "--name-only", "HEAD~1").split()
    everywhere = {"deploy/operator/deployment.yaml", "charts/reranker-operator/Chart.yaml"}
    assert {"pyproject.toml", "CHANGELOG.md", *everywhere} <= set(changed)
    assert {name.split("/")[0] for name in changed} <= {
        "pyproject.toml",
        "CHANGELOG.md",
        "changelog.d",
        "charts",
        "deploy",
        "docs",
        "examples",
        "README.md",
    }
    assert [path.name for path in (released / "changelog.d").iterdir()] == ["README.md"]
    checked = subprocess.run([sys.executable, "scripts/version.py", "--check"], cwd=released, capture_output=True)
    assert checked.returncode == 0, checked.stderr


def test_helm_reads_the_chart_as_that_version(released: Path) -> None:
    chart = released / "dist" / NEXT / f"reranker-operator-{NEXT}.tgz"
    command = [control_plane(), "helm", "template", "tried", chart]
    rendered = subprocess.run(command, capture_output=True, text=True)
    assert rendered.returncode == 0, rendered.stderr
    assert f"reranker-operator/reranker-operator:{NEXT}" in rendered.stdout


def test_the_golden_files_of_the_chart_outlive_the_release(released: Path, tmp_path: Path) -> None:
    chart, place = released / "charts/reranker-operator", released / "tests/cluster/chart"
    values = place / "values/default.yaml"
    made = Helm(control_plane(), tmp_path, chart).objects(values, flags_of(values))
    assert f"reranker-operator/reranker-operator:{NEXT}" in json.dumps(made)
    expected = (place / "output/default.yaml").read_text()
    assert list(yaml.safe_load_all(golden_text(made, chart))) == list(yaml.safe_load_all(expected))


def test_the_same_commit_gives_the_same_bytes_elsewhere(
    released: Path, git: Git, release: Release, tmp_path: Path
) -> None:
    """Another folder, another umask, another time, other times of the files."""
    git(released, "clone", "--quiet", str(released), str(tmp_path / "elsewhere"))
    again = release(tmp_path / "elsewhere", NEXT, umask=0o077)
    assert again.returncode == 0, again.stderr
    assert files(tmp_path / "elsewhere/dist" / NEXT) == files(released / "dist" / NEXT)


def test_once_more_changes_nothing(released: Path, git: Git, release: Release) -> None:
    before = (git(released, "rev-parse", "HEAD"), files(released / "dist" / NEXT))
    again = release(released, NEXT)
    assert again.returncode == 0, again.stderr
    assert (git(released, "rev-parse", "HEAD"), files(released / "dist" / NEXT)) == before


def test_the_provenance_is_read_by_in_totos_own_library(released: Path, git: Git) -> None:
    made = released / "dist" / NEXT
    document = json.loads((made / "provenance.intoto.json").read_text())
    statement = Statement.copy_from_pb(json_format.ParseDict(document, statement_pb2.Statement()))
    statement.validate()
    subjects = {subject.name: subject.digest["sha256"] for subject in statement.pb.subject}
    sums = dict(reversed(line.split()) for line in (made / "SHA256SUMS").read_text().splitlines())
    assert subjects == {name: sums[name] for name in sums if name.endswith((".whl", ".tar.gz", ".tgz"))}
    assert document["predicateType"] == "https://slsa.dev/provenance/v1"
    built = json_format.ParseDict(document["predicate"], Provenance()).build_definition
    assert built.external_parameters["version"] == NEXT
    assert built.resolved_dependencies[0].digest["gitCommit"] == git(released, "rev-parse", "HEAD")


def test_a_dry_run_keeps_nothing(clone: Path, git: Git, release: Release) -> None:
    before = git(clone, "rev-parse", "HEAD")
    done = release(clone, NEXT, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert f"reranker_operator-{NEXT}-py3-none-any.whl" in done.stdout
    assert untouched(clone, git, before)


def test_a_failure_leaves_the_tree_as_it_was(clone: Path, git: Git, release: Release) -> None:
    hook = clone / ".git/hooks/pre-commit"
    hook.write_text("#!/bin/sh\necho the hook says no >&2\nexit 1\n")
    hook.chmod(0o755)
    before = git(clone, "rev-parse", "HEAD")
    done = release(clone, NEXT)
    assert done.returncode == 1
    assert "the hook says no" in done.stderr
    assert "Traceback" not in done.stderr
    assert untouched(clone, git, before)


def untouched(clone: Path, git: Git, before: str) -> bool:
    assert git(clone, "status", "--porcelain") == ""
    assert len(git(clone, "worktree", "list").splitlines()) == 1
    assert not (clone / "dist").exists()
    return git(clone, "rev-parse", "HEAD") == before


def dirty(clone: Path, git: Git) -> None:
    (clone / "README.md").write_text("changed")


def tagged(clone: Path, git: Git) -> None:
    git(clone, "tag", f"v{NEXT}")
    git(clone, "commit", "--quiet", "--allow-empty", "--message", "Later")


def told_already(clone: Path, git: Git) -> None:
    with (clone / "CHANGELOG.md").open("a") as page:
        page.write(f"\n## {NEXT} (2026-01-01)\n\n- Told.\n")
    git(clone, "commit", "--quiet", "--all", "--message", "A section by hand")


def nothing_to_tell(clone: Path, git: Git) -> None:
    git(clone, "rm", "--quiet", "changelog.d/+*")
    git(clone, "commit", "--quiet", "--message", "Nothing to tell")


def on_no_branch(clone: Path, git: Git) -> None:
    git(clone, "switch", "--quiet", "--detach")


@pytest.mark.parametrize(
    ("version", "prepare", "words"),
    [
        (NEXT, dirty, "README.md"),
        (NEXT, tagged, f"tag v{NEXT}"),
        (NEXT, told_already, "choose a newer version"),
        (NEXT, nothing_to_tell, "no fragment"),
        (NEXT, on_no_branch, "git switch"),
        ("1.0.0rc1", None, "one reads 1.2.3"),
        ("v1.0.0", None, "one reads 1.2.3"),
        ("0.0.1", None, "older than"),
    ],
)
def test_refused(
    clone: Path, git: Git, release: Release, version: str, prepare: Callable[[Path, Git], None] | None, words: str
) -> None:
    if prepare:
        prepare(clone, git)
    done = release(clone, version)
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not (clone / "dist").exists()
