"""`spec.server`: how the ranking server behaves."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from reranker_operator.api.base import ApiType, PodValue, keyed_by

EnvVar = Annotated[dict[str, Any], PodValue("EnvVar")]

_BY_NAME, _BY_NAME_SCHEMA = keyed_by("name")


class LogLevel(StrEnum):
    """What the runtime logs."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Server(ApiType):
    """How the ranking server behaves."""

    max_passages: Annotated[int, Field(ge=1, le=100_000)] = 512
    """Passages in one request; more are refused with 422."""
    max_queue_seconds: Annotated[int, Field(ge=1, le=3600)] = 10
    """A request that would wait longer than this is answered 503 with Retry-After."""
    log_level: LogLevel = LogLevel.INFO
    """What the server logs."""
    env: Annotated[list[EnvVar], _BY_NAME, Field(max_length=64, json_schema_extra=_BY_NAME_SCHEMA)] = []
    """More variables, as in a pod: values, Secret and ConfigMap keys, fields."""
