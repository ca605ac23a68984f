"""Every command in a page is run by a test, or stands here with the reason why it is not."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLLOWED = {
    "README.md": "tests/cluster/test_readme.py",
    "docs/guides/*.md": "tests/cluster/test_guides.py",
    "docs/migrate-from-nim-operator.md": "tests/cluster/test_migration.py",
    "docs/migrate-from-tei.md": "tests/runtime/test_migration.py",
    "docs/quickstart.md": "tests/cluster/test_tutorials.py",
    "docs/runbooks.md": "tests/cluster/test_observability.py",
    "docs/tutorials/*.md": "tests/cluster/test_tutorials.py",
}
"""Pages that a test runs from the first command to the last; it fails for a page that it does not know."""
EVERYWHERE = {
    "python benchmarks/": "a benchmark takes minutes, and its figures are kept in the page",
    "make bench": "a benchmark takes minutes, and its figures are kept in the page",
}
"""Beginnings of commands that no test runs, wherever they stand."""
NOT_RUN = {
    ("CONTRIBUTING.md", "make test"): "it runs the tests",
    ("CONTRIBUTING.md", "make docs"): "tests/unit/test_site.py and tests/runtime/browser/test_site.py run its script",
    ("docs/supply-chain.md", "cosign "): "there is neither cosign nor a registry here, and the page says so",
    ("docs/supply-chain.md", "diff dist/"): "tests/cluster/test_release.py compares them",
    ("docs/supply-chain.md", "git clone"): "tests/cluster/test_release.py releases in clones",
    ("docs/supply-chain.md", "make release"): "tests/cluster/test_release.py runs its script",
    ("docs/supply-chain.md", "sha256sum --check"): "tests/cluster/test_release.py runs it",
    ("docs/images.md", "make images"): "tests/unit/test_image_builds.py runs its script, tests/images build with it",
    ("docs/images.md", "docker "): "there is no Docker here; tests/images run the images with buildah",
    ("docs/images.md", "podman run"): "the same, with a GPU",
    ("docs/images.md", "cyclonedx "): "tests/images/test_contents.py validates it with the same library",
    ("docs/performance.md", "make test-images"): "it runs tests",
    ("docs/models.md", "reranker-runtime verify --quick"): "tests/runtime/test_verify_refusals.py runs it",
    ("docs/reference/events.md", "kubectl get events"): "it lists, and what is listed is tested in tests/cluster",
    ("docs/runtime.md", "NIM_MODEL_PATH="): "tests/runtime starts every server of its own so",
    ("docs/runtime.md", "reranker-runtime fetch"): "tests/runtime/fetch runs it against a hub on loopback",
    ("docs/runtime.md", "reranker-runtime health"): "tests/runtime/test_health_check.py runs it",
    ("docs/runtime.md", "reranker-runtime rank"): "tests/runtime/test_rank.py runs it",
    ("docs/runtime.md", "reranker-runtime verify"): "tests/runtime/test_verify.py runs it",
}
"""Commands by their page and beginning, and where else they are run, or why not."""


def commands(page: Path) -> list[str]:
    """Its commands, on one line each, without a comment behind."""
    text = page.read_text("utf-8")
    blocks = re.findall(r"^```console\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    found = [each for block in blocks for each in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]]
    return [re.split(r"\s{2,}#", each.strip(), maxsplit=1)[0] for each in found]


def pages() -> dict[str, list[str]]:
    every = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
    return {str(page.relative_to(ROOT)): commands(page) for page in every}


def is_followed(page: str) -> bool:
    return any(fnmatch(page, pattern) for pattern in FOLLOWED)


def test_every_command_is_run_or_listed() -> None:
    every = pages()
    run = {command for page, found in every.items() if is_followed(page) for command in found}
    for page, found in every.items():
        for command in found:
            listed = any(page == where and command.startswith(begin) for where, begin in NOT_RUN)
            known = is_followed(page) or command in run or command.startswith(tuple(EVERYWHERE))
            assert known or listed, (
                f"{page}: no test runs `{command}`: have one follow the page (FOLLOWED), or say in NOT_RUN why not"
            )


def test_what_is_listed_is_there() -> None:
    every = pages()
    for page, begin in NOT_RUN:
        assert begin, f"{page}: which command?"
        assert not is_followed(page), f"{page} is followed: every command of it is run"
        assert any(command.startswith(begin) for command in every.get(page, ())), f"{page} has no {begin} any more"
    for pattern, test in FOLLOWED.items():
        folder = Path(pattern).parent.name if "*" in pattern else Path(pattern).name
        assert any(fnmatch(page, pattern) for page in every), f"there is no page {pattern}"
        assert folder in (ROOT / test).read_text(), f"{test} does not speak of {folder}"
