"""Make a release in dist/VERSION: wheel, sdist, chart, image tags, notes, sums and provenance. Nothing is pushed.

python scripts/release.py VERSION [--dry-run]

All of it is made in a worktree of its own, the commit "Release VERSION" too. Only when everything is there does the
branch move on to that commit and dist/ get its folder: a failure leaves both as they were. Run again for what is
released already, it makes the same bytes again.
"""

from __future__ import annotations

import argparse
import datetime
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

import version as versions
from archive import repacked
from provenance import provenance, sha256

ROOT: Final = Path(__file__).parents[1]
DIST: Final = ROOT / "dist"
IMAGES: Final = ("reranker-operator", "reranker-runtime")
REGISTRY: Final = "ghcr.io/reranker-operator"
SHOWN: Final = 5


class ReleaseError(Exception):
    """Why there is no release; the tree is as it was."""


def main() -> int:
    """Release; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("version", metavar="VERSION", help="such as 0.2.0")
    parser.add_argument("--dry-run", action="store_true", help="make everything, show it, and keep nothing")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, _interrupt)  # put away what is half done, as with ctrl-C
    try:
        release(options.version, keep=not options.dry_run)
    except ReleaseError as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("release: interrupted; the tree is as it was", file=sys.stderr)
        return 130
    return 0


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def release(version: str, *, keep: bool) -> None:
    """Make it, and keep it or not. Raises ReleaseError."""
    check(version)
    with worktree() as tree, tempfile.TemporaryDirectory() as scratch:
        prepare(tree, version)
        commit = git("rev-parse", "HEAD", folder=tree)
        made = Path(scratch) / version
        build(tree, made, version, commit)
        if keep:
            show(keep_all(made, version, commit), version)
        else:
            show(made, version)
            print("\nrelease: a dry run: nothing of this was kept")


def check(version: str) -> None:
    """Raises ReleaseError where there is no releasing that version from here."""
    if not versions.VERSION.fullmatch(version):
        raise ReleaseError(f"{version!r} is no version here; one reads 1.2.3, which pip and Helm both take")
    if changed := git("status", "--porcelain").splitlines():
        some = ", ".join(line[3:] for line in changed[:SHOWN]) + (", ..." if len(changed) > SHOWN else "")
        raise ReleaseError(f"the tree in {ROOT} has changes that no commit holds ({some}); commit or stash them first")
    if not git("branch", "--show-current"):
        raise ReleaseError(f"HEAD of {ROOT} is on no branch, so there is none to move on; run: git switch BRANCH")
    now = versions.current(ROOT)
    if _number(version) < _number(now):
        raise ReleaseError(f"{version} is older than {now}, which pyproject.toml has")
    tagged = git("tag", "--list", f"v{version}") and git("rev-parse", f"v{version}^{{commit}}")
    if tagged and tagged != git("rev-parse", "HEAD"):
        raise ReleaseError(f"{version} is released: the tag v{version} is at {tagged[:12]}; choose a newer version")


def prepare(tree: Path, version: str) -> None:
    """Set the version, write the changelog and commit both; nothing to do where HEAD is that release."""
    versions.write(version, tree)
    fragments = sorted(path.name for path in (tree / "changelog.d").glob("*.*.md"))
    if not section(tree, version):
        if not fragments:
            raise ReleaseError("changelog.d/ holds no fragment: there is nothing to tell of this version")
        today = datetime.datetime.now(datetime.UTC).date().isoformat()
        run([sys.executable, "-m", "towncrier", "build", "--yes", f"--version={version}", f"--date={today}"], tree)
    elif fragments:
        raise ReleaseError(
            f"CHANGELOG.md has a section {version} already, and changelog.d/ has {len(fragments)} changes since "
            f"({', '.join(fragments[:SHOWN])}); choose a newer version"
        )
    if git("status", "--porcelain", folder=tree):
        git("add", "--all", folder=tree)
        git("commit", "--quiet", "--message", f"Release {version}", folder=tree)


def build(tree: Path, made: Path, version: str, commit: str) -> None:
    """Every file of the release, of a tree at its commit."""
    made.mkdir()
    epoch = int(git("log", "-1", "--format=%ct", folder=tree))
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch)}
    build_python(tree, made, environment)
    package_chart(tree, made, version, epoch)
    artefacts = sorted(made.iterdir())
    inputs = sorted((tree / "requirements").glob("*.txt"))
    (made / "images.txt").write_text("".join(f"{REGISTRY}/{image}:{version}\n" for image in IMAGES))
    (made / "NOTES.md").write_text(section(tree, version))
    (made / "provenance.intoto.json").write_text(provenance(artefacts, version, commit, epoch, inputs))
    sums = "".join(f"{sha256(path)}  {path.name}\n" for path in sorted(made.iterdir()))
    (made / "SHA256SUMS").write_text(sums)


def build_python(tree: Path, made: Path, environment: Mapping[str, str]) -> None:
    """Wheel and sdist, by build tools of pinned digests."""
    uv = str(Path(sys.executable).with_name("uv"))
    pins = ["--build-constraints", "requirements/image.txt", "--require-hashes"]
    run(
        [uv, "build", "--quiet", "--wheel", "--sdist", "--no-create-gitignore", *pins, "--out-dir", str(made), "."],
        tree,
        environment,
    )


def package_chart(tree: Path, made: Path, version: str, epoch: int) -> None:
    """The chart as Helm packs it, and then packed again: Helm's own package has the time of its making in it."""
    chart = tree / "charts/reranker-operator"
    with tempfile.TemporaryDirectory() as scratch:
        run([*helm(), "package", str(chart), "--destination", scratch], tree)
        name = f"reranker-operator-{version}.tgz"
        (made / name).write_bytes(repacked((Path(scratch) / name).read_bytes(), epoch))


