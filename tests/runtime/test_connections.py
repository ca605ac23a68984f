"""What a peer may do to the server with a socket alone: it is answered where it can be, and costs nothing for long."""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from peers import GOOD, Peer, connections, dropped, get, post, refused, sample

MIB = 1 << 20
MOST = 24
HEADER_SECONDS = 0.6
IDLE_SECONDS = 1.5
CHUNKED = b"POST /v1/ranking HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTrailer: X-Request-Id\r\n\r\n"
LARGE_ANSWER = post(
    b'{"query": "w1", "documents": [%s], "return_documents": true}' % b",".join([b'"w2"'] * 100_000), path="/v1/rerank"
)
"""Some 8 MB: more than a kernel may hold of it, which is 4 MB as it comes (net.ipv4.tcp_wmem)."""
"""Scored once, and answered with more than any socket's buffer holds."""


@pytest.fixture(scope="module")
def server(models: Any, start_for_all: Any) -> Any:
    return start_for_all(
        models.bert,
        NIM_PRECISION="fp32",
        RERANKER_MAX_CONNECTIONS=MOST,
        RERANKER_HEADER_TIMEOUT_SECONDS=HEADER_SECONDS,
        RERANKER_KEEP_ALIVE_SECONDS=IDLE_SECONDS,
        RERANKER_BODY_TIMEOUT_SECONDS=1,
        RERANKER_MAX_BODY_BYTES=2 * MIB,
        RERANKER_MAX_PASSAGES=100_000,
    ).ready()


@pytest.fixture
def peer(server: Any) -> Iterator[Callable[[], Peer]]:
    with contextlib.ExitStack() as stack:
        yield lambda: stack.enter_context(Peer(server.port))


@pytest.fixture(autouse=True)
def _nobody_left(server: Any) -> Iterator[None]:
    """Whatever a test did, afterwards nothing of it is open and rankings are answered."""
    yield
    server.http.close()
    server.http = httpx.Client(base_url=server.url, timeout=60)
    server.wait(lambda: connections(server) == 0, "left alone")
    assert len(server.logits("w1", ["w2", "w3"])) == 2
    server.http.close()
    server.http = httpx.Client(base_url=server.url, timeout=60)
    server.wait(lambda: connections(server) == 0, "left alone")


def test_a_peer_that_says_nothing_is_let_go_in_silence(peer: Any) -> None:
    assert peer().rest() == b""


@pytest.mark.parametrize("begun", [b"P", b"\r\n", b"POST /v1/ranking HTTP/1.1\r\nHost: a\r\nX: "])
def test_headers_that_do_not_end_are_408(server: Any, peer: Any, begun: bytes) -> None:
    before = dropped(server, "slow")
    slow = peer().send(begun)
    refused(slow, 408, "RERANKER_HEADER_TIMEOUT_SECONDS")
    assert dropped(server, "slow") == before + 1


def test_bytes_that_keep_coming_do_not_put_off_the_end(peer: Any) -> None:
    slow = peer()
    ended = False
    for byte in b"GET /v1/models HTTP/1.1\r\nX-Slow: " + b"a" * 1000:
        slow.send(bytes([byte]))
        if ended := bool(select.select([slow.socket], [], [], HEADER_SECONDS / 10)[0]):
            break
    assert ended
    refused(slow, 408, "headers did not arrive")


def test_a_second_request_that_trickles_is_408_too(peer: Any) -> None:
    slow = peer().send(get("/v1/models"))
    assert slow.answers(1)[0][0] == 200
    ended = False
    for byte in b"GET /v1/models HTTP/1.1\r\nX-Slow: " + b"a" * 1000:
        slow.send(bytes([byte]))
        if ended := bool(select.select([slow.socket], [], [], HEADER_SECONDS / 10)[0]):
            break
    assert ended
    refused(slow, 408, "headers did not arrive")


def test_a_body_that_trickles_is_408(peer: Any) -> None:
    slow = peer().send(post()[:-10])
    refused(slow, 408, "RERANKER_BODY_TIMEOUT_SECONDS")


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (b"GET /" + b"a" * 70_000, "larger than 65536 bytes"),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 70_000, "larger than 65536 bytes"),
        (
            b"GET / HTTP/1.1\r\n" + b"".join(b"X%d: %s\r\n" % (n, b"a" * 800) for n in range(90)),
            "larger than 65536 bytes",
        ),
        (b"GET / HTTP/1.1\r\n" + b"a:\r\n" * 101 + b"\r\n", "more than 100 headers"),
        (CHUNKED + b"2\r\n{}\r\n0\r\nX: " + b"a" * 700_000, "larger than 65536 bytes"),
        (CHUNKED + b"2;" + b"a" * 700_000, "larger than 65536 bytes"),
    ],
)
@pytest.mark.parametrize("size", [1 << 20, 999])
def test_headers_are_bounded_however_they_come(server: Any, peer: Any, head: bytes, said: str, size: int) -> None:
    before = dropped(server, "headers")
    large = peer()
    for n in range(0, len(head), size):
        large.send(head[n : n + size])
    refused(large, 431, said)
    assert dropped(server, "headers") == before + 1


