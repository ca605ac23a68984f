"""A small virtual environment for each group of rerank clients: no two of them need agree on a version of anything.

An environment is made when first asked for and kept under the hash of its requirements, so that an old one is never
taken for a new one. What cannot be installed fails the test that asked, with the words of the installer.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).parent / "requirements"
GROUPS = sorted(path.stem for path in REQUIREMENTS.glob("*.txt"))
INSTALLING = 600.0
RUNNING = 120.0
# What would send a client elsewhere, or give it a key that the test did not.
FOREIGN = ("NVIDIA_", "NGC_", "COHERE_", "CO_", "JINA_", "VOYAGE_", "HF_", "HUGGINGFACE_", "HOSTED_VLLM_", "INFINITY_")
# Nothing leaves this machine: what a client would fetch or report fails at once.
CLOSED = "http://127.0.0.1:9"
ALONE = {
    **dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), CLOSED),
    **dict.fromkeys(("no_proxy", "NO_PROXY"), "127.0.0.1,localhost"),
    "HF_HUB_OFFLINE": "1",
    "HAYSTACK_TELEMETRY_ENABLED": "False",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
}


class Environments:
    """Interpreters by the names of their groups."""

    def __init__(self, root: Path, requirements: Path = REQUIREMENTS) -> None:
        self._root, self._requirements = root / ".cache" / "clients", requirements

    def python(self, group: str) -> Path:
        """The interpreter of a group's environment; `RuntimeError` with the installer's output where it fails."""
        listed = self._requirements / f"{group}.txt"
        digest = hashlib.sha256(listed.read_bytes()).hexdigest()[:12]
        directory = self._root / f"{group}-{digest}"
        finished = directory / "installed"
        self._root.mkdir(parents=True, exist_ok=True)
        with (self._root / f"{group}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs may want it at once; the lock ends with the process
            if not finished.exists():
                for old in self._root.glob(f"{group}-*"):
                    shutil.rmtree(old)
                self._uv("venv", "--python", sys.executable, directory)
                self._uv("pip", "sync", "--python", directory / "bin/python", listed)
                finished.touch()
        return directory / "bin" / "python"

    def run(self, group: str, *arguments: object, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run Python with these arguments in a group's environment, to its end."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        return subprocess.run(
            [str(self.python(group)), "-I", *map(str, arguments)],
            env=kept | ALONE,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=RUNNING,
        )

    def _uv(self, *arguments: object) -> None:
        uv = Path(sys.executable).with_name("uv")
        command = [str(uv), "--quiet", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALLING)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
