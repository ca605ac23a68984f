"""Every failure the runtime can state, in one tree, so that HTTP and the command line say the same thing.

RerankerError
├── SettingsError         a variable or flag that cannot be honoured; the process exits 2
├── ModelError            a model directory that may not be served; carries a Reason; exits 2
├── FetchError            a download that did not come to its end; carries a FetchReason; exits 2, or 1: try again
└── RequestError          one request that is not answered with a ranking; carries an HTTP status
    ├── InvalidRequest    400, 404, 405, 413, 415, 422: the caller must change the request
    │   └── InputTooLong  422: a pair exceeds the token limit and truncation is off, or could not help
    ├── Unauthenticated   401: no key, or one that is not known
    ├── RateLimited       429: the client has used up its tokens for now; says when to come back
    ├── Unavailable       503: not now; says when to come back
    ├── TimedOut          504: the request's own time limit ran out; 408: while its body was awaited
    └── ScoringFailed     500: the model gave no usable score
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final


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


class FetchReason(StrEnum):
    """Why a model was not downloaded. The operator copies these into conditions: never rename one."""

    REPOSITORY_INVALID = "RepositoryInvalid"
    """The repository is not written as OWNER/NAME."""
    REVISION_INVALID = "RevisionInvalid"
    """The revision is not a commit of 40 hexadecimal digits."""
    SETTINGS_INVALID = "SettingsInvalid"
    """The endpoint, the token or a proxy is nothing that a request could be made with."""
    REPOSITORY_NOT_FOUND = "RepositoryNotFound"
    """The hub has no such repository, or does not show it to this token."""
    REVISION_NOT_FOUND = "RevisionNotFound"
    """The repository has no such commit."""
    UNAUTHORIZED = "Unauthorized"
    """The hub refuses the token, or wants one."""
    HUB_REFUSED = "HubRefused"
    """The hub answers with another refusal, which it would repeat."""
    FILE_MISSING = "FileMissing"
    """The hub lists a file and does not have it."""
    NAME_UNSAFE = "NameUnsafe"
    """The hub lists a file whose name leads out of the repository, or that no volume keeps."""
    WEIGHTS_MISSING = "WeightsMissing"
    """The repository holds no safetensors that serving reads."""
    CHECKSUM_MISMATCH = "ChecksumMismatch"
    """A file arrived twice with other bytes than the hub announced."""
    HUB_UNREACHABLE = "HubUnreachable"
    """The hub, what it redirects to, or the proxy before it cannot be reached, or failed too often."""
    HUB_ANSWER_INVALID = "HubAnswerInvalid"
    """Something answers that is no hub: a login page, a proxy's error."""
    CERTIFICATE_UNTRUSTED = "CertificateUntrusted"
    """No authority that is trusted here has signed the hub's certificate."""
    NO_SPACE = "NoSpace"
    """The volume is too small for the model."""
    CACHE_UNUSABLE = "CacheUnusable"
    """The volume cannot be written, or fails."""
    INTERRUPTED = "Interrupted"
    """The process was told to stop."""

    @property
    def passing(self) -> bool:
        """Whether another try may help though nobody changes what was asked for."""
        return self in {
            FetchReason.HUB_UNREACHABLE,
            FetchReason.HUB_ANSWER_INVALID,
            FetchReason.CERTIFICATE_UNTRUSTED,
            FetchReason.NO_SPACE,
            FetchReason.CACHE_UNUSABLE,
            FetchReason.INTERRUPTED,
        }


MOST_MESSAGE: Final = 4_000
"""Characters of what a request is answered with."""
MOST_QUOTED: Final = 200
"""Characters of a caller's text that a message quotes: a model's name may be a megabyte."""


def brief(text: str, most: int = MOST_QUOTED) -> str:
    """A text of the caller's, short enough to be shown."""
    return text if len(text) <= most else f"{text[:most]}... ({len(text) - most} characters more)"


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


class FetchError(RerankerError):
    """A model that was not downloaded."""

    def __init__(self, reason: FetchReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Words:
    """What an API calls the parts of a request: the engine knows passages, one client sent documents, another texts."""

    query: str = "query"
    passages: str = "passages"
    cut: str = 'send "truncate": "END"'
    """How to ask that what is too long be cut."""


NIM_WORDS: Final = Words()
Place = tuple[str | int, ...]
"""Where in a request the fault is, in the engine's words: ("query",), ("passages", 3), ("passages", 3, "image")."""


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
        at: Place = (),
        field: str = "",
    ) -> None:
        super().__init__(brief(message, MOST_MESSAGE))
        if status is not None:
            self.status = status
        self._detail: dict[str, Any] = detail or {}
        self.retry_after = retry_after
        self.at = at
        self._field = field
        """For messages that name the field themselves, in the caller's words."""

    @property
    def passage(self) -> int | None:
        """The number of the passage that is at fault."""
        return self.at[1] if self.at[:1] == ("passages",) and isinstance(self.at[1], int) else None

    @property
    def detail(self) -> dict[str, Any]:
        if self.at == ("query",):
            return self._detail | {"query": True}
        return self._detail if self.passage is None else self._detail | {"passage": self.passage}

    def __str__(self) -> str:
        return self.told(NIM_WORDS)

    def told(self, words: Words) -> str:
        """The message in the words of the API that was called."""
        where, said = self.where(words), str(self.args[0])
        return f"{where}: {said}" if where else said

    def where(self, words: Words) -> str:
        """Where in the request the fault is, as the message begins with it; empty where it does not."""
        return ".".join(str(getattr(words, part, part) if isinstance(part, str) else part) for part in self.at)

    def field(self, words: Words) -> str:
        """The path of the field at fault; empty where it is none in particular."""
        return self._field or self.where(words)

    def moved(self, to: Callable[[int], int]) -> RequestError:
        """The same, where the engine was given the request's passages with other numbers: `to` tells the caller's."""
        if self.passage is not None:
            self.at = ("passages", to(self.passage), *self.at[2:])
        return self


class InvalidRequest(RequestError):  # noqa: N818 - named for what it says to the caller
    """The caller must change the request."""

    status = 422
    kind = "invalid_request_error"


class InputTooLong(InvalidRequest):
    """A pair exceeds the token limit and truncation is off, or could not help."""

    def __init__(self, tokens: int, limit: int, at: Place, how: str = "", remedy: str = "") -> None:
        # Clients match the first sentence: LangChain and others look for "exceeds maximum allowed token size".
        super().__init__(f"Input length {tokens} exceeds maximum allowed token size {limit}", at=at)
        self._how, self._remedy = how, remedy

    def told(self, words: Words) -> str:
        remedy = self._remedy or f"shorten it, or {words.cut} to have its end cut off"
        return f"{self.args[0]}: {self.where(words)}{self._how and ' '}{self._how}; {remedy}"


class Unauthenticated(RequestError):  # noqa: N818
    """No key, or one that is not known."""

    status = 401
    kind = "authentication_error"


class RateLimited(RequestError):  # noqa: N818
    """The client has used up its tokens for now."""

    status = 429
    kind = "rate_limit_error"


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
