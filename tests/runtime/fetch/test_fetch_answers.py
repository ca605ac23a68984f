"""What fetch makes of answers that are none of a hub's: of proxies, of servers that fail, of hubs that mean harm."""

from __future__ import annotations

from pathlib import Path

import pytest
from fetching import NAME, OTHER, READ, REVISION, TOKEN, bad, contents, fetch, good, place, put
from localhub import LocalHub

LISTING = f"/revision/{REVISION}"
JSON = {"Content-Type": "application/json"}
HTML = {"Content-Type": "text/html"}
MUCH = 32 << 20


@pytest.mark.parametrize(
    ("status", "headers", "reason", "said"),
    [
        (204, {}, "HubUnreachable", "204"),
        (200, HTML, "HubAnswerInvalid", "proxy"),
        (200, {}, "HubUnreachable", "is no JSON"),
    ],
)
def test_what_is_not_the_file_is_not_kept_where_no_hash_would_tell(
    hub: LocalHub, cache: Path, status: int, headers: dict[str, str], reason: str, said: str
) -> None:
    hub.faults.lists_sizes = False
    body = b"Please log in" if status == 200 else b""
    hub.faults.answers = [("/config.json", status, body, headers)] * 4
    bad(fetch(hub, cache, "--retries", 0), reason, 1, said)
    assert not place(cache).exists()
    hub.faults.answers.clear()
    good(fetch(hub, cache))
    assert contents(place(cache)) == READ


@pytest.mark.parametrize(
    ("status", "body", "reason", "code"),
    [
        (503, b"503", "HubUnreachable", 1),
        (503, b'["busy"]', "HubUnreachable", 1),
        (503, b'{"errors": [5]}', "HubUnreachable", 1),
        (404, b"null", "RepositoryNotFound", 2),
    ],
)
def test_the_status_counts_where_a_refusal_is_no_object(
    hub: LocalHub, cache: Path, status: int, body: bytes, reason: str, code: int
) -> None:
    hub.faults.answers = [(LISTING, status, body, JSON | {"Retry-After": "86400"})]
    bad(fetch(hub, cache), reason, code, str(status))
    assert len(hub.asked) == 1


@pytest.mark.parametrize(
    ("end", "status", "reason", "code", "said"),
    [
        (LISTING, 503, "HubUnreachable", 1, "answers 503"),
        ("/config.json", 404, "RepositoryNotFound", 2, "404"),
        (LISTING, 200, "HubUnreachable", 1, "list of files"),
    ],
)
def test_a_body_without_an_end_is_not_read_to_it(
    hub: LocalHub, cache: Path, end: str, status: int, reason: str, code: int, said: str
) -> None:
    hub.faults.answers = [(end, status, b" " * (MUCH if status > 200 else 3 * MUCH), JSON)]
    bad(fetch(hub, cache, "--retries", 0), reason, code, said)
    assert hub.asked[-1].sent == 0  # of a body that was sent to its end


def test_a_token_that_the_hub_repeats_is_not_shown(hub: LocalHub, cache: Path) -> None:
    hub.faults.answers_commit = TOKEN
    done = fetch(hub, cache, HF_TOKEN=TOKEN)
    bad(done, "RevisionNotFound", 2, "[token]")
    assert TOKEN not in done.stdout + done.stderr
    hub.faults.answers_commit = ""
    hub.faults.also_listed = [{"rfilename": f"../{TOKEN}"}]
    done = fetch(hub, cache, HF_TOKEN=TOKEN)
    bad(done, "NameUnsafe", 2, "[token]")
    assert TOKEN not in done.stdout + done.stderr


@pytest.mark.parametrize(
    "name", ["chat_template.incomplete", f"config{'a' * 234}.json", "2_Dense.incomplete/config.json"]
)
def test_a_name_that_no_volume_keeps_is_refused_where_it_is_read(hub: LocalHub, cache: Path, name: str) -> None:
    files = {"config.json": b"{}", "model.safetensors": b"weights", name: b"{}"}
    if "/" in name:
        files["modules.json"] = b'[{"type": "models.Dense", "path": "2_Dense.incomplete"}]'
    put(hub.root / NAME / OTHER, files)
    bad(fetch(hub, cache, revision=OTHER), "NameUnsafe", 2, "too long, or ends in .incomplete")


def test_such_a_name_is_no_matter_where_it_is_not_read(hub: LocalHub, cache: Path) -> None:
    hub.faults.also_listed = [{"rfilename": "notes.incomplete", "size": 3}]
    good(fetch(hub, cache))
