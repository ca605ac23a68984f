"""The images at work: as their user, on a read-only root, with nothing but the interpreter at hand."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from imagekit.image import DEADLINE, Image, since

from reranker_operator.api.crd import FILE_NAME

MODEL = "/models/all-minilm-l6-v2"
PASSAGES = ["a recipe for bread", "two roads diverged in a yellow wood", "the stock market fell"]
Figure = Callable[[str, str], None]


def free_ports(count: int) -> list[int]:
    holders = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [holder.getsockname()[1] for holder in holders]
    for holder in holders:
        holder.close()
    return ports


def until(fact: Callable[[], bool], process: Any, log: Path, what: str) -> None:
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        try:
            if fact():
                return
        except httpx.TransportError:
            pass
        assert process.poll() is None, f"it ended before it was {what}:\n{log.read_text()}"
        time.sleep(0.02)
    pytest.fail(f"never {what}:\n{log.read_text()}")


def test_the_operators_commands(operator: Image, root: Path, figure: Figure) -> None:
    helped = operator.run("run", "--help")
    assert helped.returncode == 0, helped.stderr
    assert "--lease-namespace" in helped.stdout
    printed = operator.run("crd")
    assert printed.returncode == 0, printed.stderr
    assert printed.stdout == (root / "crds" / FILE_NAME).read_text()
    alone = operator.run(*operator.config["Cmd"])
    assert alone.returncode == 2
    assert "no way to reach a cluster" in alone.stderr
    assert "Traceback" not in alone.stderr
    figure("operator `run --help`", operator.timed("run", "--help"))


def test_the_operators_health(operator: Image, tmp_path: Path) -> None:
    dead, health_port = free_ports(2)
    cluster = {"name": "none", "cluster": {"server": f"http://127.0.0.1:{dead}"}}
    context = {"name": "none", "context": {"cluster": "none", "user": "none"}}
    users = [{"name": "none", "user": {}}]
    file = tmp_path / "config"
    file.write_text(
        yaml.safe_dump({"clusters": [cluster], "contexts": [context], "users": users, "current-context": "none"})
    )
    for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(0o755)
    log = tmp_path / "log"
    arguments = ["run", "--health-port", health_port, "--metrics-port", 0]
    with log.open("w") as lines:
        process = operator.start(arguments, binds=[(tmp_path, "/mnt")], output=lines, KUBECONFIG="/mnt/config")
    try:
        live = lambda: httpx.get(f"http://127.0.0.1:{health_port}/healthz").is_success  # noqa: E731
        until(live, process, log, "live")
        waiting = operator.run("health", "--health-port", health_port)
        assert waiting.returncode == 1
        assert "answered 503: waiting for the" in waiting.stderr
        alive = operator.run("health", "--live", "--health-port", health_port)
        assert alive.returncode == 0, alive.stderr
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(DEADLINE)
    assert code == 0, log.read_text()
    asked = operator.probe()
    assert asked.returncode == 1
    assert "no answer from 127.0.0.1:8081/readyz" in asked.stderr


def test_the_runtime_verifies_its_own_model(runtime: Image, figure: Figure) -> None:
    told = runtime.run("verify", MODEL)
    assert told.returncode == 0, told.stderr
    said = json.loads(told.stdout)
    assert said["ok"] is True
    assert said["digest"].startswith("sha256:")
    missing = runtime.run("verify", "/models/none")
    assert missing.returncode == 2
    assert json.loads(missing.stdout)["ok"] is False
    figure("runtime `verify`, 91 MB", runtime.timed("verify", MODEL))


@contextmanager
def serving(image: Image, log: Path, told: Callable[[str], None]) -> Iterator[tuple[str, dict[str, object]]]:
    """The image's own command, ready: its address, and the variables that it was given. Tells how long that took."""
    port, internal = free_ports(2)
    variables = {"NIM_HTTP_API_PORT": port, "RERANKER_INTERNAL_PORT": internal, "NIM_BIND_ADDR": "127.0.0.1"}
    entered = log.with_name("entered")
    with log.open("w") as lines:
        process = image.start(output=lines, entered=entered, **variables)
    try:
        until(lambda: httpx.get(f"http://127.0.0.1:{port}/v1/health/ready").is_success, process, log, "ready")
        told(since(entered, process))
        yield f"http://127.0.0.1:{port}", variables
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(DEADLINE)
    assert code == 0, log.read_text()
    assert "Traceback" not in log.read_text()


@pytest.fixture(scope="module")
def served(
    runtime: Image, tmp_path_factory: pytest.TempPathFactory, figure: Figure
) -> Iterator[tuple[str, dict[str, object]]]:
    """The runtime, serving."""
    told = partial(figure, "runtime ready, first start")
    with serving(runtime, tmp_path_factory.mktemp("served") / "log", told) as made:
        yield made


def ranked(url: str) -> list[dict[str, Any]]:
    body = {"query": {"text": "which way should i go?"}, "passages": [{"text": text} for text in PASSAGES]}
    answer = httpx.post(f"{url}/v1/ranking", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["rankings"])


def test_the_runtime_ranks(served: tuple[str, dict[str, object]]) -> None:
    rankings = ranked(served[0])
    assert rankings[0]["index"] == 1
    logits = [item["logit"] for item in rankings]
    assert logits == sorted(logits, reverse=True)
    assert len(set(logits)) == len(PASSAGES)


def test_the_runtimes_health_is_its_healthcheck(runtime: Image, served: tuple[str, dict[str, object]]) -> None:
    ready = runtime.probe(**served[1])
    assert ready.returncode == 0, ready.stderr
    assert "Service is ready." in ready.stdout
    gone = runtime.probe(RERANKER_INTERNAL_PORT=free_ports(1)[0])
    assert gone.returncode == 1
    assert "no answer" in gone.stderr


def test_the_runtime_ranks_by_hand(runtime: Image) -> None:
    said = runtime.run("rank", "--json", "--query", "which way should i go?", *PASSAGES)
    assert said.returncode == 0, said.stderr
    assert json.loads(said.stdout)["rankings"][0]["index"] == 1


def test_a_second_start_ranks_alike(
    runtime: Image, served: tuple[str, dict[str, object]], tmp_path: Path, figure: Figure
) -> None:
    with serving(runtime, tmp_path / "log", partial(figure, "runtime ready, another start")) as (url, _):
        assert ranked(url) == ranked(served[0])
