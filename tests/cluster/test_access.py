"""Keys and TLS as a user asks for them: Secrets in, a door that opens only to whom it should."""

from __future__ import annotations

import base64
import ssl
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from localkube.operator_process import OperatorProcess
from localkube.processes import wait_until
from rerankers import Rerankers

BODY = {"query": {"text": "which way?"}, "passages": [{"text": "two roads"}, {"text": "bread"}]}
KEY = "a-key-of-the-search-team-0123456789"


def secret(name: str, data: dict[str, bytes | str], kind: str = "Opaque") -> dict[str, Any]:
    encoded = {
        key: base64.b64encode(value if isinstance(value, bytes) else value.encode()).decode()
        for key, value in data.items()
    }
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": kind, "data": encoded}


def put(rerankers: Rerankers, document: dict[str, Any]) -> None:
    document["metadata"]["namespace"] = rerankers.namespace
    rerankers.cluster.apply(document)


def tls_secret(name: str, host: str, days: int = 90) -> dict[str, Any]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    certificate = made.public_bytes(serialization.Encoding.PEM)
    return secret(name, {"tls.crt": certificate, "tls.key": private}, "kubernetes.io/tls")


def test_keys_and_tls_are_asked_for_and_served(rerankers: Rerankers) -> None:
    tls = tls_secret("docs-tls", "docs")
    rerankers.apply("docs", authentication={"apiKeysSecret": {"name": "clients"}}, tls={"secretName": "docs-tls"})
    missing = rerankers.wait_condition("docs", "ReferencesResolved", "False")
    for said in ("Secret clients does not exist", "Secret docs-tls does not exist", "named by spec.tls"):
        assert said in missing["message"]

    put(rerankers, secret("clients", {"search": KEY}))
    put(rerankers, {**tls, "data": {"tls.crt": tls["data"]["tls.crt"]}, "type": "Opaque"})
    rerankers.wait_status("docs", lambda found: any("has no key tls.key" in c["message"] for c in found["conditions"]))
    rerankers.cluster.delete("v1", "Secret", "docs-tls", rerankers.namespace)
    put(rerankers, tls)
    status = rerankers.wait_ready("docs")
    # Without a key of its own the operator cannot say; that does not make the service less ready.
    unknown = rerankers.wait_condition("docs", "RankingVerified", "Unknown", "NoKey")
    assert "Secret clients has no entry operator" in unknown["message"]
    assert status["endpoint"] == f"https://docs.{rerankers.namespace}.svc:8000/v1/ranking"

    address = rerankers.cluster.service_url("docs", rerankers.namespace).removeprefix("http://")
    context = ssl.create_default_context(cadata=base64.b64decode(tls["data"]["tls.crt"]).decode())
    extensions = {"sni_hostname": "docs"}
    with httpx.Client(base_url=f"https://{address}", verify=context, trust_env=False, timeout=60) as client:
        refused = client.post("/v1/ranking", json=BODY, extensions=extensions)
        assert refused.status_code == 401
        headers = {"Authorization": f"Bearer {KEY}"}
        ranked = client.post("/v1/ranking", json=BODY, headers=headers, extensions=extensions)
        assert ranked.status_code == 200, ranked.text
        assert ranked.json()["rankings"][0]["index"] == 0
    with pytest.raises(httpx.TransportError):
        rerankers.post("docs", BODY)


def test_a_ranking_is_asked_for_over_tls_and_with_the_operators_key(rerankers: Rerankers) -> None:
    put(
        rerankers,
        secret("clients", {"search": KEY, "operator": "a-key-of-the-operator-0123456789\nand-its-next-one-0123456789"}),
    )
    put(rerankers, tls_secret("docs-tls", "docs"))
    rerankers.apply("docs", authentication={"apiKeysSecret": {"name": "clients"}}, tls={"secretName": "docs-tls"})
    rerankers.wait_ready("docs")
    verified = rerankers.wait_condition("docs", "RankingVerified", "True", "Ranked")
    assert "https://" in verified["message"]
    assert rerankers.status("docs")["probe"]["passages"] == 8


