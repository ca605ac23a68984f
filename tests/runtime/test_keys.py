"""Keys: who is let in, who is not, and that a key is renewed without a restart and never shows anywhere."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

ALICE, ALICE_NEXT = "alice-first-key-0123456789", "alice-next-key-0123456789"
BOB, BOB_NEXT, ALONE, GREEDY = "bob-key-0123456789abcdef", "bob-next-0123456789abcdef", "alone-key-0123456789", "g" * 20
MANY = "many-key-of-a-client-with-many-pairs"
SHORT = "tooshort"
GOOD: dict[str, Any] = {"query": {"text": "w1"}, "passages": [{"text": "w2"}]}
TOKENS = 2000


class Secret:
    """A directory as the kubelet mounts a Secret: each file is a symlink through ..data, which is swapped."""

    def __init__(self, directory: Path) -> None:
        self.directory, self._turn = directory, 0

    def put(self, **files: str) -> None:
        self._turn += 1
        data = self.directory / f"..{self._turn}"
        data.mkdir(parents=True)
        for name, content in files.items():
            (data / name).write_text(content)
            if not (self.directory / name).is_symlink():
                (self.directory / name).symlink_to(f"..data/{name}")
        (self.directory / "..new").symlink_to(data.name)
        (self.directory / "..new").rename(self.directory / "..data")
        for link in self.directory.iterdir():
            if link.name[0] != "." and link.name not in files:
                link.unlink()


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> Secret:
    made = Secret(tmp_path_factory.mktemp("secret"))
    made.put(bob=f"{BOB}\n\n", weak=SHORT)
    return made


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "keys"
    path.write_text(f"# clients\n\nalice {ALICE}\r\n  alice\t{ALICE_NEXT}\n{ALONE}\ngreedy {GREEDY}\nmany {MANY}\n")
    return path


@pytest.fixture(scope="module")
def keyed(models: Any, start_for_all: Any, file: Path, secret: Secret) -> Any:
    return start_for_all(
        models.bert,
        NIM_PRECISION="fp32",
        RERANKER_API_KEYS_FILE=file,
        RERANKER_API_KEYS_DIR=secret.directory,
        RERANKER_TOKENS_PER_MINUTE=TOKENS,
        NIM_LOG_LEVEL="debug",
    ).ready()


def rank(server: Any, *headers: tuple[str, str], path: str = "/v1/ranking", **extra: object) -> httpx.Response:
    return server.http.post(path, json=GOOD | extra, headers=list(headers))


def assert_read_by_all(body: dict[str, Any], said: str, kind: str) -> None:
    """/rerank's shape before anybody knows who asks: TEI's clients read `error`, the others `message` or `detail`."""
    assert set(body) == {"message", "detail", "error", "error_type"}
    assert said in body["message"]
    assert body["message"] == body["detail"] == body["error"]
    assert body["error_type"] == kind


def allowed(server: Any, key: str) -> bool:
    answer = rank(server, ("X-API-Key", key))
    assert answer.status_code in (200, 401), answer.text
    return answer.status_code == 200


def internal(server: Any) -> list[str]:
    return httpx.get(f"{server.internal}/metrics").text.splitlines()


@pytest.mark.parametrize(
    "header",
    [
        ("Authorization", f"Bearer {ALICE}"),
        ("authorization", f"bEARER   {ALICE}"),
        ("X-API-Key", ALICE_NEXT),
        ("Authorization", f"Bearer {ALONE}"),
        ("Authorization", ALICE),  # as clients of text-embeddings-inference send it
        ("x-api-key", BOB),
    ],
)
def test_a_key_lets_in_by_either_header(keyed: Any, header: tuple[str, str]) -> None:
    assert rank(keyed, header).status_code == 200


def test_one_valid_key_is_enough(keyed: Any) -> None:
    assert rank(keyed, ("Authorization", "Bearer **********"), ("X-API-Key", BOB)).status_code == 200
    assert rank(keyed, ("Authorization", f"Bearer {BOB}"), ("X-API-Key", "junk")).status_code == 200


WRONG: list[list[tuple[str, str]]] = [
    [],
    [("Authorization", "Bearer junk")],
    [("Authorization", "Bearer")],
    [("Authorization", f"Basic {ALICE}")],
    [("Authorization", f"Bearer {ALICE} {BOB}")],
    [("X-API-Key", "")],
    [("X-API-Key", ALICE[:-1])],
    [("X-API-Key", ALICE + "0")],
    [("X-API-Key", f"alice {ALICE}")],
    [("X-API-Key", f"Bearer {ALICE}")],
    [("X-API-Key", "# clients")],
    [("Cookie", f"X-API-Key={ALICE}")],
]


def test_without_a_valid_key_every_answer_is_the_same_401(keyed: Any) -> None:
    answers = [rank(keyed, *headers) for headers in WRONG]
    answers.append(keyed.http.post("/v1/ranking", json=GOOD, headers={b"X-API-Key": b"\xe9\xff"}))
    answers.append(keyed.http.post("/v1/ranking", json=GOOD, params={"api_key": ALICE, "X-API-Key": ALICE}))
    answers.append(keyed.http.post("/v1/ranking", content=b"not JSON"))
    assert {answer.status_code for answer in answers} == {401}
    [text] = {answer.text for answer in answers}
    body = answers[0].json()
    assert set(body) == {"object", "message", "detail", "type"}
    assert "Authorization: Bearer KEY" in body["message"]
    assert {answer.headers["WWW-Authenticate"] for answer in answers} == {"Bearer"}
    assert ALICE not in text
    mixed = keyed.http.post("/rerank", json={"query": "w1", "texts": ["w2"]})
    assert mixed.status_code == 401
    assert_read_by_all(mixed.json(), "Authorization: Bearer KEY", "authentication_error")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models",
        "/v1/metadata",
        "/v1/metrics",
        "/metrics",
        "/nowhere",
        "/v1/health/live/",
        "/v1/health/ready/reranking",
        "/docs/x/reranking",
        "/docs/..%2fv1/models",
        "/v1/health%2flive/reranking",
        "//v1/health/live",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "OPTIONS"])
def test_everything_else_needs_a_key(keyed: Any, path: str, method: str) -> None:
    url = f"{keyed.url}{path}"
    answer = keyed.http.request(method, url, **({"json": GOOD} if method == "POST" else {}))
    assert answer.status_code == 401


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json", "/v1/health/live", "/v1/health/ready"])
def test_health_and_pages_need_none(keyed: Any, path: str) -> None:
    assert keyed.http.get(path).status_code == 200
    assert keyed.http.get(path, headers={"X-API-Key": "junk"}).status_code == 200


def test_the_internal_port_asks_for_no_key(keyed: Any) -> None:
    for path in ("/v1/health/live", "/v1/health/ready", "/v1/metrics", "/metrics"):
        assert httpx.get(f"{keyed.internal}{path}").status_code == 200


def test_paths_that_are_open_can_be_chosen(models: Any, start: Any, file: Path) -> None:
    server = start(
        models.bert, RERANKER_API_KEYS_FILE=file, RERANKER_PUBLIC_PATHS="/v1/models, /v1/health/ready"
    ).ready()
    assert server.http.get("/v1/models").status_code == 200
    for path in ("/v1/health/live", "/openapi.json", "/", "/v1/models/"):
        assert server.http.get(path).status_code == 401
    assert rank(server).status_code == 401


def test_a_client_that_used_up_its_tokens_is_429_and_others_are_not(keyed: Any, words: Any) -> None:
    greedy = ("Authorization", f"Bearer {GREEDY}")
    long = {"passages": [{"text": words(300, n)} for n in range(10)]}
    assert rank(keyed, greedy, **long).status_code == 200  # of which the last tokens are a debt
    for answer in (rank(keyed, greedy), rank(keyed, greedy, **long)):
        assert answer.status_code == 429
        assert 0 < int(answer.headers["Retry-After"]) <= 60
        assert set(answer.json()) == {"object", "message", "detail", "type"}
        assert "greedy" in answer.json()["message"]
    assert allowed(keyed, BOB)
    lines = internal(keyed)
    assert any('client="greedy"' in line and 'status="429"' in line and line.endswith(" 2.0") for line in lines)


def test_a_request_of_many_parts_is_let_in_once_and_pays_for_all(keyed: Any, words: Any) -> None:
    many = ("X-API-Key", MANY)
    body = {"text_1": [f"w{n}" for n in range(40)], "text_2": [words(100, n) for n in range(40)]}
    assert keyed.http.post("/score", json=body, headers=[many]).status_code == 200
    refused = keyed.http.post("/score", json=body, headers=[many])
    assert refused.status_code == 429
    assert set(refused.json()) == {"message", "detail", "error"}
    mixed = keyed.http.post("/rerank", json={"query": "w1", "texts": ["w2"]}, headers=[many])
    assert mixed.status_code == 429
    assert_read_by_all(mixed.json(), "client many has used up", "rate_limit_error")


def test_keys_in_a_file_change_without_a_restart(keyed: Any, file: Path) -> None:
    before = file.read_text()
    new = file.with_name("new")
    new.write_text(before.replace(ALICE, "alice-third-key-0123456789"))
    new.rename(file)
    keyed.wait(lambda: allowed(keyed, "alice-third-key-0123456789"), "renewed")
    assert not allowed(keyed, ALICE)
    assert allowed(keyed, ALICE_NEXT)
    with file.open("w") as stream:
        stream.write(before)
    keyed.wait(lambda: allowed(keyed, ALICE), "put back")
    assert not allowed(keyed, "alice-third-key-0123456789")


def test_keys_in_a_secret_change_without_a_restart(keyed: Any, secret: Secret) -> None:
    secret.put(bob=f"{BOB}\n{BOB_NEXT}", carol="carol-key-0123456789")
    keyed.wait(lambda: allowed(keyed, BOB_NEXT), "both")
    assert allowed(keyed, BOB)
    assert allowed(keyed, "carol-key-0123456789")
    assert not allowed(keyed, SHORT)
    secret.put(bob=BOB_NEXT)
    keyed.wait(lambda: not allowed(keyed, BOB), "the old one gone")
    assert allowed(keyed, BOB_NEXT)
    assert not allowed(keyed, "carol-key-0123456789")
    secret.put(bob=BOB)
    keyed.wait(lambda: allowed(keyed, BOB), "put back")


def failures(server: Any) -> float:
    return sum(float(line.rpartition(" ")[2]) for line in internal(server) if line.startswith("reranker_reload_fail"))


def test_files_that_cannot_be_used_leave_the_keys_as_they_were(keyed: Any, file: Path, secret: Secret) -> None:
    before = file.read_text()
    bad = "a-key-with-tr\xe9ma-0123456789"
    for content, said in (
        (f"alice {ALICE}\nbob {bad}\n", "line 2"),
        (f"alice {ALICE}\nbob {ALICE}\n", "line 2"),
        ("alice one two\n", "line 1 has 3 words"),
    ):
        count = failures(keyed)
        file.write_text(content)
        keyed.wait(lambda count=count: failures(keyed) == count + 1, "reported")
        assert f"RERANKER_API_KEYS_FILE={file} {said}" in keyed.log
        assert allowed(keyed, ALICE_NEXT)
    count = failures(keyed)
    file.unlink()
    keyed.wait(lambda: failures(keyed) == count + 1, "reported")
    assert allowed(keyed, ALICE_NEXT)
    file.write_text(f"alice {ALICE}")
    keyed.wait(lambda: not allowed(keyed, ALICE_NEXT), "renewed")
    # Files without keys are no mistake: somebody took all keys away.
    file.write_text("# nobody\n")
    secret.put()
    keyed.wait(lambda: not (allowed(keyed, ALICE) or allowed(keyed, BOB)), "closed")
    assert "every request is refused" in keyed.log
    assert keyed.http.get("/v1/health/ready").status_code == 200
    file.write_text(before)
    secret.put(bob=f"{BOB}\n\n", weak=SHORT)
    keyed.wait(lambda: allowed(keyed, ALICE) and allowed(keyed, BOB), "put back")


def test_no_key_is_in_a_log_or_a_metric(keyed: Any) -> None:
    keyed.http.get(f"/v1/models?key={ALICE}", headers={"X-API-Key": ALICE})
    keyed.http.get("/v1/models", headers={"Authorization": f"Basic {ALICE}"})
    seen = keyed.log + "\n".join(internal(keyed)) + keyed.http.get("/openapi.json").text
    for key in (ALICE, ALICE_NEXT, BOB, BOB_NEXT, ALONE, GREEDY, SHORT, "tr\xe9ma"):
        assert key not in seen
    assert "client weak has a key of fewer than 16 characters" in seen
    assert 'client="alice"' in seen
    assert 'client="default"' in seen


def test_settings_that_would_leave_the_door_open_or_shut_end_the_process(run: Any, models: Any, tmp_path: Path) -> None:
    def put(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    key = "0123456789abcdef"
    pipe = put("pipes/made", "").with_name("pipe")  # whose reader would wait for ever
    os.mkfifo(pipe)
    cases = [
        ({"RERANKER_API_KEYS_FILE": tmp_path / "nowhere"}, "nowhere cannot be read: No such file"),
        ({"RERANKER_API_KEYS_DIR": tmp_path / "nowhere"}, "nowhere cannot be read: No such file"),
        ({"RERANKER_API_KEYS_FILE": tmp_path}, "cannot be read: Is a directory"),
        ({"RERANKER_API_KEYS_FILE": put("empty", "# nothing\n\n")}, "there is no key in RERANKER_API_KEYS_FILE="),
        ({"RERANKER_API_KEYS_DIR": put("hidden/.key", key).parent}, "there is no key in RERANKER_API_KEYS_DIR="),
        ({"RERANKER_API_KEYS_DIR": pipe.parent}, "there is no key in RERANKER_API_KEYS_DIR="),
        ({"RERANKER_API_KEYS_FILE": put("large", "#" * (1 << 20) + "\n")}, "larger than 1048576 bytes"),
        ({"RERANKER_API_KEYS_FILE": put("long", "k" * 1025)}, "long line 1 holds no key that a header can carry"),
        ({"RERANKER_API_KEYS_FILE": put("name", f"{key}/{key} {key}")}, "name line 1: a client's name consists of"),
        ({"RERANKER_API_KEYS_DIR": put("dir/bob", f"\n{key} {key}").parent}, "bob line 2 holds no key"),
        (
            {"RERANKER_API_KEYS_DIR": put("same/b", key).parent, "RERANKER_API_KEYS_FILE": put("c", key)},
            "client default",
        ),
        ({"RERANKER_API_KEYS_FILE": put("many", "".join(f"{n:020}\n" for n in range(10_001)))}, "more than 10000 keys"),
        ({"RERANKER_TOKENS_PER_MINUTE": 5}, "RERANKER_API_KEYS_FILE or RERANKER_API_KEYS_DIR"),
    ]

    def serve(given: dict[str, object]) -> Any:
        return run("serve", NIM_MODEL_PATH=models.bert, NIM_LOG_LEVEL="error", RERANKER_INTERNAL_PORT=0, **given)

    with ThreadPoolExecutor(2) as pool:
        ended = list(pool.map(serve, [given for given, _ in cases]))
    for done, (given, said) in zip(ended, cases, strict=True):
        assert done.returncode == 2, (given, done.stderr)
        assert len(done.stderr.splitlines()) == 1
        assert said in done.stderr
        assert key not in done.stderr