def test_100_headers_and_60_thousand_bytes_are_fine(peer: Any) -> None:
    few = peer().send(get("/v1/models", *(f"X{n}: {'a' * 600}" for n in range(98))))
    assert few.answers(1)[0][0] == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS where none is spoken
        b"\x00" * 64,
        b"HELLO\r\n\r\n",
        b"GET /v1/models\r\n\r\n",
        b"GET /v1/models HTTP/9.9\r\n\r\n",
        b"GET /v1/models HTTP/2.0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET http:// HTTP/1.1\r\nHost: a\r\n\r\n",
        b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHo st: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\x00b\r\n\r\n",
        b"POST /v1/ranking HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/ranking HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        # Two servers in a row could read these as different requests.
        b"POST /v1/ranking HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/ranking HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        b"POST /v1/ranking HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\naaaaaa",
        b"POST /v1/ranking HTTP/1.1\r\nContent-Length: 5, 6\r\n\r\naaaaaa",
        b"POST /v1/ranking HTTP/1.1\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"POST /v1/ranking HTTP/1.1\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/ranking HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /v1/ranking HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
        b"POST /v1/ranking HTTP/1.1\nContent-Length: 2\n\n{}",
        b"POST /v1/ranking HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        *(
            b"POST /v1/ranking HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nTransfer-Encoding: %s\r\n\r\n"
            % coding
            for coding in (b"xchunked", b"identity")
        ),
    ],
)
def test_what_is_not_http_is_400(server: Any, peer: Any, sent: bytes) -> None:
    before = dropped(server, "malformed")
    refused(peer().send(sent), 400, "not HTTP/1.1")
    assert dropped(server, "malformed") == before + 1


@pytest.mark.parametrize("follows", [b"nonsense\r\n\r\n", b"GET /v1/models HTTP/2.0\r\n\r\n"])
def test_nothing_comes_between_an_answer_and_what_follows_it(peer: Any, follows: bytes) -> None:
    both = peer().send(post() + follows)
    [(status, headers, body)] = both.answers(2)
    assert (status, headers["connection"], len(body["rankings"])) == (200, "close", 2)


def test_requests_that_do_not_wait_are_answered_in_turn(peer: Any) -> None:
    eager = peer().send(post() + get("/v1/version") + get("/nowhere") + post())
    statuses = [(status, next(iter(body))) for status, _, body in eager.answers(4)]
    assert statuses == [(200, "rankings"), (200, "release"), (404, "object"), (200, "rankings")]


def test_a_thousand_requests_that_do_not_wait_are_too_many(server: Any, peer: Any) -> None:
    before = dropped(server, "malformed")
    eager = peer().send(get("/v1/version") * 1000)
    assert [status for status, _, _ in eager.answers(1000)] == [200]
    assert dropped(server, "malformed") == before + 1


def test_an_upgrade_is_declined_by_answering(peer: Any) -> None:
    websocket = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: a")
    assert peer().send(get("/v1/models", *websocket)).answers(1)[0][0] == 200
    java = (
        "Connection: Upgrade, HTTP2-Settings",
        "Upgrade: h2c",
        "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA",
    )
    asked = peer()
    for _ in range(2):
        status, _, body = asked.send(post(GOOD, *java)).answers(1)[0]
        assert (status, len(body["rankings"])) == (200, 2)
    assert [status for status, _, _ in asked.send(post(GOOD, *java) * 3).answers(3)] == [200] * 3


def test_trailers_change_nothing(peer: Any) -> None:
    asked = peer().send(CHUNKED + b"%x\r\n%s\r\n0\r\nX-Request-Id: from-behind\r\n\r\n" % (len(GOOD), GOOD))
    status, headers, body = asked.answers(1)[0]
    assert (status, len(body["rankings"])) == (200, 2)
    assert headers["x-request-id"] != "from-behind"


def test_100_continue_is_not_sent_for_a_body_that_nobody_wants(peer: Any) -> None:
    head = "POST /v1/ranking HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n"
    wanted = peer().send(head.format(len(GOOD)).encode())
    assert wanted.socket.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert wanted.send(GOOD).answers(1)[0][0] == 200
    refused(peer().send(head.format(10**9).encode()), 413, "RERANKER_MAX_BODY_BYTES")


