"""Look for what should not ship: dangerous calls, unpinned or oddly licensed dependencies, known vulnerabilities.

python scripts/audit.py                        every part
python scripts/audit.py code pins licences     some of them: these, which ask no service, are what `make check` does
python scripts/audit.py --require-advisories   a service that cannot be asked is a failure, too: for CI and releases
python scripts/audit.py --osv-url URL          asks another service that speaks OSV's API, as a mirror does

What is allowed stands in pyproject.toml, [tool.audit]. The exit status is 1 where a part found something.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from packaging.requirements import InvalidRequirement, Requirement

from licences import Rules, judge

ROOT: Final = Path(__file__).parents[1]
SHIPPED: Final = ("operator", "runtime", "model")
"""Requirement files whose packages are in an image."""
CODE: Final = ("operator/reranker_operator", "runtime/reranker_runtime")
PARTS: Final = ("code", "pins", "licences", "advisories")
OSV: Final = "https://api.osv.dev/v1/query"


class Pin(NamedTuple):
    """A line of a requirement file."""

    requirement: Requirement
    hashes: int


def main() -> int:
    """Audit; returns the exit status."""
    options = arguments()
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["audit"]
    parts: dict[str, Callable[[], Iterable[str]]] = {
        "code": dangerous_calls,
        "pins": loose_pins,
        "licences": lambda: licences(settings),
        "advisories": lambda: advisories(settings, options.osv_url, required=options.require_advisories),
    }
    found = [line for name in options.parts or parts for line in parts[name]()]
    for line in found:
        print(f"audit: {line}", file=sys.stderr)
    return 1 if found else 0


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], help="default: all of them")
    parser.add_argument("--require-advisories", action="store_true", help="fail where the service cannot be asked")
    parser.add_argument("--osv-url", default=OSV, help="default: %(default)s")
    return parser.parse_args()


def dangerous_calls() -> Iterator[str]:
    """What bandit finds in the code that ships."""
    command = [sys.executable, "-m", "bandit", "--quiet", "--recursive", *CODE]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stdout or done.stderr, file=sys.stderr)
        yield "bandit found something, see above; change the code, or excuse the line with its reason and # nosec ID"
    else:
        said(f"bandit: nothing in {' and '.join(CODE)}")


def loose_pins() -> Iterator[str]:
    """Requirements without one version and its hashes."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*requirements/*.txt"]
    try:
        tracked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        # Looking for them without git would find those of environments and caches, too.
        reason = ((getattr(error, "stderr", "") or "").strip() or str(error)).splitlines()[-1]
        yield f"pins: git does not tell which requirement files belong to this folder ({reason}); audit a git checkout"
        return
    count = 0
    files = sorted(filter(Path.exists, (ROOT / line for line in tracked.splitlines())))
    for file in files:
        for pin in pins(file):
            count += 1
            if not pin.hashes or not str(pin.requirement.specifier).startswith("=="):
                yield f"{file.relative_to(ROOT)}: {pin.requirement} has no hash of one version; run: make requirements"
    said(f"pins: {count} requirements in {len(files)} files")


def licences(settings: dict[str, Any]) -> Iterator[str]:
    """Packages of the images whose licence is not allowed."""
    rules = Rules(settings["licences"], settings["proprietary"], settings["stated-elsewhere"])
    needed = {
        pin.requirement.name: pin.requirement
        for name in SHIPPED
        for pin in pins(ROOT / f"requirements/{name}.txt")
        if pin.requirement.marker is None or pin.requirement.marker.evaluate()
    }
    for requirement in needed.values():
        if trouble := judge(requirement.name, rules):
            yield trouble
    unused = {*rules.proprietary, *rules.elsewhere} - {re.sub(r"[-_.]+", "-", name.lower()) for name in needed}
    for name in sorted(unused):
        yield f"pyproject.toml names a licence for {name}, which no image holds any more; take it out of [tool.audit]"
    proprietary = sum(name in rules.proprietary for name in needed)
    said(f"licences: {len(needed)} packages of the images, {proprietary} of them proprietary and named")


def advisories(settings: dict[str, Any], url: str, *, required: bool) -> Iterator[str]:
    """Known vulnerabilities of what ships, as pip-audit is told of them."""
    files = [f"requirements/{name}.txt" for name in SHIPPED if (ROOT / f"requirements/{name}.txt").exists()]
    excused: dict[str, str] = settings.get("excused-advisories", {})
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--require-hashes", "--progress-spinner=off"]
        command += ["--vulnerability-service=osv", f"--osv-url={url}", "--format=json", f"--output={report}"]
        command += [part for file in files for part in ("--requirement", file)]
        command += [f"--ignore-vuln={each}" for each in excused]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if not report.exists():
            reason = (done.stderr.strip().splitlines() or ["pip-audit said nothing"])[-1]
            words = f"vulnerabilities: DID NOT RUN, as {url} could not be asked: {reason}"
            if required:
                yield words
            else:
                said(f"{words}\n       where it must run: make audit ARGS=--require-advisories")
            return
        packages = json.loads(report.read_text("utf-8"))["dependencies"]
    for package in packages:
        for one in package.get("vulns", ()):
            fixed = ", ".join(one["fix_versions"]) or "no version yet"
            yield f"{package['name']} {package['version']}: {one['id']}, fixed in {fixed}"
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    yield from (f"{name}: pip-audit could not look it up" for name in skipped)
    said(f"vulnerabilities: asked about {len(packages)} packages")


def pins(file: Path) -> Iterator[Pin]:
    """The requirements of a file, if it is there."""
    if not file.exists():
        return
    for line in file.read_text("utf-8").replace("\\\n", " ").splitlines():
        text, *hashes = line.partition(" #")[0].split("--hash=")
        if text.strip() and not text.startswith("#"):
            try:
                yield Pin(Requirement(text.strip()), len(hashes))
            except InvalidRequirement as error:
                sys.exit(f"audit: {file.relative_to(ROOT)}: {error}")


def said(line: str) -> None:
    """What a part that found nothing tells."""
    print(f"audit: {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
