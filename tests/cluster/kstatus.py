"""What kstatus says of objects, the library by which Helm and Flux wait: a small Go program, built once and kept."""

import hashlib
import json
import subprocess
import tempfile
from pathlib import Path

from localkube.build import cache_folder, toolchain
from rerankers import Json

MODULE = Path(__file__).parent / "kstatus"


def kstatus(*objects: Json) -> list[str]:
    """Current, InProgress, Failed or Terminating, of each object."""
    lines = "".join(f"{json.dumps(each)}\n" for each in objects)
    said = subprocess.run([_program()], input=lines, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    return [json.loads(line)["status"] for line in said.stdout.splitlines()]


def _program() -> Path:
    """The program, built once for these sources (half a minute)."""
    digest = hashlib.sha256(b"".join((MODULE / name).read_bytes() for name in ("go.mod", "go.sum", "main.go")))
    target = cache_folder() / "kstatus" / digest.hexdigest()[:16] / "kstatus"
    if target.exists():
        return target
    go, environment = toolchain(MODULE)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        fresh = Path(scratch) / "kstatus"
        command = [go, "build", "-trimpath", "-ldflags", "-s -w", "-o", str(fresh), "."]
        built = subprocess.run(command, cwd=MODULE, env=environment, capture_output=True, text=True, check=False)
        assert built.returncode == 0, f"{' '.join(command)} in {MODULE}: {built.stderr}"
        fresh.replace(target)
    return target
