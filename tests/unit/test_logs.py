"""What the operator logs about one service can be found by its key."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest

from reranker_operator.api import EventReason, Identity
from reranker_operator.kube import ServerError
from reranker_operator.kube.events import Recorder
from reranker_operator.logs import set_up_logging


class Failing:
    """In the API server's place: it writes nothing down."""

    async def create(self, _document: dict[str, Any]) -> None:
        raise ServerError("etcd is away", status=500)


def test_an_event_that_could_not_be_written_is_logged_with_the_key_of_its_service(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logging.root, "handlers", [])
    monkeypatch.setattr(logging.root, "level", logging.root.level)
    set_up_logging("info", "json")
    service = Identity.of({"metadata": {"name": "docs", "namespace": "search", "uid": "7", "generation": 1}})
    recorder = Recorder(Failing())  # type: ignore[arg-type]
    asyncio.run(recorder.record(service, EventReason.REPAIRED, "Service docs was changed and is put back"))
    (line,) = capsys.readouterr().err.splitlines()
    logged = json.loads(line)
    assert (logged["service"], logged["level"]) == ("search/docs", "warning")
    assert logged["message"] == "search/docs: event Repaired was not written: etcd is away"
