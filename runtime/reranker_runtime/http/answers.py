"""The shapes of answers, for the OpenAPI description only: answers themselves are plain dicts, which cost less."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Answer(BaseModel):
    """Clients must bear fields that come later."""

    model_config = ConfigDict(protected_namespaces=())


class NimRanking(Answer):
    index: int = Field(ge=0, description="The passage's place in the request.")
    logit: float = Field(description="Raw, unbounded; higher is more relevant.")


class NimUsage(Answer):
    prompt_tokens: int = Field(ge=0, description="Tokens scored, special tokens included, of all passages.")
    total_tokens: int = Field(ge=0)


class RankingAnswer(Answer):
    """Best first, ties by index."""

    rankings: list[NimRanking]
    usage: NimUsage


class RerankResult(Answer):
    index: int = Field(ge=0)
    relevance_score: float = Field(ge=0, le=1, description="The sigmoid of the logit.")
    document: dict[str, Any] | None = Field(None, description="With return_documents.")


class RerankAnswer(Answer):
    """Best first; `data` is the same list as `results`, where Voyage's clients look for it."""

    id: str
    object: Literal["list"]
    model: str
    results: list[RerankResult]
    data: list[RerankResult]
    meta: dict[str, Any]
    usage: NimUsage


class ScoreResult(Answer):
    index: int = Field(ge=0)
    object: Literal["score"]
    score: float


class ScoreUsage(NimUsage):
    completion_tokens: int


class ScoreAnswer(Answer):
    """In the order of the request."""

    id: str
    object: Literal["list"]
    created: int
    model: str
    data: list[ScoreResult]
    usage: ScoreUsage


class TeiResult(Answer):
    index: int = Field(ge=0)
    score: float
    text: str | None = Field(None, description="With return_text.")


class NimFault(Answer):
    """Every failure of a route that is NIM's, and of whatever is no route."""

    object: Literal["error"]
    message: str
    detail: dict[str, Any]
    type: str


class RerankFaultError(Answer):
    message: str
    type: str
    param: str | None
    code: int


class RerankFault(Answer):
    """Cohere's clients read `message`, Jina's and Voyage's `detail`, vLLM's `error`."""

    message: str
    detail: str
    error: RerankFaultError


class TeiFault(Answer):
    error: str
    error_type: str


class EitherFault(TeiFault):
    """/rerank's failures before a body tells whose it is: others than TEI's clients read `message` or `detail`."""

    message: str
    detail: str


class Model(Answer):
    id: str
    object: Literal["model"]
    root: str
    created: int
    owned_by: str


class Models(Answer):
    object: Literal["list"]
    data: list[Model]


class Metadata(Answer):
    version: str
    assetInfo: list[str]  # noqa: N815 - NIM's names, from here on
    licenseInfo: dict[str, str]  # noqa: N815
    modelInfo: list[dict[str, str]]  # noqa: N815
    repository_override: str
    digest: str | None = Field(description="Of the files that are served, as `reranker-runtime verify` prints it.")
    limits: dict[str, Any]


class Manifest(Answer):
    manifest_file: dict[str, Any]
    repository_override: str


class License(Answer):
    name: str
    path: str
    sha: str
    size: int
    url: str
    type: str
    content: str


class Version(Answer):
    release: str
    api: str


class Live(Answer):
    object: Literal["health.response"]
    message: str
    status: Literal["live"]


class Ready(Answer):
    object: Literal["health.response"]
    message: str
    status: Literal["ready", "not_ready"]
    ready: bool
    phase: str = Field(description="loading, warming up, ready, failed or stopping.")
