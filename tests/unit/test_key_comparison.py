"""How a key is looked for: all that are in force are compared, so that the time it takes tells nothing."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

import pytest
from starlette.datastructures import Headers

from reranker_runtime.errors import Unauthenticated
from reranker_runtime.http.keys import Keys
from reranker_runtime.settings import read_settings

HELD = [f"the-key-of-client-{n}-0123456789" for n in range(5)]


@pytest.mark.parametrize("header", ["Authorization", "X-API-Key"])
@pytest.mark.parametrize("given", [*HELD, "a-key-of-nobody-0123456789", ""])
def test_every_key_is_compared_whichever_is_given(
    given: str, header: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "keys"
    path.write_text("".join(f"client-{n} {key}\n" for n, key in enumerate(HELD)))
    keys = Keys(read_settings({"NIM_MODEL_PATH": "/m", "RERANKER_API_KEYS_FILE": str(path)}))
    keys.load()
    compared: list[bytes] = []
    compare = hmac.compare_digest

    def noted(held: bytes, asked: bytes) -> bool:
        compared.append(held)
        return compare(held, asked)

    monkeypatch.setattr(hmac, "compare_digest", noted)
    value = f"Bearer {given}" if header == "Authorization" else given
    if given in HELD:
        assert keys.admit("/v1/ranking", Headers({header: value})) == f"client-{HELD.index(given)}"
    else:
        with pytest.raises(Unauthenticated):
            keys.admit("/v1/ranking", Headers({header: value}))
    # A header Authorization that is not there is looked for like an empty one.
    rounds = 1 if header == "Authorization" else 2
    assert compared == [hashlib.sha256(key.encode()).digest() for key in HELD] * rounds
