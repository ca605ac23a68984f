"""What the tests of `fetch` share: a repository, the command as the model Job runs it, and what it reports."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from localhub import LocalHub

DEADLINE = 120.0
NAME, REVISION = "acme/reranker", "0123456789abcdef0123456789abcdef01234567"
OTHER = "f" * 40
TOKEN = "hf_" + "Secret" * 5
HALF = 1_500_000
WEIGHTS = random.Random(1).randbytes(2 * HALF)
READ = {
    "config.json": b'{"architectures": ["None"]}',
    "config_sentence_transformers.json": b"{}",
    "tokenizer.json": b"{}" * 600_000,  # large enough for LFS, as real ones are
    "tokenizer_config.json": b"{}",
    "special_tokens_map.json": b"{}",
    "preprocessor_config.json": b"{}",
    "chat_template.jinja": b"{{ messages }}",
    "vocab.txt": b"",
    "model.safetensors": WEIGHTS,
}
LEFT = {
    "README.md": b"# A model",
    ".gitattributes": b"*.bin lfs",
    "pytorch_model.bin": b"pickle",
    "model.onnx": b"onnx",
    "onnx/model.onnx": b"onnx",
    "onnx/config.json": b"{}",
    "modeling.py": b"import os",
    "other.safetensors": b"another",
    "model.safetensors.index.json": b'{"weight_map": {"a": "model-1.safetensors"}}',
    "model-1.safetensors": b"sharded",
}
SHARDS = {f"model-0000{n}-of-00002.safetensors": bytes([n]) * 100 for n in (1, 2)}
INDEX = {"weight_map": dict(zip("ab", SHARDS, strict=True))}
SHARDED = {"config.json": b"{}", "model.safetensors.index.json": json.dumps(INDEX).encode()} | SHARDS


def put(directory: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content)
    return directory


def place(cache: Path, name: str = NAME, revision: str = REVISION) -> Path:
    return cache / name.replace("/", "--") / revision


def only_weights_are_large(hub: LocalHub) -> None:
    """So that it is them that a fault of the hub meets."""
    (hub.root / NAME / REVISION / "tokenizer.json").write_bytes(b"{}")


def contents(directory: Path) -> dict[str, bytes]:
    return {p.relative_to(directory).as_posix(): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


def times(directory: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in (directory, *directory.rglob("*"))}


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "reranker_runtime", "fetch", *map(str, arguments)]


def arguments(hub: LocalHub | str, cache: Path, *more: object, name: str = NAME, revision: str = REVISION) -> list[str]:
    url = hub if isinstance(hub, str) else hub.url
    return command("--repository", name, "--revision", revision, "--endpoint", url, *more, cache)


def surroundings(**variables: object) -> dict[str, str]:
    """Those of a pod: no home, and no proxies but those given."""
    foreign = ("HF_", "NIM_", "RERANKER_", "SSL_")
    kept = {n: v for n, v in os.environ.items() if not n.startswith(foreign) and not n.lower().endswith("_proxy")}
    return {n: v for n, v in kept.items() if n != "HOME"} | {n: str(v) for n, v in variables.items()}


def fetch(
    hub: LocalHub | str,
    cache: Path,
    *more: object,
    name: str = NAME,
    revision: str = REVISION,
    **variables: object,
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        arguments(hub, cache, *more, name=name, revision=revision),
        env=surroundings(**variables),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )


def start(hub: LocalHub, cache: Path, *more: object) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(arguments(hub, cache, *more), env=surroundings(), stdout=pipe, stderr=pipe, text=True)


def good(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(done.stdout)
    assert said["ok"] is True
    return said


def bad(done: subprocess.CompletedProcess[str], reason: str, code: int, *words: str) -> str:
    """The message of a report that says no."""
    assert "Traceback" not in done.stderr
    assert len(done.stdout.splitlines()) == 1, done.stderr
    said = json.loads(done.stdout)
    message = said.pop("message")
    assert (said, done.returncode) == ({"ok": False, "reason": reason}, code), message
    assert [word for word in words if word not in message] == [], message
    return message


def until(fact: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + DEADLINE
    while not fact():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)
