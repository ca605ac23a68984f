"""Secrets are taken out in whatever way they are written, and nothing else is."""

import base64
import json
from typing import Any

import pytest

from reranker_operator.diagnose.credentials import REDACTED
from reranker_operator.diagnose.redact import (
    LAST_APPLIED,
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


@pytest.mark.parametrize(
    ("value", "written", "left"),
    [
        ("abcdefghij", "YWJjZGVmZ2hpag", REDACTED),  # base64 without padding
        ("abcdefghij", base64.b64encode(b"abcdefghij, and more").decode(), f"{REDACTED}iwgYW5kIG1vcmU="),
        ("abcdefghij", base64.b64encode(b"me:abcdefghij").decode(), f"bWU6{REDACTED}"),
        ("abcdefghij", base64.b64encode(b"user:abcdefghij").decode(), f"dXNlcjp{REDACTED}"),
        ("abcdefghij", base64.b64encode(b"user1:abcdefghij, x").decode(), f"dXNlcjE6{REDACTED}iwgeA=="),
        ("a b+c d e f", "a+b%2Bc+d+e+f", REDACTED),
        ("p@ss:word12", "p%40ss:word12", REDACTED),
        ("p%40ss%3Aword12", "p@ss:word12", REDACTED),
        ("ab<cd>&efgh", "ab\\u003ccd\\u003e\\u0026efgh", REDACTED),
        ("hf_ab", "aGZfYWx", "aGZfYWx"),  # short: in other base64 by chance
    ],
)
def test_a_value_is_found_in_every_encoding(value: str, written: str, left: str) -> None:
    assert Redactor(values_of(secret(a=value))).text(f"x {written} y") == f"x {left} y"


@pytest.mark.parametrize(
    ("held", "value"),
    [
        ("# of the hub\nHF_TOKEN=hf_abcdefgh\n", "hf_abcdefgh"),
        ("export DB_PASS='hunter2'\n", "hunter2"),
        ('user:\n  - name: "hunter2222"\n', "hunter2222"),
        ('{"apiKey": "abcdefgh1234"}', "abcdefgh1234"),
        ('{"clients": {"keys": ["abcdefgh1234"]}}', "abcdefgh1234"),
        ('{"credential": "abcdefgh1234"}', "abcdefgh1234"),
        ("https://me:hunter2222@hub.example", "hunter2222"),
    ],
)
def test_what_a_value_assigns_is_a_value(held: str, value: str) -> None:
    assert Redactor(values_of(secret(file=held))).text(f"got {value}") == f"got {REDACTED}"


def test_short_settings_in_a_secret_are_left() -> None:
    redactor = Redactor(values_of(secret(file="port: 8080\nlevel: debug\n")))
    assert redactor.text("8080 debug") == "8080 debug"


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
        ("MIIEvQ+/\nabc=\n-----END PRIVATE KEY-----\nx", f"{REDACTED}\nx"),
        ("map[Authorization:[Bearer abcdef] Accept:[*/*]]", f"map[Authorization:[{REDACTED}] Accept:[*/*]]"),
        ("Proxy-Authorization:[Basic dXNl==]", f"Proxy-Authorization:[{REDACTED}]"),
        ('"Authorization":["Basic dXNl"]', f'"Authorization":["{REDACTED}"]'),
        ('"Authorization":[]string{"Basic dXNl"}', f'"Authorization":[]string{{"{REDACTED}"}}'),
        (r'"{\"Authorization\": \"Basic dXNl\"}"', rf'"{{\"Authorization\": \"{REDACTED}\"}}"'),
        ("Authorization: Token abcdef", f"Authorization: {REDACTED}"),
        ("authorization: ApiKey abcdef", f"authorization: {REDACTED}"),
        ("Proxy-Authorization: Negotiate YIIabcdef", f"Proxy-Authorization: {REDACTED}"),
        ("(b'Authorization', b'Basic dXNl')", f"(b'Authorization', b'{REDACTED}')"),
        ("(b'X-API-Key', b'sk-abcdef')", f"(b'X-API-Key', b'{REDACTED}')"),
        ("sent Basic dXNlcjpodW50ZXIyMg==", f"sent Basic {REDACTED}"),
        ('PASSWORD="correct horse battery"', f'PASSWORD="{REDACTED}"'),
        ("HF_TOKEN='a,bcdefgh' x", f"HF_TOKEN='{REDACTED}' x"),
        ('PASSWORD="cut off', f'PASSWORD="{REDACTED}'),
        (r'"env PASSWORD=\"a b\" x"', rf'"env PASSWORD=\"{REDACTED}\" x"'),
        ("API_KEY=abc;defghi, x", f"API_KEY={REDACTED}, x"),
        ("MODE=HF_TOKEN=abc", f"MODE=HF_TOKEN={REDACTED}"),
        ("serve --api-key abc --port 80", f"serve --api-key {REDACTED} --port 80"),
        ("['serve', '--api-key', 'abc def']", f"['serve', '--api-key', '{REDACTED}']"),
        ("DB_PASS=abc GITHUB_PAT=abc", f"DB_PASS={REDACTED} GITHUB_PAT={REDACTED}"),
        ("REDIS_AUTH=abc PASSPHRASE=abc", f"REDIS_AUTH={REDACTED} PASSPHRASE={REDACTED}"),
        ('{"HF_TOKEN": "abc"}', f'{{"HF_TOKEN": "{REDACTED}"}}'),
        ('{"access_token": "abc"}', f'{{"access_token": "{REDACTED}"}}'),
        ("HF_TOKEN: abc", f"HF_TOKEN: {REDACTED}"),
        ("password: abc", f"password: {REDACTED}"),
        ("GET /x?access_token=abc HTTP/1.1", f"GET /x?access_token={REDACTED} HTTP/1.1"),
        ("HTTPS_PROXY=me:hunter2@proxy:3128", f"HTTPS_PROXY={REDACTED}@proxy:3128"),
        ("http://me:pa/ss@proxy:3128", f"http://{REDACTED}@proxy:3128"),
        (f"got hf_{'aB3' * 11}", f"got {REDACTED}"),
        (f"got ghp_{'aB3' * 12}", f"got {REDACTED}"),
        ("got nvapi-abcdef_12-3", f"got {REDACTED}"),
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
        "PASSAGES=512 RERANKER_MAX_PASSAGES=512 max_passages: 512 tokens: 81",
        'tokenSecret: {name: hub, key: token} {"tokenSecret":{"name":"hub"}}',
        "automountServiceAccountToken: false",
        'MountVolume.SetUp failed for volume "hub-token" : secret "hub-token" not found',
        "hub-token: not found; failed to fetch token: Unauthorized",
        "bos_token=<s> 'sep_token': '[SEP]' RERANKER_TOKENIZER_NAME=a/b --tokenizer a/b",
        "no basic authentication, Basic Authentication",
        "http://hub.example:8080/@scope/package https://hub.example/a/b@sha256:0123456789abcdef",
        "HTTPS_PROXY=proxy:3128 sidecar-proxy: docs:1.0@sha256:0123456789abcdef",
        "import hf_hub_download, hf_transfer",
    ],
)
def test_what_a_diagnosis_needs_stays(text: str) -> None:
    assert Redactor([]).text(text) == text


