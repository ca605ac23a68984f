"""Collect the licences of everything that is installed beside this interpreter.

python licenses.py DIRECTORY     writes DIRECTORY/NAME-VERSION/... and DIRECTORY/index.json

The index has one entry a distribution: name, version, license (what its metadata declare; null where they declare none)
and files, relative to DIRECTORY. A distribution with neither licence nor file ends this with exit status 1, unless it
is a name for others and brings nothing itself.
"""

from __future__ import annotations

import json
import re
import sys
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any, Final

TEXT: Final = re.compile(r"(licen[cs]es?|copying|copyright|notices?|eula|third.?party.*)(\W.*)?", re.IGNORECASE)
NOT_TEXT: Final = {".py", ".pyc", ".pyi", ".so", ".h", ".json"}
LONGEST: Final = 120
"""Characters; a longer License field holds the text itself, which is a file too."""


def declared(found: Distribution) -> str | None:
    """An SPDX expression where there is one, else what older metadata say."""
    metadata = found.metadata
    said = next(iter(metadata.get_all("License-Expression") or metadata.get_all("License") or []), "")
    if said and said != "UNKNOWN" and len(said) <= LONGEST and "\n" not in said:
        return str(said)
    classifiers = [line for line in metadata.get_all("Classifier", []) if line.startswith("License ::")]
    return ", ".join(line.rpartition(":: ")[2] for line in classifiers) or None


def collect(found: Distribution, directory: Path) -> dict[str, Any]:
    """Copy its texts; returns its entry of the index."""
    files = []
    for file in found.files or []:
        source = Path(str(file.locate()))
        if not TEXT.fullmatch(file.name) or file.suffix in NOT_TEXT or not source.is_file():
            continue
        # The path within the distribution tells which of its parts a text is for.
        parts = [part for part in file.parts if part != ".." and not part.endswith(".dist-info")]
        target = directory / f"{found.name}-{found.version}" / "/".join(parts)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
        files.append(str(target.relative_to(directory)))
    return {"name": found.name, "version": found.version, "license": declared(found), "files": sorted(files)}


def empty(found: Distribution) -> bool:
    """Whether it installs nothing but its metadata."""
    return all(".dist-info" in file.parts[0] for file in found.files or [])


def main() -> None:
    """The command line."""
    directory = Path(sys.argv[1])
    everything = list(distributions())
    entries = [collect(found, directory) for found in everything]
    unlicensed = {entry["name"] for entry in entries if not entry["license"] and not entry["files"]}
    (directory / "index.json").write_text(json.dumps(sorted(entries, key=lambda entry: entry["name"]), indent=1) + "\n")
    if bare := sorted(found.name for found in everything if found.name in unlicensed and not empty(found)):
        sys.exit(f"no licence is declared by, and no licence file found in: {', '.join(bare)}")


if __name__ == "__main__":
    main()
