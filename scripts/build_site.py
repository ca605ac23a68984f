"""Build the documentation's site: `make docs`.

python scripts/build_site.py [DIRECTORY]      default: .cache/site

Sphinx has an environment of its own, so that the one everything else runs in stays small. Whatever is amiss with a page
(a link, an anchor, a page that no other lists) is an error, and all of them are told at once. Exit status 1 then.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
REQUIREMENTS: Final = ROOT / "requirements/docs.txt"
CACHE: Final = ROOT / ".cache/docs"
SITE: Final = ROOT / ".cache/site"
STRICT: Final = ["--fail-on-warning", "--keep-going", "--nitpicky"]


def environment() -> Path:
    """The interpreter of an environment with exactly what is pinned, made where there is none yet."""
    digest = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:12]
    directory = CACHE / f"environment-{digest}"
    finished = directory / "installed"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a test and a person may want it at once
        if not finished.exists():
            print(f"docs: installing Sphinx into {directory.relative_to(ROOT)}", flush=True)
            for old in CACHE.glob("environment-*"):
                shutil.rmtree(old)
            uv = [str(Path(sys.executable).with_name("uv")), "--quiet"]
            subprocess.run([*uv, "venv", "--python", sys.executable, str(directory)], check=True)
            python = str(directory / "bin/python")
            subprocess.run([*uv, "pip", "sync", "--python", python, str(REQUIREMENTS)], check=True)
            finished.touch()
    return directory / "bin/python"


def main(output: Path) -> int:
    """Build into `output`, which is emptied before; returns the exit status."""
    try:
        python = environment()
    except subprocess.CalledProcessError as error:
        sys.exit(f"docs: {' '.join(error.cmd[:4])} ended with {error.returncode}; its words stand above")
    if output != SITE and output.exists() and any(output.iterdir()) and not (output / "docs/index.html").exists():
        sys.exit(f"docs: {output} holds something else than a site: name another directory, or empty it")
    shutil.rmtree(output, ignore_errors=True)
    with tempfile.TemporaryDirectory() as scratch:
        sphinx = [str(python), "-m", "sphinx", "--quiet", *STRICT, "--builder", "html", "--doctree-dir", scratch]
        done = subprocess.run([*sphinx, "--conf-dir", "docs/_site", ".", str(output)], cwd=ROOT, check=False)
    if done.returncode:
        print("docs: the site is not as it should be; each line above names a page, its line and what to put right")
    else:
        print(f"docs: {output}/index.html")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else SITE).resolve()))