HOSTILE = [
    part * (2**20 // len(part))
    for part in ("KEY=", "token=<", "KEY='\\\"", "proxy=a:", "a://b:c", "authorization: ", "abcd" * 16 + "\n", "--key ")
]


def test_no_text_and_no_number_of_values_makes_it_hang() -> None:
    """Each of these takes hours where a pattern looks from every place to the end, or for every value."""
    for hostile in ("a" * 2**20, "--a" * 2**18, "://" * 2**18, "A=" * 2**18, "eyJaaaaaaaa-" * 2**14, *HOSTILE):
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


def test_arguments_and_names_in_objects_lose_their_secrets() -> None:
    document = {
        "args": ["--api-key", "abcdefgh", "--verbose", "--token", "--port", "80"],
        "env": [
            {"name": "DB_PASS", "value": "hunter22"},
            {"name": "HTTPS_PROXY", "value": "me:hunter33@proxy:3128"},
            {"name": "http_proxy", "value": "http://me:hunter44@proxy:3128"},
            {"name": "MAX_PASSAGES", "value": "512"},
        ],
    }
    assert Redactor(secret_literals(document)).clean(document) == {
        "args": ["--api-key", REDACTED, "--verbose", "--token", "--port", "80"],
        "env": [
            {"name": "DB_PASS", "value": REDACTED},
            {"name": "HTTPS_PROXY", "value": f"{REDACTED}@proxy:3128"},
            {"name": "http_proxy", "value": f"http://{REDACTED}@proxy:3128"},
            {"name": "MAX_PASSAGES", "value": "512"},
        ],
    }
    assert secret_literals(document) == {"abcdefgh", "hunter22", "hunter33", "hunter44"}


def test_a_manifest_in_any_annotation_is_read_as_one() -> None:
    manifest = {"spec": {"env": [{"name": "DB_LOGIN", "value": "x"}, {"name": "HF_TOKEN", "value": "hf abc"}]}}
    kept = {"kapp.k14s.io/original": json.dumps(manifest), "secret": json.dumps(secret(hub=SECRET)), "deep": "{" * 9}
    cleaned = Redactor([]).clean({"metadata": {"annotations": kept}})["metadata"]["annotations"]
    assert [each["value"] for each in json.loads(cleaned["kapp.k14s.io/original"])["spec"]["env"]] == ["x", REDACTED]
    assert json.loads(cleaned["secret"])["data"] == {"hub": REDACTED}
    assert cleaned["deep"] == "{" * 9


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
