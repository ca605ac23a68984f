"""What the prober makes of Secrets and answers that are not as they should be: it says so, and does not ask at once."""

from __future__ import annotations

import asyncio
import base64
import datetime
import logging
import re
import ssl
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from reranker_operator.api import Reason
from reranker_operator.api.conditions import Status
from reranker_operator.kube.events import utc_now
from reranker_operator.reconcile.probe import PASSAGES, RETRY_SECONDS, Probe, Prober, Target

RANKED = '{"rankings": [{"index": 0, "logit": 1.0}, {"index": 1, "logit": 0.5}]}'


class Secrets:
    """In the API server's place: each Secret has these entries."""

    def __init__(self, **entries: bytes) -> None:
        self.entries, self.reads = entries, 0

    async def get(self, *_: object) -> dict[str, Any]:
        self.reads += 1
        return {
            "data": {name.replace("_", "."): base64.b64encode(each).decode() for name, each in self.entries.items()}
        }


class Signer(NamedTuple):
    """An authority, or whoever signs for himself."""

    name: x509.Name
    key: ec.EllipticCurvePrivateKey
    shown: bytes = b""
    """Its own certificate, where one is shown with those that it signs."""


def named(name: str, shown: bytes = b"") -> Signer:
    """Somebody with a new key."""
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    return Signer(subject, ec.generate_private_key(ec.SECP256R1()), shown)


def signed(subject: Signer, signer: Signer, *, authority: bool) -> bytes:
    """A certificate as PEM."""
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(signer.name, subject.name, subject.key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=90))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .sign(signer.key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM)


def certificate(folder: Path, signer: Signer | None = None) -> tuple[bytes, ssl.SSLContext]:
    """A certificate as PEM with its signer's, and what a server shows them with."""
    subject = named("docs")
    private = subject.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    signer = signer or subject
    shown = signed(subject, signer, authority=False) + signer.shown
    (folder / "both.pem").write_bytes(private + shown)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "both.pem")
    return shown, context


async def ask(kube: Secrets, answer: str | None, tls: ssl.SSLContext | None = None, keys: str | None = None) -> Probe:
    """What is known of a service that answers so (None: that is not there), once a single look has come to an end."""

    async def rank(_: web.Request) -> web.Response:
        return web.Response(text=answer)

    app = web.Application()
    app.router.add_post("/v1/ranking", rank)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    port = runner.addresses[0][1]
    if answer is None:
        await runner.cleanup()
    target = Target(
        key=("search", "docs"),
        uid="7",
        template="t",
        url=f"{'https' if tls else 'http'}://127.0.0.1:{port}/v1/ranking",
        host="docs.search.svc:8000",
        keys_secret=keys,
        tls_secret="docs-tls" if tls else None,
        passages=("two roads", "bread"),
        tells_revision=False,
    )
    woken = asyncio.Event()
    prober = Prober(kube, lambda _key: woken.set(), utc_now)  # type: ignore[arg-type]
    try:
        prober.look(target, told=False)
        async with asyncio.timeout(20):
            await woken.wait()
        probe = prober.latest(target)
        assert probe is not None
        # Whoever is woken looks again: it is not time to.
        assert prober.due_in(target, told=False) > RETRY_SECONDS / 2
        return probe
    finally:
        await runner.cleanup()


def test_text_around_a_certificate_is_in_any_language(tmp_path: Path) -> None:
    shown, server = certificate(tmp_path)
    probe = asyncio.run(
        ask(Secrets(tls_crt="# für docs\n".encode() + shown + "# Ende — fin\n".encode()), RANKED, server)
    )
    assert (probe.status, probe.reason) == (Status.TRUE, Reason.RANKED)


@pytest.mark.parametrize("held", [b"", "für niemanden".encode(), b"\xff\xfe"])
def test_a_secret_without_a_certificate_is_another_one(tmp_path: Path, held: bytes) -> None:
    _shown, server = certificate(tmp_path)
    probe = asyncio.run(ask(Secrets(tls_crt=held), RANKED, server))
    assert (probe.status, probe.reason) == (Status.UNKNOWN, Reason.RANKING_PENDING)
    assert "not that of Secret docs-tls" in probe.message


def test_only_the_secrets_own_certificate_is_the_one_however_much_they_have_in_common(tmp_path: Path) -> None:
    authority = named("authority")
    authority = authority._replace(shown=signed(authority, authority, authority=True))
    before, old_server = certificate(tmp_path, authority)
    renewed, _server = certificate(tmp_path, authority)
    probe = asyncio.run(ask(Secrets(tls_crt=before), RANKED, old_server))
    assert (probe.status, probe.reason) == (Status.TRUE, Reason.RANKED)
    probe = asyncio.run(ask(Secrets(tls_crt=renewed), RANKED, old_server))
    assert (probe.status, probe.reason) == (Status.UNKNOWN, Reason.RANKING_PENDING)
    assert "not that of Secret docs-tls" in probe.message


def test_a_certificate_that_may_sign_others_is_not_those_that_it_has_signed(tmp_path: Path) -> None:
    """Many that sign themselves may: it is what `openssl req -x509` makes."""
    own = named("docs of last year")
    own = own._replace(shown=signed(own, own, authority=True))
    _other, server = certificate(tmp_path, own)
    probe = asyncio.run(ask(Secrets(tls_crt=own.shown), RANKED, server))
    assert (probe.status, probe.reason) == (Status.UNKNOWN, Reason.RANKING_PENDING)
    assert "not that of Secret docs-tls" in probe.message


@pytest.mark.parametrize(
    "answer",
    [
        RANKED.replace('"index": 0', '"index": 1e999'),
        RANKED.replace("1.0", "1" + "0" * 400),
        "[" * 100_000,
    ],
    ids=["endless", "beyond-any-float", "deep"],
)
def test_numbers_that_are_none_are_no_ranking(answer: str) -> None:
    probe = asyncio.run(ask(Secrets(), answer))
    assert (probe.status, probe.reason) == (Status.FALSE, Reason.RANKING_WRONG)
    assert "the answer is no ranking" in probe.message


def test_the_runbook_says_how_many_passages_are_ranked(root: Path) -> None:
    (said,) = re.findall(r"The operator ranks (\w+) short passages", (root / "docs/runbooks.md").read_text())
    assert said == {8: "eight"}[len(PASSAGES)]


def test_a_service_that_is_not_there_is_told_of_in_the_same_words_each_time(tmp_path: Path) -> None:
    _shown, server = certificate(tmp_path)
    probe = asyncio.run(ask(Secrets(tls_crt=b""), None, server))
    assert (probe.status, probe.reason) == (Status.UNKNOWN, Reason.UNREACHABLE)
    assert "cannot be reached: " in probe.message
    assert "object at 0x" not in probe.message


def test_a_fault_of_the_operator_is_told_without_the_key_and_asked_again_later(
    caplog: pytest.LogCaptureFixture,
) -> None:
    kube = Secrets(operator=b"a-key\0-with-what-no-header-may-have")
    with caplog.at_level(logging.ERROR):
        probe = asyncio.run(ask(kube, RANKED, keys="clients"))
    assert (probe.status, probe.reason, probe.again_in) == (Status.UNKNOWN, Reason.UNREACHABLE, RETRY_SECONDS)
    assert "could not ask for a ranking (ValueError)" in probe.message
    assert "a-key" not in probe.message
    assert "search/docs: no ranking was asked for" in caplog.text
    assert [getattr(each, "service", None) for each in caplog.records] == ["search/docs"]
    assert kube.reads == 1
