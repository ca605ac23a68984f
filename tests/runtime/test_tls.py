"""TLS of the API port: what is spoken, who may connect, and that files are exchanged while connections live on."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from certificates import Pair, swap
from cryptography import x509

GOOD = json.dumps({"query": {"text": "w1"}, "passages": [{"text": "w2"}]})


@pytest.fixture(scope="module")
def authority() -> Pair:
    return Pair.make("authority")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, authority: Pair) -> Path:
    directory = tmp_path_factory.mktemp("tls")
    Pair.make("localhost", authority).put(directory)
    swap(directory / "clients.crt", authority.cert)
    return directory


@pytest.fixture(scope="module")
def both(models: Any, start_for_all: Any, files: Path) -> dict[str, Any]:
    """Servers that ask clients for certificates, and that do not; started together."""
    given = {
        "NIM_PRECISION": "fp32",
        "NIM_TLS_CERT_PATH": files / "tls.crt",
        "NIM_TLS_KEY_PATH": files / "tls.key",
        "RERANKER_HEADER_TIMEOUT_SECONDS": 1,
        "RERANKER_MAX_BODY_BYTES": 1 << 20,
    }
    servers = {
        "any": start_for_all(models.bert, **given),
        "known": start_for_all(models.bert, RERANKER_TLS_CLIENT_CA_PATH=files / "clients.crt", **given),
    }
    for server in servers.values():
        server.wait(lambda s=server: httpx.get(f"{s.internal}/v1/health/ready").status_code == 200, "ready")
    return servers


@pytest.fixture
def server(both: dict[str, Any]) -> Any:
    return both["any"]


@pytest.fixture
def known(both: dict[str, Any]) -> Any:
    return both["known"]


def context(authority: Pair, client: Pair | None = None, directory: Path | None = None) -> ssl.SSLContext:
    made = ssl.create_default_context(cadata=authority.cert.decode())
    if client is not None and directory is not None:
        made.load_cert_chain(*client.put(directory))
    return made


def connect(server: Any, by: ssl.SSLContext) -> http.client.HTTPSConnection:
    connection = http.client.HTTPSConnection("localhost", server.port, context=by, timeout=30)
    connection.connect()
    return connection


def rank(connection: http.client.HTTPSConnection, body: str | bytes = GOOD) -> int:
    connection.request("POST", "/v1/ranking", body)
    answer = connection.getresponse()
    answer.read()
    return answer.status


def serial(connection: http.client.HTTPSConnection) -> int:
    shown = connection.sock.getpeercert(binary_form=True)
    return x509.load_der_x509_certificate(shown).serial_number


def shown(server: Any, by: ssl.SSLContext) -> int:
    """The serial number of the certificate that a new connection sees."""
    with contextlib.closing(connect(server, by)) as connection:
        return serial(connection)


def sample(server: Any, name: str) -> float:
    lines = httpx.get(f"{server.internal}/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.rpartition(" ")[0] == name)


def refused(server: Any, by: ssl.SSLContext) -> None:
    """No handshake, and it was the server that did not want it."""
    name = 'reranker_dropped_connections_total{cause="tls",port="api"}'
    before = sample(server, name)
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        connect(server, by)
    server.wait(lambda: sample(server, name) == before + 1, "refused")


def test_rankings_over_tls_1_2_and_1_3(server: Any, authority: Pair) -> None:
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        by = context(authority)
        by.minimum_version = by.maximum_version = version
        by.set_alpn_protocols(["h2", "http/1.1"])
        with contextlib.closing(connect(server, by)) as connection:
            assert [rank(connection) for _ in range(3)] == [200] * 3
            assert connection.sock.selected_alpn_protocol() == "http/1.1"
            assert connection.sock.version() == version.name.replace("_", ".")
            assert connection.sock.compression() is None


@pytest.mark.parametrize(
    "ciphers", ["ECDHE-ECDSA-AES128-SHA256", "ECDHE-ECDSA-AES256-SHA", "DHE+AESGCM", "AESGCM+kRSA"]
)
def test_old_ciphers_are_refused(server: Any, authority: Pair, ciphers: str) -> None:
    by = context(authority)
    by.maximum_version = ssl.TLSVersion.TLSv1_2
    by.set_ciphers(ciphers)
    refused(server, by)


def test_tls_1_1_is_refused(server: Any, authority: Pair) -> None:
    by = context(authority)
    by.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        by.minimum_version = by.maximum_version = ssl.TLSVersion.TLSv1_1
    refused(server, by)


def test_a_body_that_is_too_large_meets_its_413(server: Any, authority: Pair) -> None:
    with contextlib.closing(connect(server, context(authority))) as connection:
        assert rank(connection, b" " * (1 << 21)) == 413
        assert rank(connection) == 200  # http.client has connected anew


def test_plain_http_and_handshakes_that_never_end_are_let_go(server: Any) -> None:
    before = sample(server, 'reranker_dropped_connections_total{cause="tls",port="api"}')
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(socket.create_connection(("127.0.0.1", server.port), 30)) for _ in range(3)]
        peers[0].sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        peers[1].sendall(b"\x16\x03\x01")
        for peer in peers:
            with contextlib.suppress(ConnectionResetError):
                assert b"HTTP" not in peer.recv(1000)
    server.wait(lambda: sample(server, 'reranker_connections{port="api"}') == 0, "left alone")
    assert sample(server, 'reranker_dropped_connections_total{cause="tls",port="api"}') == before + 3
    assert "Traceback" not in server.log


def test_a_new_certificate_is_for_new_connections_and_old_ones_live(server: Any, authority: Pair, files: Path) -> None:
    by = context(authority)
    with contextlib.closing(connect(server, by)) as living:
        before = serial(living)
        assert rank(living) == 200
        new = Pair.make("localhost", authority)
        new.put(files)
        server.wait(lambda: shown(server, by) == new.certificate.serial_number, "renewed")
        assert rank(living) == 200
        assert serial(living) == before


def test_half_a_pair_leaves_the_old_one(server: Any, authority: Pair, files: Path) -> None:
    by = context(authority)
    before = shown(server, by)
    failures = sample(server, 'reranker_reload_failures_total{what="tls"}')
    new = Pair.make("localhost", authority)
    swap(files / "tls.crt", new.cert)
    server.wait(lambda: sample(server, 'reranker_reload_failures_total{what="tls"}') == failures + 1, "reported")
    assert shown(server, by) == before
    assert "the key is not the certificate's" in server.log
    assert f"NIM_TLS_KEY_PATH={files / 'tls.key'}" in server.log
    swap(files / "tls.key", new.key())
    server.wait(lambda: shown(server, by) == new.certificate.serial_number, "renewed")


def test_clients_need_a_certificate_where_asked_for_and_probes_do_not(
    known: Any, authority: Pair, tmp_path: Path
) -> None:
    good = context(authority, Pair.make("client", authority), tmp_path)
    with contextlib.closing(connect(known, good)) as connection:
        assert rank(connection) == 200
    for bad in (context(authority), context(authority, Pair.make("stranger", Pair.make("elsewhere")), tmp_path)):
        with pytest.raises((ssl.SSLError, ConnectionError)), contextlib.closing(connect(known, bad)) as connection:
            rank(connection)
    for path in ("/v1/health/live", "/v1/health/ready", "/metrics"):
        assert httpx.get(f"{known.internal}{path}").status_code == 200


def test_the_clients_authority_can_be_exchanged(known: Any, authority: Pair, files: Path, tmp_path: Path) -> None:
    other = Pair.make("other authority")
    old = context(authority, Pair.make("client", authority), tmp_path)
    new = context(authority, Pair.make("client", other), tmp_path)

    def allowed(by: ssl.SSLContext) -> bool:
        try:
            with contextlib.closing(connect(known, by)) as connection:
                return rank(connection) == 200
        except (ssl.SSLError, ConnectionError):
            return False

    with contextlib.closing(connect(known, old)) as living:
        assert rank(living) == 200
        assert not allowed(new)
        swap(files / "clients.crt", other.cert)
        known.wait(lambda: allowed(new), "exchanged")
        assert not allowed(old)
        assert rank(living) == 200
    swap(files / "clients.crt", authority.cert)
    known.wait(lambda: allowed(old), "put back")


def test_files_that_cannot_be_used_end_the_process(run: Any, models: Any, tmp_path: Path) -> None:
    pair, other = Pair.make("localhost"), Pair.make("localhost")
    cert, key = pair.put(tmp_path)
    text = swap(tmp_path / "text", b"hello")
    damaged = swap(tmp_path / "damaged", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    cases = [
        ({"NIM_TLS_CERT_PATH": tmp_path / "nowhere"}, "NIM_TLS_CERT_PATH={} cannot be read: No such file"),
        ({"NIM_TLS_KEY_PATH": tmp_path}, "NIM_TLS_KEY_PATH={} cannot be read: Is a directory"),
        ({"NIM_TLS_CERT_PATH": text}, "NIM_TLS_CERT_PATH={} is not PEM"),
        ({"NIM_TLS_CERT_PATH": damaged}, "NIM_TLS_CERT_PATH={} with NIM_TLS_KEY_PATH="),
        ({"NIM_TLS_KEY_PATH": cert}, "NIM_TLS_KEY_PATH={} is not PEM"),
        ({"NIM_TLS_KEY_PATH": swap(tmp_path / "other", other.key())}, "the key is not the certificate's"),
        ({"NIM_TLS_KEY_PATH": swap(tmp_path / "locked", pair.key(b"secret"))}, "NIM_TLS_KEY_PATH={} is encrypted"),
        ({"RERANKER_TLS_CLIENT_CA_PATH": text}, "RERANKER_TLS_CLIENT_CA_PATH={} is not PEM"),
        ({"RERANKER_TLS_CLIENT_CA_PATH": damaged}, "RERANKER_TLS_CLIENT_CA_PATH={} cannot be used"),
    ]

    def serve(given: dict[str, object]) -> Any:
        usual = {"NIM_TLS_CERT_PATH": cert, "NIM_TLS_KEY_PATH": key, "NIM_LOG_LEVEL": "error"}
        return run("serve", NIM_MODEL_PATH=models.bert, RERANKER_INTERNAL_PORT=0, **usual | given)

    with ThreadPoolExecutor(2) as pool:
        ended = list(pool.map(serve, [given for given, _ in cases]))
    for done, (given, said) in zip(ended, cases, strict=True):
        assert done.returncode == 2, (given, done.stderr)
        assert len(done.stderr.splitlines()) == 1
        assert said.format(*given.values()) in done.stderr
