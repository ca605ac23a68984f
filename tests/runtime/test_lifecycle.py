"""From start to stop: the port before the model, failures that end the process, running work finished."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
from peers import Peer, get, post

UNKNOWN = "sha256:" + "0" * 64


def ready(base: str) -> httpx.Response:
    return httpx.get(f"{base}/v1/health/ready", timeout=60)


def test_the_port_answers_before_the_model_is_loaded(models: Any, start: Any) -> None:
    server = start(models.bert)
    server.wait(lambda: bool(server.http.get("/v1/health/live").status_code == 200), "live")
    first = ready(server.internal)
    assert first.status_code == 503
    assert first.json() | {"phase": ""} == {
        "object": "health.response",
        "message": "Service is not ready: the model is being loaded",
        "status": "not_ready",
        "ready": False,
        "phase": "",
    }
    refused = server.rank("w1", ["w2"])
    assert refused.status_code == 503
    assert "being loaded" in refused.json()["message"]
    assert int(refused.headers["Retry-After"]) > 0
    mixed = server.http.post("/rerank", json={"query": "w1", "texts": ["w2"]})
    assert mixed.status_code == 503
    assert mixed.json()["message"] == mixed.json()["error"] == refused.json()["message"]
    assert mixed.json()["error_type"] == "Unhealthy"
    # Stopped while it loads: no waiting for torch, no fault.
    assert server.stop() == 0
    assert "Traceback" not in server.log


def test_a_caller_leaves_and_then_a_stop_finishes_what_runs(models: Any, start: Any, words: Any) -> None:
    server = start(models.slow, NIM_PRECISION="fp32").ready()
    passages = [words(450, n) for n in range(500)]
    with httpx.Client() as caller, ThreadPoolExecutor() as pool:
        body = {"query": {"text": "w1"}, "passages": [{"text": text} for text in passages]}
        asked = pool.submit(caller.post, f"{server.url}/v1/ranking", json=body, timeout=0.5)
        server.wait(lambda: server.metric("reranker_running_requests") == 1, "running")
        assert isinstance(asked.exception(), httpx.ReadTimeout)
    server.wait(lambda: server.metric("reranker_running_requests") == 0, "forgotten")
    assert server.metric("reranker_passages_total") == 0
    assert " status=499 " in server.log

    with ThreadPoolExecutor() as pool:
        running = pool.submit(server.rank, "w1 w2", passages[:80])
        server.wait(lambda: server.metric("reranker_running_requests") == 1, "running")
        server.process.send_signal(signal.SIGTERM)
        server.wait(lambda: ready(server.internal).status_code == 503, "not ready")
        assert "stopping" in ready(server.url).json()["message"]
        refused = httpx.post(f"{server.url}/v1/ranking", json={"query": {"text": "a"}, "passages": [{"text": "b"}]})
        assert refused.status_code == 503
        assert "stopping" in refused.json()["message"]
        assert not running.done(), "the request was too quick for this test to mean anything"
        assert len(running.result().json()["rankings"]) == 80
        assert running.result().headers["connection"] == "close"  # its caller shall ask another replica next
    assert server.stop() == 0


def test_tokenising_ends_with_the_wait_for_it(models: Any, start: Any) -> None:
    # The same thread tokenises every text of this length, so whoever is answered afterwards knows that it is free.
    server = start(models.bert, NIM_PRECISION="fp32", RERANKER_MAX_QUEUE_SECONDS=2).ready()
    text = "w1 " * 10_000_000
    long = json.dumps({"query": {"text": "w1"}, "passages": [{"text": text}], "max_chunks_per_doc": 1}).encode()

    def tokenised() -> float:
        return float(server.metric("reranker_tokenised_characters_total"))

    with Peer(server.port) as caller:
        caller.send(post(long))
        server.wait(lambda: tokenised() > 0, "at the long text")
    server.wait(lambda: " status=499 " in server.log, "told that the caller hung up")
    server.wait(lambda: server.rank("w1", ["w2 " * 700_000], truncate="END").status_code == 200, "free")
    assert tokenised() < len(text)

    before = tokenised()
    with Peer(server.port) as caller:
        [(status, _, body)] = caller.send(post(long)).answers(1)
    assert (status, body["detail"]["cause"]) == (503, "queue_timeout")
    server.wait(lambda: server.rank("w1", ["w2 " * 700_000], truncate="END").status_code == 200, "free")
    assert tokenised() - before < len(text)


def test_a_model_that_cannot_be_served_ends_the_process(models: Any, start: Any, tmp_path: Any, run: Any) -> None:
    for given, said in (
        ({"NIM_MODEL_PATH": tmp_path / "nowhere"}, "does not exist"),
        ({"RERANKER_MODEL_DIGEST": UNKNOWN}, UNKNOWN),
        ({"NIM_PIPELINE_MAX_SEQ_LEN": 515}, "514"),
    ):
        server = start(models.bert, NIM_LOG_LEVEL="error", **given)
        assert server.process.wait(60) == 2
        assert server.log.startswith("error: ")
        assert len(server.log.splitlines()) == 1
        assert said in server.log


def test_weights_are_kept_when_their_file_is_written_over(models: Any, start: Any) -> None:
    directory = models.copy(models.bert, "written-over")
    server = start(directory, NIM_PRECISION="fp32").ready()
    before = server.logits("w1", ["w2", "w3 w4"])
    weights = directory / "model.safetensors"
    with weights.open("r+b") as stream:
        stream.write(bytes(weights.stat().st_size))
    assert server.logits("w1", ["w2", "w3 w4"]) == before
    os.truncate(weights, 0)
    assert server.logits("w1", ["w2", "w3 w4"]) == before


def test_a_body_that_never_arrives_is_408(models: Any, start: Any) -> None:
    server = start(models.bert, NIM_REQUEST_TIMEOUT_S=0.1).ready()
    with socket.create_connection(("127.0.0.1", server.port)) as caller:
        caller.sendall(b"POST /v1/ranking HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{")
        answer = http.client.HTTPResponse(caller)
        answer.begin()
        said = json.loads(answer.read())
    assert answer.status == 408
    assert (said["object"], said["detail"], said["type"]) == ("error", {}, "timeout_error")
    assert "NIM_REQUEST_TIMEOUT_S" in said["message"]


def test_the_right_digest_is_served(models: Any, start: Any, run: Any) -> None:
    digest = json.loads(run("verify", models.bert).stdout)["digest"]
    server = start(models.bert, RERANKER_MODEL_DIGEST=digest, RERANKER_INTERNAL_PORT=0).ready()
    assert server.http.get("/v1/metadata").json()["digest"] == digest


def test_wrong_settings_end_the_process_with_one_line(run: Any, models: Any) -> None:
    for given, said in (
        ({"NIM_PRECISION": "fp8"}, "fp8 is not supported"),
        ({"NIM_HTTP_API_PORT": "high"}, "NIM_HTTP_API_PORT=high"),
        ({"NIM_MAX_QUEUE_SIZE": 1, "NIM_SERVER_MAX_QUEUE_SIZE": 2}, "disagree"),
        ({"NIM_MODEL_PATH": ""}, "NIM_MODEL_PATH"),
        ({"NIM_SERVED_MODEL_NAME": "caf\udce9"}, "not UTF-8"),
        ({"NIM_TLS_CERT_PATH": models.bert, "NIM_TLS_KEY_PATH": models.bert}, "PEM"),
    ):
        ended = run("serve", **({"NIM_MODEL_PATH": models.bert, "NIM_LOG_LEVEL": "error"} | given))
        assert ended.returncode == 2, ended.stderr
        assert len(ended.stderr.splitlines()) == 1
        assert said in ended.stderr


def test_a_port_in_use_is_named(run: Any, bert: Any) -> None:
    ended = run("serve", "--port", bert.port, NIM_MODEL_PATH=os.devnull, NIM_BIND_ADDR="127.0.0.1")
    assert ended.returncode == 2
    assert ended.stderr == (
        f"error: cannot listen on 127.0.0.1:{bert.port}: Address already in use; "
        "choose another address or port (NIM_HTTP_API_PORT, NIM_BIND_ADDR)\n"
    )


def stoppable(models: Any, start: Any, **variables: object) -> Any:
    return start(models.slow, NIM_PRECISION="fp32", **variables).ready()


def long_request(server: Any, words: Any) -> httpx.Response:
    passages = [{"text": words(450, n)} for n in range(500)]
    return httpx.post(f"{server.url}/v1/ranking", json={"query": {"text": "w1"}, "passages": passages}, timeout=120)


def test_a_stop_ends_within_the_grace_and_answers_what_is_not_done(models: Any, start: Any, words: Any) -> None:
    server = stoppable(models, start, RERANKER_GRACE_SECONDS=0.5)
    with ThreadPoolExecutor() as pool, Peer(server.port) as kept:
        assert kept.send(get("/v1/version")).answers(1)[0][1].get("connection") is None
        running = pool.submit(long_request, server, words)
        server.wait(lambda: server.metric("reranker_running_requests") == 1, "running")
        server.process.send_signal(signal.SIGTERM)
        server.wait(lambda: httpx.get(f"{server.internal}/v1/health/ready").status_code == 503, "not ready")
        [(status, headers, _)] = kept.send(post()).answers(1)
        assert (status, headers["connection"]) == (503, "close")
        answer = running.result()
    assert answer.status_code == 503
    assert "stopped before" in answer.json()["message"]
    assert server.process.wait(30) == 0
    assert "Traceback" not in server.log


def test_a_second_signal_ends_at_once(models: Any, start: Any, words: Any) -> None:
    server = stoppable(models, start, RERANKER_GRACE_SECONDS=600, NIM_REQUEST_TIMEOUT_S=600)
    with ThreadPoolExecutor() as pool:
        running = pool.submit(long_request, server, words)
        server.wait(lambda: server.metric("reranker_running_requests") == 1, "running")
        server.process.send_signal(signal.SIGTERM)
        server.wait(lambda: httpx.get(f"{server.internal}/v1/health/ready").status_code == 503, "not ready")
        assert not running.done()
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(30) == 0
        assert isinstance(running.exception(), httpx.TransportError), "the request was too quick"
    assert "Traceback" not in server.log