def helm() -> list[str]:
    """Helm of the PATH, else that of the control plane's binary."""
    if found := shutil.which("helm"):
        return [found]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests/cluster")}
    return [run([sys.executable, "-m", "localkube", "build"], ROOT, environment), "helm"]


def keep_all(made: Path, version: str, commit: str) -> Path:
    """Put the files into dist/ and move the branch on to the commit."""
    final = DIST / version
    fresh = DIST / f".{version}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(made, fresh)
    try:
        git("merge", "--quiet", "--ff-only", commit)
    except ReleaseError:
        shutil.rmtree(fresh)
        raise
    shutil.rmtree(final, ignore_errors=True)
    return fresh.rename(final)


def show(made: Path, version: str) -> None:
    """What there is now, and what a person does next."""
    print((made / "SHA256SUMS").read_text(), end="")
    print(f"""
In {made}. To publish it, after `make audit ARGS=--require-advisories` and .ci/run:
  git tag --sign v{version} --message 'Release {version}'
  git push origin HEAD v{version}
  make images, and push what images.txt names
  helm push {made}/reranker-operator-{version}.tgz oci://{REGISTRY}/charts
  docs/supply-chain.md: sign the images, the chart and provenance.intoto.json""")


def section(tree: Path, version: str) -> str:
    """A version's section of CHANGELOG.md, or nothing."""
    text = (tree / "CHANGELOG.md").read_text("utf-8")
    found = re.search(rf"^## {re.escape(version)} .*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return found[0].strip() + "\n" if found else ""


@contextmanager
def worktree() -> Iterator[Path]:
    """HEAD in a folder of its own, gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "reranker-operator"
        git("worktree", "add", "--quiet", "--detach", str(tree), "HEAD")
        try:
            yield tree
        finally:
            git("worktree", "remove", "--force", str(tree))


def git(*arguments: str, folder: Path = ROOT) -> str:
    """What git says, without the white space around it. Raises ReleaseError."""
    return run(["git", *arguments], folder)


def run(command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None) -> str:
    """A command's output. Raises ReleaseError with its last words."""
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        said = " ".join((done.stderr.strip() or done.stdout.strip()).split())[-600:] or "nothing"
        raise ReleaseError(f"`{' '.join(map(str, command[:4]))} ...` failed with {done.returncode} and said: {said}")
    return done.stdout.strip("\n")


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


if __name__ == "__main__":
    sys.exit(main())
