"""Every failure the runtime can state, in one tree, so that HTTP and the command line say the same thing.

RerankerError
├── SettingsError         a variable or flag that cannot be honoured; the process exits 2
├── ModelError            a model directory that may not be served; carries a Reason; exits 2
└── RequestError          one request that is not answered with a ranking; carries an HTTP status
    ├── InvalidRequest    400, 404, 405, 413, 422: the caller must change the request
    │   └── InputTooLong  422: a pair exceeds the token limit and truncation is off, or could not help
    ├── Unavailable       503: not now; says when to come back
    ├── TimedOut          504: the request's own time limit ran out; 408: while its body was awaited
    └── ScoringFailed     500: the model gave no usable score
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any


class Reason(StrEnum):
    """Why a model directory may not be served. The operator copies these into conditions: never rename one."""

    DIRECTORY_MISSING = "DirectoryMissing"
    """The path does not exist, or is not a directory."""
    DIRECTORY_UNREADABLE = "DirectoryUnreadable"
    """The path, or a file below it, cannot be read by this user."""
    PICKLE_FOUND = "PickleFound"
    """A file below the directory holds pickled Python objects, which run code when loaded."""
    CONFIG_MISSING = "ConfigMissing"
    """There is no config.json."""
    CONFIG_INVALID = "ConfigInvalid"
    """A configuration file is not JSON, or a value in it cannot be right."""
    ARCHITECTURE_UNKNOWN = "ArchitectureUnknown"
    """config.json names an architecture that no family here serves."""
    VARIANT_UNSUPPORTED = "VariantUnsupported"
    """The architecture is known, but this model uses something of it that is not: labels, pooling, modules."""
    TOKENIZER_MISSING = "TokenizerMissing"
    """There is no tokenizer.json."""
    TOKENIZER_INVALID = "TokenizerInvalid"
    """tokenizer.json cannot be used, or does not fit the model's vocabulary."""
    WEIGHTS_MISSING = "WeightsMissing"
    """There is no safetensors file."""
    SHARD_MISSING = "ShardMissing"
    """model.safetensors.index.json names a file that is not there, or the index itself is missing."""
    SHARD_TRUNCATED = "ShardTruncated"
    """A safetensors file is shorter than its own header says."""
    SHARD_INVALID = "ShardInvalid"
    """A file named .safetensors has no valid safetensors header."""
    TENSOR_MISSING = "TensorMissing"
    """A tensor that the architecture needs is in none of the files."""
    TENSOR_MISMATCH = "TensorMismatch"
    """A tensor has another shape or number type than config.json implies."""
    LIMIT_EXCEEDED = "LimitExceeded"
    """More tokens were asked for than the model was made for, or too few to hold any text."""
    DIGEST_MISMATCH = "DigestMismatch"
    """The files are not the ones that were asked for."""
    DEVICE_UNAVAILABLE = "DeviceUnavailable"
    """The device or precision that was asked for does not exist here."""
    LOAD_FAILED = "LoadFailed"
    """The files are in order, yet loading or the warm-up ranking failed."""


class RerankerError(Exception):
    """Base of everything that is reported in one line instead of a traceback."""

    @property
    def message(self) -> str:
        return str(self)


class SettingsError(RerankerError):
    """A variable or flag that cannot be honoured."""


class ModelError(RerankerError):
    """A model directory that may not be served."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class RequestError(RerankerError):
    """One request that is not answered with a ranking."""

    status = 500
    kind = "internal_server_error"

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        detail: dict[str, Any] | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        if status is not None:
            self.status = status
        self.detail: dict[str, Any] = detail or {}
        self.retry_after = retry_after


class InvalidRequest(RequestError):  # noqa: N818 - named for what it says to the caller
    """The caller must change the request."""

    status = 422
    kind = "invalid_request_error"


class InputTooLong(InvalidRequest):
    """A pair exceeds the token limit and truncation is off, or could not help."""

    def __init__(
        self,
        tokens: int,
        limit: int,
        where: str,
        detail: dict[str, Any],
        remedy: str = 'shorten it, or send "truncate": "END" to have its end cut off',
    ) -> None:
        # Clients match the first sentence: LangChain and others look for "exceeds maximum allowed token size".
        super().__init__(
            f"Input length {tokens} exceeds maximum allowed token size {limit}: {where}; {remedy}", detail=detail
        )


class Unavailable(RequestError):  # noqa: N818
    """Not now: the queue is full, the wait was too long, or the server is not ready."""

    status = 503
    kind = "service_unavailable_error"

    def __init__(self, message: str, *, cause: str, retry_after: int = 1) -> None:
        super().__init__(message, detail={"cause": cause}, retry_after=retry_after)
        self.cause = cause


class TimedOut(RequestError):  # noqa: N818
    """The request's own time limit ran out."""

    status = 504
    kind = "timeout_error"


class ScoringFailed(RequestError):  # noqa: N818
    """The model gave no usable score; a made-up rank would be worse than none."""
