"""Every path that ranks, and what is spoken there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from reranker_runtime.http.dialects.dialect import Dialect
from reranker_runtime.http.dialects.either import EITHER
from reranker_runtime.http.dialects.nim import NIM
from reranker_runtime.http.dialects.rerank import RERANK
from reranker_runtime.http.dialects.score import SCORE


@dataclass(frozen=True)
class Door:
    """A path, and what is spoken there."""

    path: str
    dialect: Dialect
    twin: str = ""
    """The path whose description names this one, too: spellings that few clients use would drown the others."""


HOSTED: Final = "/v1/retrieval/{model:path}/reranking"
DOORS: Final = (
    Door("/v1/ranking", NIM),
    Door("/v1/rerank", RERANK),
    Door("/v2/rerank", RERANK),
    Door("/rerank", EITHER),
    Door("/v1/score", SCORE),
    Door("/score", SCORE, twin="/v1/score"),
    # From bases that end in /v1 already.
    Door("/v1/v1/ranking", NIM, twin="/v1/ranking"),
    Door("/v1/v1/rerank", RERANK, twin="/v1/rerank"),
    Door("/v1/v2/rerank", RERANK, twin="/v2/rerank"),
    # LiteLLM and NVIDIA's hosted API put the model into the path; RAGFlow adds it to any base.
    Door(HOSTED, NIM),
    Door("/{base:path}/reranking", NIM, twin=HOSTED),
    Door("/reranking", NIM, twin=HOSTED),
)


def dialect_at(path: str) -> Dialect:
    """What is spoken at a path; NIM's language where nothing is."""
    return next((door.dialect for door in DOORS if door.path == path), NIM)