def test_a_certificate_that_soon_expires_is_told_of_and_ranks_on(
    rerankers: Rerankers, operator: OperatorProcess
) -> None:
    put(rerankers, tls_secret("docs-tls", "docs", days=5))
    rerankers.apply("docs", tls={"secretName": "docs-tls"})
    told = rerankers.wait_condition("docs", "RankingVerified", "True", "CertificateExpires")
    assert "Secret docs-tls is valid until" in told["message"]
    rerankers.wait_ready("docs")
    rerankers.wait_event("CertificateExpires", "renew it")
    metric = "reranker_operator_certificate_expiry_timestamp_seconds"
    shown = f'{metric}{{name="docs",namespace="{rerankers.namespace}"}} '

    def lines() -> list[str]:
        return [line for line in operator.metrics().splitlines() if line.startswith(shown)]

    wait_until("the metric, which a round tells last", lambda: bool(lines()), timeout=30)
    (line,) = lines()
    days = (float(line.removeprefix(shown)) - datetime.now(UTC).timestamp()) / 86_400
    assert 4 < days < 5


def test_a_certificate_out_of_date_is_named(rerankers: Rerankers) -> None:
    put(rerankers, tls_secret("docs-tls", "docs", days=0))
    rerankers.apply("docs", tls={"secretName": "docs-tls"})
    named = rerankers.wait_condition("docs", "RankingVerified", "False", "CertificateExpired")
    assert "Secret docs-tls is out of date" in named["message"]
    assert rerankers.condition("docs", "Ready")["status"] == "False"


def test_a_first_key_that_is_deleted_is_made_again_at_once(rerankers: Rerankers) -> None:
    rerankers.apply("made", replicas=0, authentication={"generate": True})
    rerankers.wait_deployment("made", lambda found: found.get("status", {}).get("observedGeneration"))
    rerankers.wait_condition("made", "ModelVerified", "True")
    place = "v1", "Secret", "made-api-keys"
    found = rerankers.cluster.get(*place, rerankers.namespace)
    assert found is not None
    for _ in range(5):  # what a new service wakes the operator with is soon over
        rerankers.cluster.delete(*place, rerankers.namespace)
        old = found["data"]["default"]
        found = rerankers.cluster.wait(
            *place, lambda made, old=old: made["data"]["default"] != old and made, namespace=rerankers.namespace
        )
        assert set(found["data"]) == {"default", "operator"}
    assert rerankers.condition("made", "ReferencesResolved")["status"] == "True"


def test_a_first_key_is_made_once_and_never_written_over(rerankers: Rerankers) -> None:
    rerankers.apply("made", authentication={"generate": True})
    rerankers.wait_ready("made")
    first = rerankers.cluster.get("v1", "Secret", "made-api-keys", rerankers.namespace)
    assert first is not None
    key = base64.b64decode(first["data"]["default"]).decode()
    assert len(key) >= 32
    rerankers.wait_condition("made", "RankingVerified", "True")  # with the operator's own entry
    assert rerankers.post("made", BODY).status_code == 401
    url = rerankers.cluster.service_url("made", rerankers.namespace)
    answer = httpx.post(f"{url}/v1/ranking", json=BODY, headers={"X-API-Key": key}, timeout=60, trust_env=False)
    assert answer.status_code == 200
    # A key more, and a change that makes the operator look again.
    operators = base64.b64decode(first["data"]["operator"])
    put(rerankers, secret("made-api-keys", {"default": key, "operator": operators, "second": KEY}))
    made = rerankers.apply("made", authentication={"generate": True}, service={"labels": {"looked": "again"}})
    rerankers.wait_ready("made", generation=made["metadata"]["generation"])
    again = rerankers.cluster.get("v1", "Secret", "made-api-keys", rerankers.namespace)
    assert again is not None
    assert base64.b64decode(again["data"]["default"]).decode() == key
    assert set(again["data"]) == {"default", "operator", "second"}
    assert again["metadata"]["ownerReferences"][0]["name"] == "made"
