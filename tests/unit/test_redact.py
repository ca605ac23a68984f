"""Secrets are taken out in whatever way they are written, and nothing else is."""

import base64
import json
from typing import Any

import pytest

from reranker_operator.diagnose.redact import (
    LAST_APPLIED,
    REDACTED,
    Redactor,
    named_secrets,
    secret_literals,
    secret_variables,
    values_of,
)

SECRET = 'pass"word/with spaces'


def secret(**data: str) -> dict[str, Any]:
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    return {"kind": "Secret", "metadata": {"name": "tokens"}, "data": encoded}


@pytest.mark.parametrize(
    "written",
    [
        SECRET,
        f"x{SECRET}x",
        json.dumps(SECRET),
        "pass%22word%2Fwith%20spaces",
        base64.b64encode(SECRET.encode()).decode(),
    ],
)
def test_a_value_is_found_in_every_way_it_is_written(written: str) -> None:
    redacted = Redactor(values_of(secret(hub=SECRET))).text(f"before {written} after")
    assert redacted.startswith("before ")
    assert redacted.endswith(" after")
    assert REDACTED in redacted
    assert "word" not in redacted


def test_lines_of_a_value_are_values() -> None:
    redactor = Redactor(values_of(secret(clients="key-of-one-client\nkey-of-another-client\n")))
    assert redactor.text("got key-of-another-client") == f"got {REDACTED}"


def test_a_value_that_begins_with_another_goes_whole() -> None:
    assert Redactor(["abcdefgh", "abcdefghijkl"]).text("abcdefghijkl abcdefghi") == f"{REDACTED} {REDACTED}i"


def test_short_values_stand_for_themselves_only() -> None:
    redactor = Redactor(["1234", "abc", "true"])
    assert redactor.text("1234, 12345, a1234, abc, true") == f"{REDACTED}, 12345, a1234, abc, true"


def test_credentials_of_a_registry_are_found_inside_its_json() -> None:
    auth = base64.b64encode(b"me:hunter22hunter").decode()
    config = {"auths": {"registry.example": {"username": "me", "password": "hunter22hunter", "auth": auth}}}
    redactor = Redactor(values_of(secret(**{".dockerconfigjson": json.dumps(config)})))
    assert redactor.text(f"hunter22hunter {auth} registry.example") == f"{REDACTED} {REDACTED} registry.example"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("GET http://me:hunter2@proxy:3128/x", f"GET http://{REDACTED}@proxy:3128/x"),
        ("clone https://ghp_abc@git.example/x", f"clone https://{REDACTED}@git.example/x"),
        ("Authorization: Bearer abc", f"Authorization: {REDACTED}"),
        ('{"authorization": "Basic bWU6cHc=", "a": 1}', f'{{"authorization": "{REDACTED}", "a": 1}}'),
        ("X-API-Key: abc", f"X-API-Key: {REDACTED}"),
        ("sent bearer abcdefgh.ijk", f"sent bearer {REDACTED}"),
        ("HF_TOKEN=hf_abc MODE=fast", f"HF_TOKEN={REDACTED} MODE=fast"),
        ("serve --api-key=abc --port=80", f"serve --api-key={REDACTED} --port=80"),
        ("-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----\nx", f"{REDACTED}\nx"),
        ("-----BEGIN PRIVATE KEY-----\ncut off", REDACTED),
    ],
)
def test_what_looks_like_a_credential_goes(text: str, left: str) -> None:
    assert Redactor([]).text(text) == left
    assert Redactor([]).text(left) == left


@pytest.mark.parametrize(
    "text",
    [
        "image registry.example:5000/a/b@sha256:0123456789abcdef",
        "RERANKER_BATCH_TOKENS=8192 NIM_NUM_TOKENIZERS=2",
        "NIM_TLS_KEY_PATH=/etc/reranker/tls/tls.key RERANKER_API_KEYS_DIR=/etc/reranker/keys",
        "tokens=81 status=200 http://10.0.0.1:8000/v1/ranking",
        "key=search/docs",
    ],
)
def test_what_a_diagnosis_needs_stays(text: str) -> None:
    assert Redactor([]).text(text) == text


def test_no_text_and_no_number_of_values_makes_it_hang() -> None:
    """Each of these takes hours where a pattern looks from every place to the end, or for every value."""
    for hostile in ("a" * 2**20, "--a" * 2**18, "://" * 2**18, "A=" * 2**18, "eyJaaaaaaaa-" * 2**14):
        Redactor([]).text(hostile)
    bundle = [f"a-line-of-a-bundle-{number}" for number in range(20_000)]
    assert Redactor(bundle).text("\n".join(bundle)) == "\n".join([REDACTED] * 20_000)


def test_objects_lose_their_secrets_and_keep_their_shape() -> None:
    document = {
        "kind": "Deployment",
        "metadata": {"name": "docs", "annotations": {LAST_APPLIED: json.dumps(secret(hub=SECRET))}},
        "env": [
            {"name": "HF_TOKEN", "value": "hf_abc"},
            {"name": "MODE", "value": "fast"},
            {"name": "HUB", "valueFrom": {"secretKeyRef": {"name": "tokens", "key": "hub"}}},
        ],
        "data": {"API_KEY": "abc"},
        "replicas": 2,
        "paused": True,
    }
    cleaned = Redactor([]).clean(document)
    assert json.loads(cleaned["metadata"]["annotations"][LAST_APPLIED])["data"] == {"hub": REDACTED}
    assert [each.get("value") for each in cleaned["env"]] == [REDACTED, "fast", None]
    assert cleaned["env"][2] == document["env"][2]
    assert cleaned["data"] == {"API_KEY": REDACTED}
    assert (cleaned["replicas"], cleaned["paused"]) == (2, True)
    assert Redactor([]).clean(secret(hub=SECRET))["data"] == {"hub": REDACTED}
    assert secret_literals(document) == {"hf_abc", "abc"}
    assert secret_variables(document) == {"HUB"}
    assert Redactor([], {"HUB"}).text("HUB=anything") == f"HUB={REDACTED}"


def test_secrets_are_named_in_many_ways() -> None:
    spec = {
        "authentication": {"apiKeysSecret": {"name": "clients"}},
        "tls": {"secretName": "tls"},
        "image": {"pullSecrets": [{"name": "pull"}]},
        "ingress": {"tlsSecretName": "outer"},
        "aFieldOfTomorrow": {"tokenSecret": {"name": "hub", "key": "token"}},
        "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "variable", "key": "a", "optional": True}}}],
        "envFrom": [{"secretRef": {"name": "whole"}}],
        "volumes": [
            {"name": "a", "secret": {"secretName": "volume"}},
            {"name": "b", "projected": {"sources": [{"secret": {"name": "projected"}}]}},
        ],
        "imagePullSecrets": [{"name": "registry"}],
    }
    assert named_secrets(spec) == {
        *("clients", "tls", "pull", "outer", "hub", "variable", "whole", "volume", "projected", "registry")
    }
