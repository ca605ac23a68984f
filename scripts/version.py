"""The version: pyproject.toml says it, and whatever has to repeat it is held to it.

python scripts/version.py              print it
python scripts/version.py --check      say what disagrees; exit status 1 if anything does
python scripts/version.py --set X.Y.Z  write it everywhere, as `make release` does

Both halves ask the installed package (importlib.metadata), so that no line of code repeats it.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
VERSION: Final = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")
"""What pip, Helm and registries all read as the same version; pre-releases they write in different ways."""

_N: Final = r"\d+\.\d+\.\d+"
OWN: Final = re.compile(rf'(?<=^version = "){_N}(?="$)', re.MULTILINE)
CHART: Final = re.compile(rf'(?:(?<=^version: )|(?<=^appVersion: )|(?<=^appVersion: ")){_N}', re.MULTILINE)
IMAGES: Final = re.compile(rf"(?:(?<=/reranker-operator:)|(?<=/reranker-runtime:)|(?<=newTag: )){_N}")
PAGES: Final = re.compile(
    rf"(?:{IMAGES.pattern}|(?<=[?]ref=v){_N}|(?<=--build-arg VERSION=){_N}|(?<=by reranker-operator ){_N})"
)
"""An image, and in docs also a tag of git, an argument of a build, and what `diagnose` says of itself."""
REPEATED: Final = (
    ("charts/*/Chart.yaml", CHART),
    ("README.md", IMAGES),
    ("deploy/**/*.yaml", IMAGES),
    ("docs/**/*.md", PAGES),
    ("examples/**/*.yaml", IMAGES),
)
"""Where it stands beside pyproject.toml."""


def current(root: Path = ROOT) -> str:
    """The version that pyproject.toml says."""
    return str(tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]["version"])


def differences(root: Path = ROOT) -> Iterator[str]:
    """A line for each place that says another version."""
    version = current(root)
    for path, pattern in _places(root):
        text = path.read_text("utf-8")
        for found in pattern.finditer(text):
            if found[0] != version:
                line = text.count("\n", 0, found.start()) + 1
                yield f"{path.relative_to(root)}:{line} says {found[0]}, pyproject.toml says {version}"


def write(version: str, root: Path = ROOT) -> None:
    """Make every place say this version."""
    for path, pattern in [(root / "pyproject.toml", OWN), *_places(root)]:
        before = path.read_text("utf-8")
        after = pattern.sub(version, before)
        if after != before:
            path.write_text(after, "utf-8")


def _places(root: Path) -> Iterator[tuple[Path, re.Pattern[str]]]:
    for glob, pattern in REPEATED:
        for path in sorted(root.glob(glob)):
            yield path, pattern


def main(arguments: list[str]) -> int:
    """Carry out one of the three; returns the exit status."""
    match arguments:
        case []:
            print(current())
        case ["--check"]:
            found = list(differences())
            for line in found:
                print(f"version: {line}; run: python scripts/version.py --set {current()}", file=sys.stderr)
            return 1 if found else 0
        case ["--set", version] if VERSION.fullmatch(version):
            write(version)
        case ["--set", version]:
            print(f"version: {version!r} is no version here; one reads 1.2.3", file=sys.stderr)
            return 2
        case _:
            print((__doc__ or "").strip(), file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
