"""Clients that people have already, each doing against a real server what its users do with it.

What a client makes of a refusal is part of the test: a message that says how to go on is worth little if the client
drops it, and then docs/api.md has to say what such a user sees.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from clients.environments import GROUPS, Environments

HERE = Path(__file__).parent
MODEL = "my_org/tiny-bert_1.0"
QUERY = "w1 w2 w3"
TOO_LONG: Final = "Input length 606 exceeds maximum allowed token size 506"
NO_KEY: Final = "a valid API key is needed"
NONE_GIVEN: Final = ": give at least one "

SHOWN = "shown"
"""The exception's text has the server's words."""
HELD = "held"
"""They are in the answer that the exception holds, not in its text."""
LOST = "lost"
"""The client drops them: its user learns only that something failed."""
CUT = {"truncate": "END"}
CHUNKED = {"max_chunks_per_doc": 100}


@dataclass(frozen=True)
class Client:
    """How a client shows what the server says."""

    group: str
    name: str
    raw: bool = False
    """Logits instead of scores from 0 to 1."""
    failures: str = SHOWN
    long: dict[str, Any] | None = None
    """How /v1/ranking is asked for the same; None: what is too long is refused."""
    empty: str | None = None
    """None: the client itself answers that nothing is nothing."""

    def __str__(self) -> str:
        return f"{self.group}: {self.name}"


NIM: dict[str, Any] = {"raw": True}
COHERE: dict[str, Any] = {"long": CUT, "empty": SHOWN}
CLIENTS = [
    *(Client("langchain", f"NVIDIARerank{how}", **NIM) for how in ("", ", unnamed", ", async")),
    *(Client("llamaindex", f"NVIDIARerank{how}", **NIM, failures=HELD) for how in ("", ", unnamed")),
    Client("llamaindex", "TextEmbeddingInference", failures=LOST),
    *(Client("haystack", f"NvidiaRanker{how}", **NIM) for how in ("", ", unnamed")),
    *(
        Client(group, name, **COHERE)
        for group in ("cohere5", "cohere7")
        for name in ("ClientV2", "Client", "AsyncClientV2")
    ),
    *(Client("litellm", f"nvidia_nim{how}", **NIM, empty=SHOWN) for how in ("", "/ranking")),
    Client("litellm", "nvidia_nim, cut", **NIM, **COHERE),
    Client("litellm", "cohere", **COHERE),
    Client("litellm", "cohere, v1", **COHERE | {"long": CHUNKED}),
    Client("litellm", "jina_ai", **COHERE),
    *(Client("litellm", f"hosted_vllm{how}", **COHERE) for how in ("", ", v1", ", async")),
    Client("litellm", "infinity", **COHERE),
    Client("litellm", "huggingface", empty=SHOWN),
    Client("litellm", "voyage", **COHERE),
    *(Client("rerankers", name, failures=LOST, long=CUT, empty=LOST) for name in ("cohere", "jina", "voyage")),
    Client("rerankers", "text-embeddings-inference", failures=LOST, empty=LOST),
    *(Client("voyage", name, **COHERE) for name in ("Client", "AsyncClient")),
    Client("voyage", "Client, uncut", empty=SHOWN),
]
every_client = pytest.mark.parametrize("client", CLIENTS, ids=str)


@pytest.fixture(scope="module")
def texts(words: Callable[..., str]) -> list[str]:
    return [words(5, 37 * n) for n in range(5)]


@pytest.fixture(scope="module")
def long(words: Callable[..., str]) -> str:
    """600 tokens, and with the query, `[CLS]` and two `[SEP]` 606."""
    return words(600, 3)


@pytest.fixture(scope="module")
def outcomes(
    environments: Environments, bert: Any, guarded: Any, key: str, texts: list[str], long: str
) -> Callable[[str], dict[str, Any]]:
    """`outcomes(group)`: what came of it for each client of a group; they run once, in one process."""
    found: dict[str, dict[str, Any]] = {}
    job = {"url": bert.url, "guarded": guarded.ready().url, "key": key, "model": MODEL, "query": QUERY}
    job |= {"texts": texts, "long": long}

    def run(group: str) -> dict[str, Any]:
        if group not in found:
            driver = HERE / "drivers" / f"{group.rstrip('57')}.py"
            done = environments.run(group, HERE / "harness.py", driver, stdin=json.dumps(job))
            assert done.returncode == 0, done.stderr
            found[group] = json.loads(done.stdout)
        return found[group]

    return run


@pytest.fixture
def outcome(client: Client, outcomes: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = outcomes(client.group)[client.name]
    return found


def expected(client: Client, logits: list[float]) -> list[list[float]]:
    order = sorted(range(len(logits)), key=lambda n: -logits[n])
    return [[n, logits[n] if client.raw else 1 / (1 + math.exp(-logits[n]))] for n in order]


def same(found: dict[str, Any], wanted: list[list[float]]) -> bool:
    assert "value" in found, found
    indexes, scores = zip(*found["value"], strict=True)
    wanted_indexes, wanted_scores = zip(*wanted, strict=True)
    return bool(indexes == wanted_indexes and scores == pytest.approx(wanted_scores, rel=1e-5, abs=1e-6))


def told(found: dict[str, Any], words: str, how: str) -> bool:
    """Whether the client failed, and its user finds these words where `how` says."""
    assert "raised" in found, found
    shown, held = words in found["shown"], words in found["held"]
    return shown if how == SHOWN else (held and not shown) if how == HELD else not (held or shown)


@pytest.mark.parametrize("group", GROUPS)
def test_no_client_is_forgotten(group: str, outcomes: Callable[[str], dict[str, Any]]) -> None:
    assert set(outcomes(group)) == {client.name for client in CLIENTS if client.group == group}


@every_client
def test_ranks_as_the_server_does(client: Client, outcome: dict[str, Any], bert: Any, texts: list[str]) -> None:
    assert same(outcome["ranked"], expected(client, bert.logits(QUERY, texts)))


@every_client
def test_the_best_two(client: Client, outcome: dict[str, Any], bert: Any, texts: list[str]) -> None:
    assert same(outcome["best"], expected(client, bert.logits(QUERY, texts))[:2])


@every_client
def test_a_key_opens_and_another_does_not(client: Client, outcome: dict[str, Any], bert: Any, texts: list[str]) -> None:
    assert same(outcome["admitted"], expected(client, bert.logits(QUERY, texts)))
    assert told(outcome["refused"], NO_KEY, client.failures)


@every_client
def test_too_long(client: Client, outcome: dict[str, Any], bert: Any, texts: list[str], long: str) -> None:
    if client.long is None:
        assert told(outcome["long"], TOO_LONG, client.failures)
    else:
        assert same(outcome["long"], expected(client, bert.logits(QUERY, [*texts, long], **client.long)))


@every_client
def test_nothing_to_rank(client: Client, outcome: dict[str, Any]) -> None:
    if client.empty is None:
        assert outcome["empty"]["value"] == []
    else:
        assert told(outcome["empty"], NONE_GIVEN, client.empty)
