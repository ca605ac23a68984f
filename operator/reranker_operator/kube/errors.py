"""What can go wrong between the operator and the API server, by what to do about it.

KubeError
├── UnreachableError   no answer, or none in time: try again
├── ThrottledError     429: try again when told
├── ServerError        5xx: try again
│   └── NotListedError a kind whose lists fail, since the operator has asked for it: try again
├── ConflictError      409: read again, then try again
├── GoneError          410: a list or watch is too old: list again
├── NotFoundError      404
├── ForbiddenError     403: our own rights, a quota, Pod Security or a webhook: tell the user
└── RefusedError       400, 422, or an undeclared field: the object itself is wrong: tell the user
"""

import json
from typing import ClassVar


class KubeError(Exception):
    """The API server did not do what it was asked. The message is the server's own words."""

    users_matter: ClassVar[bool] = False
    """True where trying again unchanged is pointless and the resource's status must say so."""

    def __init__(self, message: str, *, status: int = 0, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class UnreachableError(KubeError):
    """No answer from the API server."""


class ThrottledError(KubeError):
    """The server asks to slow down; `retry_after` is in seconds."""


class ServerError(KubeError):
    """The server, etcd or a webhook behind it failed."""


class NotListedError(ServerError):
    """Nothing is known yet of a kind that is needed, as every list of it has failed."""


class ConflictError(KubeError):
    """The object changed under our hands."""


class GoneError(KubeError):
    """The version that a watch should go on from is no longer kept."""


class NotFoundError(KubeError):
    """The object, its namespace or its kind does not exist."""


class ForbiddenError(KubeError):
    """Our rights, a quota, an admission rule or a webhook said no."""

    users_matter = True


class RefusedError(KubeError):
    """The server does not take this object."""

    users_matter = True


_BY_STATUS: dict[int, type[KubeError]] = {
    400: RefusedError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    410: GoneError,
    422: RefusedError,
    429: ThrottledError,
}
_UNDECLARED = "not declared in schema"


def from_response(status: int, body: str, retry_after: str | None, what: str) -> KubeError:
    """The error that an HTTP answer stands for; `what` names the request for the message."""
    try:
        message = str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        message = body.strip()[:500] or f"HTTP {status} without a message"
    kind = _BY_STATUS.get(status, ServerError)
    if kind is ServerError and _UNDECLARED in message:
        # Server-side apply of a field that an older server does not know is a 500, and will be one for ever.
        kind = RefusedError
    seconds = float(retry_after) if retry_after and retry_after.isdigit() else None
    return kind(f"{what}: {message}", status=status, retry_after=seconds)
