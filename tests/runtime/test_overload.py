"""More load than a small queue holds: who is not ranked is told so at once, in the API's shape, and when to come."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from peers import Peer, post

CONNECTIONS = 32
TEXTS = [f"w{n} w{n + 1} w{n + 2}" for n in range(10)]
BODIES = {
    "/v1/ranking": {"query": {"text": "w1"}, "passages": [{"text": text} for text in TEXTS]},
    "/v1/rerank": {"query": "w1", "documents": TEXTS},
    "/v1/score": {"text_1": "w1", "text_2": TEXTS},
    "/rerank": {"query": "w1", "texts": TEXTS},
}


def test_twice_the_load_on_a_small_queue_is_rankings_and_clean_refusals(models: Any, start: Any, words: Any) -> None:
    server = start(models.slow, NIM_PRECISION="fp32", RERANKER_WORKERS=1, NIM_MAX_QUEUE_SIZE=4).ready()
    before = server.logits("w1", TEXTS)
    paths = [path for _ in range(CONNECTIONS // len(BODIES)) for path in BODIES]
    with contextlib.ExitStack() as stack:
        # It keeps the one worker busy for longer than all others take to arrive.
        large = {"query": {"text": "w1"}, "passages": [{"text": words(450, n)} for n in range(20)]}
        busy = stack.enter_context(Peer(server.port)).send(post(json.dumps(large).encode()))
        server.wait(lambda: server.metric("reranker_running_requests") == 1, "busy")
        crowd = [stack.enter_context(Peer(server.port)) for _ in paths]
        for peer, path in zip(crowd, paths, strict=True):
            peer.send(post(json.dumps(BODIES[path]).encode(), path=path))
        answers = [peer.answers(1)[0] for peer in crowd]
        assert busy.answers(1)[0][0] == 200
    ranked = {status for status, _, _ in answers}
    assert 200 in ranked
    refused = [(path, *answer) for path, answer in zip(paths, answers, strict=True) if answer[0] != 200]
    assert len(refused) >= CONNECTIONS // 2
    for path, status, headers, told in refused:
        assert status == (429 if path == "/rerank" else 503), told
        assert int(headers["retry-after"]) >= 1
        message = told["error"] if path == "/rerank" else told["message"]
        assert message == "the queue is full (4 requests are waiting); try again shortly"
        if path == "/v1/ranking":
            assert (told["object"], told["detail"]) == ("error", {"cause": "queue_full"})
        elif path == "/rerank":
            assert told["error_type"] == "Overloaded"
        else:
            assert (told["error"]["code"], told["error"]["type"]) == (503, "service_unavailable_error")
    assert server.logits("w1", TEXTS) == before
    assert "Traceback" not in server.log
