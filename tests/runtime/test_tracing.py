"""Traces as a collector gets them: a real one is spoken to over OTLP, and decodes what comes."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED = f"00-{TRACE}-{PARENT}-01"
STAGES = ["receive", "parse", "tokenise", "queue", "score"]
FOREVER = 100_000


def plain(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}


class Collector:
    """Takes OTLP over HTTP on a port of its own; a mute one never answers."""

    def __init__(self, *, mute: bool = False) -> None:
        self.bodies: list[bytes] = []
        self.resources: list[dict[str, Any]] = []
        self.spans: list[Any] = []
        self.asked, self.over = threading.Event(), threading.Event()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.asked.set()
                if mute:
                    collector.over.wait()
                else:
                    collector.take(self.path, gzip.decompress(body) if self.headers["Content-Encoding"] else body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def take(self, path: str, body: bytes) -> None:
        assert path == "/v1/traces"
        self.bodies.append(body)
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resources.append(plain(group.resource.attributes))
            self.spans += [span for scope in group.scope_spans for span in scope.spans]

    def request(self, identity: str) -> Any:
        """The span of a request; the last that is sent of it. None: it is not here yet."""
        return next((s for s in self.spans if plain(s.attributes).get("reranker.request_id") == identity), None)

    def stages(self, request: Any) -> list[Any]:
        return sorted(
            (s for s in self.spans if s.parent_span_id == request.span_id), key=lambda s: s.start_time_unix_nano
        )

    def close(self) -> None:
        self.over.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture(scope="module")
def collectors() -> Iterator[dict[str, Collector]]:
    made = {name: Collector(mute=name == "mute") for name in ("traced", "sampled", "silent", "mute", "gone")}
    made["gone"].close()  # nobody listens there any more
    yield made
    for name, collector in made.items():
        if name != "gone":
            collector.close()


@pytest.fixture(scope="module")
def servers(models: Any, collectors: dict[str, Collector], start_for_all: Callable[..., Any]) -> dict[str, Any]:
    """All at once, so that their starts overlap."""
    own: dict[str, dict[str, object]] = {
        "traced": {
            "OTEL_SERVICE_NAME": "ranker-of-this-test",
            "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=test",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",  # of other signals: what is said of traces goes before it
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
            "RERANKER_SPLIT_LARGE_REQUESTS": "true",
            "RERANKER_MAX_PASSAGES": 4,
        },
        "sampled": {
            "OTEL_TRACES_SAMPLER": "parentbased_always_off",
            "OTEL_RESOURCE_ATTRIBUTES": "service.name=named-by-attributes",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "",
        },
        "silent": {"NIM_ENABLE_OTEL": "false"},
        "mute": {"OTEL_EXPORTER_OTLP_TIMEOUT": FOREVER},
        "gone": {},
    }
    fixed = {"NIM_ENABLE_OTEL": "1", "NIM_JSONL_LOGGING": "1", "NIM_PRECISION": "fp32", "OTEL_BSP_SCHEDULE_DELAY": 50}
    return {
        name: start_for_all(models.bert, OTEL_EXPORTER_OTLP_ENDPOINT=collectors[name].url, **(fixed | extra))
        for name, extra in own.items()
    }


@pytest.fixture(scope="module")
def early(servers: dict[str, Any]) -> httpx.Response:
    """A request that came before the model was loaded."""
    server = servers["traced"]
    server.wait(lambda: bool(server.http.get("/v1/health/live").status_code == 200), "live")
    answer: httpx.Response = server.rank("w1", ["w2"])
    return answer


@pytest.fixture
def traced(early: httpx.Response, servers: dict[str, Any]) -> Any:
    return servers["traced"].ready()


def rank(server: Any, passages: list[str], identity: str, **headers: str) -> httpx.Response:
    body = {"query": {"text": "w1"}, "passages": [{"text": text} for text in passages]}
    answer: httpx.Response = server.http.post("/v1/ranking", json=body, headers={"X-Request-Id": identity} | headers)
    return answer


def sent(server: Any, collector: Collector, identity: str) -> Any:
    server.wait(lambda: collector.request(identity) is not None, f"sent the span of {identity}")
    return collector.request(identity)


def line_of(server: Any, identity: str) -> dict[str, Any]:
    def found() -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in server.log.split("\n")[:-1]]
        return [line for line in lines if line.get("request_id") == identity]

    server.wait(lambda: bool(found()), f"logged {identity}")  # which follows the answer
    (line,) = found()
    return line


def test_a_span_for_the_request_and_below_it_one_for_each_stage(traced: Any, collectors: Any) -> None:
    assert rank(traced, ["w2", "w3"], "staged", traceparent=SAMPLED).status_code == 200
    span = sent(traced, collectors["traced"], "staged")
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
    assert (span.name, span.kind, span.status.code) == ("POST /v1/ranking", 2, 0)
    assert plain(span.attributes) == {
        "http.request.method": "POST",
        "http.route": "/v1/ranking",
        "http.response.status_code": 200,
        "reranker.request_id": "staged",
        "reranker.model": "bert",
        "reranker.passages": 2,
        "reranker.tokens": 10,
        "reranker.truncated": 0,
    }
    stages = collectors["traced"].stages(span)
    assert [stage.name for stage in stages] == STAGES
    assert {stage.trace_id.hex() for stage in stages} == {TRACE}
    times = [(stage.start_time_unix_nano, stage.end_time_unix_nano) for stage in stages]
    flat = [moment for pair in times for moment in pair]
    assert flat == sorted(flat), "stages follow each other"
    assert span.start_time_unix_nano == flat[0]
    assert flat[-1] <= span.end_time_unix_nano
    assert line_of(traced, "staged")["trace_id"] == TRACE


def test_the_resource_says_which_service_it_was(traced: Any, collectors: Any) -> None:
    rank(traced, ["w2"], "resource")
    sent(traced, collectors["traced"], "resource")
    said = collectors["traced"].resources[-1]
    assert said["service.name"] == "ranker-of-this-test"
    assert said["deployment.environment"] == "test"
    assert said["service.version"] == traced.http.get("/v1/version").json()["release"]


@pytest.mark.parametrize("parent", [None, "junk", f"00-{'0' * 32}-{PARENT}-01", f"00-{TRACE}-{PARENT}", "\u00ff" * 9])
def test_a_trace_of_its_own_where_none_was_sent(traced: Any, collectors: Any, parent: str | None) -> None:
    identity = f"own-{parent and len(parent)}-{parent and parent[:5].isascii()}"
    headers = {} if parent is None else {"traceparent": parent.encode("latin-1")}
    assert rank(traced, ["w2"], identity, **headers).status_code == 200  # type: ignore[arg-type]
    span = sent(traced, collectors["traced"], identity)
    assert span.parent_span_id == b""
    assert span.trace_id.hex() not in (TRACE, "0" * 32)
    assert line_of(traced, identity)["trace_id"] == span.trace_id.hex()


def test_each_part_of_a_large_request_has_its_stages(traced: Any, collectors: Any) -> None:
    assert rank(traced, [f"w{n}" for n in range(10)], "parts").status_code == 200
    span = sent(traced, collectors["traced"], "parts")
    names = [stage.name for stage in collectors["traced"].stages(span)]
    assert sorted(names) == sorted(["receive", "parse", *(3 * STAGES[2:])])


def test_only_what_the_server_failed_at_is_an_error(
    traced: Any, collectors: Any, early: httpx.Response, words: Callable[[int], str]
) -> None:
    assert early.status_code == 503
    assert rank(traced, [words(600)], "too-long").status_code == 422
    failed = sent(traced, collectors["traced"], early.headers["X-Request-Id"])
    assert failed.status.code == 2
    assert "being loaded" in failed.status.message
    assert collectors["traced"].stages(failed) == []
    refused = sent(traced, collectors["traced"], "too-long")
    assert refused.status.code == 0
    assert plain(refused.attributes)["http.response.status_code"] == 422
    assert [stage.name for stage in collectors["traced"].stages(refused)] == ["receive", "parse"]


def test_probes_are_not_traced_and_no_text_is(traced: Any, collectors: Any) -> None:
    traced.http.get("/v1/health/ready")
    traced.http.get("/v1/metrics")
    texts = {"query": "secretquery", "documents": ["secretpassage"]}
    for body in (texts, texts | {"instruction": "secretinstruction"}, texts | {"max_tokens_per_doc": "secretnumber"}):
        traced.http.post("/v1/rerank", json=body)
    traced.http.post("/v1/rerank", json={"query": {"secretfield": 1}, "documents": [{"secretname": "secretvalue"}]})
    traced.http.post("/secret/reranking", content=b"{secretbody")
    traced.http.get("/secretpath?secretargument=1", headers={"X-Secret": "secretheader", "Cookie": "secretcookie"})
    rank(traced, ["w2"], "afterwards")
    sent(traced, collectors["traced"], "afterwards")
    assert b"secret" not in b"".join(collectors["traced"].bodies)
    routes = {plain(span.attributes).get("http.route") for span in collectors["traced"].spans} - {None}
    assert routes == {"/v1/ranking", "/v1/rerank", "/v1/version", "reranking", "other"}


def test_the_sampler_of_the_environment_and_a_name_among_the_attributes(servers: Any, collectors: Any) -> None:
    server = servers["sampled"].ready()
    rank(server, ["w2"], "not-asked-for")
    rank(server, ["w2"], "not-sampled", traceparent=SAMPLED.removesuffix("1") + "0")
    rank(server, ["w2"], "asked-for", traceparent=SAMPLED)
    assert server.stop() == 0  # which sends what is left
    found = [plain(span.attributes).get("reranker.request_id") for span in collectors["sampled"].spans]
    assert [identity for identity in found if identity] == ["asked-for"]
    assert collectors["sampled"].resources[0]["service.name"] == "named-by-attributes"


def test_nothing_is_sent_unless_it_is_switched_on(servers: Any, collectors: Any) -> None:
    server = servers["silent"].ready()
    assert rank(server, ["w2"], "silent", traceparent=SAMPLED).status_code == 200
    assert "trace_id" not in line_of(server, "silent")
    assert server.stop() == 0
    assert not collectors["silent"].asked.is_set()


@pytest.mark.parametrize("name", ["mute", "gone"])
def test_a_collector_that_fails_costs_the_requests_nothing(servers: Any, collectors: Any, name: str) -> None:
    server = servers[name].ready()
    for n in range(20):
        assert rank(server, ["w2"], f"{name}-{n}").status_code == 200
    if name == "mute":  # whose answer the exporter would await for longer than any test
        assert collectors[name].asked.wait(60)
        rank(server, ["w2"], "while-it-hangs")
    assert server.stop() == 0
    lines = [json.loads(line) for line in server.log.splitlines()]
    assert [line["message"] for line in lines[-1:]] == ["stopped"]
    assert not [line for line in lines if "exception" in line]


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json", "http/protobuf"),
        ("OTEL_TRACES_EXPORTER", "jaeger", "otlp or none"),
    ],
)
def test_what_cannot_be_sent_as_asked_is_refused(models: Any, start: Any, name: str, value: str, remedy: str) -> None:
    server = start(models.bert, NIM_ENABLE_OTEL="1", **{name: value})
    assert server.process.wait(60) == 2
    assert server.log == f"error: {name}={value} cannot be honoured: use {remedy}, or unset it\n"


def test_the_sdks_own_switch_wins(start: Any, tmp_path: Any) -> None:
    variables = {"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    server = start(tmp_path / "nowhere", NIM_ENABLE_OTEL="1", **variables)
    assert server.process.wait(60) == 2
    assert "does not exist" in server.log
    assert "OTEL" not in server.log