def test_an_answer_before_the_end_of_the_body_is_read_and_ends_the_connection(server: Any, peer: Any) -> None:
    large = b" " * (3 * MIB)
    refused(peer().send(post(large)), 413, "RERANKER_MAX_BODY_BYTES")
    half = peer().send(post(large)[: MIB // 2])
    refused(half, 413, "RERANKER_MAX_BODY_BYTES")
    # Clients that write everything before they read anything.
    assert server.http.post("/v1/ranking", content=large).status_code == 413
    assert server.http.request("GET", "/v1/models", content=large).status_code == 200
    endless = peer().send(b"POST /nowhere HTTP/1.1\r\nContent-Length: 1000000000\r\n\r\n")
    sent = 0
    with contextlib.suppress(OSError):
        while sent < 100 * MIB:
            sent += endless.socket.send(large)
    assert sent < 50 * MIB, "a body that nobody wants was read"


def test_an_idle_connection_ends_after_its_time_and_not_before(peer: Any) -> None:
    idle = peer()
    for _ in range(2):
        begin = time.monotonic()
        assert idle.send(get("/v1/version")).answers(1)[0][0] == 200
    assert idle.rest() == b""
    assert time.monotonic() - begin > IDLE_SECONDS * 0.9


def test_peers_that_never_read_are_let_go(server: Any) -> None:
    before = dropped(server, "unread")
    with contextlib.ExitStack() as stack:
        for count in (1, 3):
            stack.enter_context(Peer(server.port, 4096)).send(LARGE_ANSWER * count)
        server.wait(lambda: dropped(server, "unread") == before + 2, "rid of them")
        server.wait(lambda: connections(server) == 0, "rid of them")
    assert sample(server, "reranker_request_bytes") == 0


def test_a_peer_that_reads_slowly_gets_its_whole_answer_which_counts_as_held(server: Any) -> None:
    before = dropped(server, "unread")
    with Peer(server.port, 128 * 1024) as slow:
        slow.send(LARGE_ANSWER)
        server.wait(lambda: sample(server, "reranker_running_requests") == 0, "through with it")
        server.wait(lambda: sample(server, "reranker_request_bytes") > MIB, "left with the answer")
        begin = time.monotonic()
        head, _, read = slow.socket.recv(64 * 1024).partition(b"\r\n\r\n")
        rest = int(head.lower().partition(b"content-length: ")[2].split()[0]) - len(read)
        while rest:
            piece = slow.socket.recv(64 * 1024)
            assert piece, f"{rest} bytes were not sent"
            rest -= len(piece)
            select.select([], [], [], 0.02)  # it is slow
        assert time.monotonic() - begin > IDLE_SECONDS, "it was too quick for this test to mean anything"
    assert dropped(server, "unread") == before
    server.wait(lambda: sample(server, "reranker_request_bytes") == 0, "rid of it")


def test_more_connections_than_allowed_are_503_and_probes_are_not(server: Any) -> None:
    refusals = sample(server, 'reranker_refused_total{cause="connections"}')
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(Peer(server.port)).send(post()[:-1]) for _ in range(MOST)]
        server.wait(lambda: connections(server) == MOST, "full")
        for sent in (b"", post(b" " * MIB)):
            headers = refused(stack.enter_context(Peer(server.port)).send(sent), 503, "too many connections")
            assert int(headers["retry-after"]) > 0
        assert httpx.post(f"{server.url}/v1/ranking", content=GOOD).status_code == 503
        assert httpx.get(f"{server.internal}/v1/health/ready").status_code == 200
        assert sample(server, 'reranker_refused_total{cause="connections"}') == refusals + 3
        assert "no more may be open" in server.log
        [(status, _, _)] = held[0].send(GOOD[-1:]).answers(1)
        assert status == 200
        # Far more than that are not even told why.
        crowd = [stack.enter_context(Peer(server.port)) for _ in range(3 * MOST + 64)]
        assert all(one.rest() is not None for one in crowd)
    server.wait(lambda: connections(server) == 0, "empty")
    assert httpx.post(f"{server.url}/v1/ranking", content=GOOD).status_code == 200


def rss(server: Any) -> int:
    lines = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def misbehave(server: Any, slow: int, aborted: int, oversized: int) -> None:
    """Peers that send a byte now and then, hang up, or send far too much."""
    with contextlib.ExitStack() as stack:
        trickling = [stack.enter_context(Peer(server.port)) for _ in range(slow)]
        for part in (b"G", b"E", b"T"):
            for one in trickling:
                one.send(part)
        body = b'{"query": {"text": "w1"}, "passages": [' + b'{"text": "w2 w3"},' * 200 + b'{"text": "w4"}]}'
        for n in range(aborted):
            with Peer(server.port) as leaver:
                leaver.send(post(body)[: len(body) // 2 if n % 2 else None])
                # Not a polite end: the kernel sends a reset.
                leaver.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        server.wait(lambda: connections(server) == 0, "left alone")
        too_large = b" " * (2 * MIB + 1)
        for n in range(oversized):
            if n % 2:
                assert server.http.post("/v1/ranking", content=too_large).status_code == 413
            else:  # without a length: read up to the limit
                parts = iter([too_large[: MIB // 4]] * 9)
                assert server.http.post("/v1/ranking", content=parts).status_code == 413
    server.wait(lambda: sample(server, "reranker_running_requests") == 0, "idle")


def test_memory_and_scores_are_as_before_after_peers_that_misbehave(server: Any) -> None:
    before = server.logits("w1", ["w2", "w3 w4"])
    misbehave(server, 8, 200, 40)
    warm = rss(server)
    misbehave(server, 16, 1000, 200)
    assert server.logits("w1", ["w2", "w3 w4"]) == before
    assert rss(server) < warm * 1.05
