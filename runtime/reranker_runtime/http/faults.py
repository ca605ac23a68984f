"""Every failure that the OpenAPI description tells, as the code that raises it words it under these settings."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final

from reranker_runtime.engine import queue
from reranker_runtime.errors import InputTooLong, InvalidRequest, RateLimited, RequestError, Unauthenticated
from reranker_runtime.http import answers, errors, intake
from reranker_runtime.http.dialects import fields
from reranker_runtime.http.dialects.dialect import Dialect, Rules
from reranker_runtime.http.dialects.nim import NIM
from reranker_runtime.http.keys import UNAUTHENTICATED
from reranker_runtime.http.quota import Quota
from reranker_runtime.service import MESSAGES, Phase, not_ready
from reranker_runtime.settings import Settings

SERVED: Final = "my-reranker"
HEADERS: Final[dict[str, Any]] = {
    "X-Request-Id": {
        "schema": {"type": "string", "maxLength": 128},
        "description": "Yours, if you sent one of up to 128 printable characters; it stands in the server's log, too.",
    },
    "Retry-After": {
        "schema": {"type": "integer", "minimum": 1},
        "description": "Seconds after which it is worth trying again.",
    },
    "WWW-Authenticate": {"schema": {"type": "string"}, "description": "Bearer."},
    "Allow": {"schema": {"type": "string"}, "description": "The methods that there are."},
    "Accept-Encoding": {"schema": {"type": "string"}, "description": "identity."},
    "X-Reranker-Truncated": {
        "schema": {"type": "integer", "minimum": 1},
        "description": "Passages of which nothing was read, because the query alone fills the model's limit.",
    },
}
NULL: Final = "\0null"
"""A null in an example, of which FastAPI leaves none in a description."""
LATER: Final = "Retry-After says when to come back"


class When(Enum):
    """When a failure is told: at /rerank, only the body says what its caller speaks."""

    BEFORE = auto()
    """The body is read, or can be."""
    AFTER = auto()
    ANY = auto()


@dataclass(frozen=True)
class Fault:
    """A failure as it is told."""

    name: str
    what: str
    error: RequestError | Callable[[Dialect], RequestError]
    """Itself, or as it comes about in a dialect."""
    when: When = When.AFTER
    only: Dialect | None = None
    """The one dialect in which it can happen; None: all."""
    headers: tuple[str, ...] = ()
    """Beside those that the error itself asks for."""

    def of(self, dialect: Dialect) -> RequestError:
        return self.error if isinstance(self.error, RequestError) else self.error(dialect)


NO_KEY: Final = Fault("no key", "No valid key, where keys are asked for", Unauthenticated(UNAUTHENTICATED), When.BEFORE)


def wrong_method(path: str, used: str, allowed: str) -> Fault:
    error = errors.wrong_method(used, path.replace("{model:path}", SERVED), allowed)
    return Fault("wrong method", f"Another method than {allowed}", error, When.BEFORE, headers=("Allow",))


def of_rankings(path: str, settings: Settings, example: Callable[[Dialect], dict[str, Any]]) -> list[Fault]:
    """What a route that ranks may say instead. `example` is a good body of a dialect, of which wrong ones are made."""
    rules = Rules.of(settings)

    def misread(edit: Callable[[Dialect], object]) -> Callable[[Dialect], RequestError]:
        return lambda dialect: _refusal(dialect, rules, edit(dialect))

    def items(dialect: Dialect) -> object:
        return example(dialect) | {dialect.words.passages: 7}

    most = settings.max_passages
    found = [
        Fault("not JSON", "The body is no JSON", misread(lambda _: b'{"query":')),
        NO_KEY,
        Fault("no such model", "The model is not served here", errors.not_served("other", [SERVED])),
        wrong_method(path, "GET", "POST"),
        Fault(
            "slow body",
            "The body did not arrive in time",
            intake.too_slow(intake.body_seconds(settings)),
            When.BEFORE,
        ),
        Fault("large body", "The body is too large", intake.too_large(settings.max_body_bytes), When.BEFORE),
        Fault(
            "many values",
            "The body holds too many commas and brackets",
            fields.too_many_marks(fields.most_marks(rules)),
            When.ANY,
        ),
        Fault("compressed", "The body is compressed", intake.coded("gzip"), When.BEFORE),
        Fault("wrong field", "A field is missing or wrong", misread(items)),
        Fault("too long", "A text is too long", InputTooLong(16384, 8192, ("passages", 0), "with the query")),
        Fault("no tokens left", f"The client has used up its tokens for now; {LATER}", _used_up(settings), When.ANY),
        Fault("failed", "The server or the model failed", errors.failed()),
        Fault("not ready", f"Not ready; {LATER}", not_ready(Phase.LOADING, MESSAGES[Phase.LOADING]), When.BEFORE),
        Fault(
            "bodies held",
            f"Other requests hold too many bytes; {LATER}",
            intake.too_much_held(settings.max_waiting_bytes, settings.max_waiting_bytes),
            When.BEFORE,
        ),
        Fault("queue full", f"Overloaded; {LATER}", queue.full(settings)),
        Fault("stopping", "The server stopped before it was done; another replica may do it", queue.stopping()),
        Fault("out of time", "The request took too long", queue.given_up(settings)),
    ]
    if settings.strict_json:
        unknown = misread(lambda dialect: example(dialect) | {"top_k": 1})
        found.append(Fault("unknown field", "NIM 2.x has no such field", unknown, only=NIM))
    if not settings.split_large_requests:

        def many(dialect: Dialect) -> RequestError:
            return fields.too_many(most + 1, most, dialect.words.passages)

        found.append(Fault("too many", f"More than {most} passages", many))
    return found


def _refusal(dialect: Dialect, rules: Rules, body: object) -> RequestError:
    try:
        dialect.read(body if isinstance(body, bytes) else json.dumps(body).encode(), rules)
    except InvalidRequest as error:
        return error
    raise AssertionError(f"{dialect.name} reads what it should refuse: {body!r}")


def _used_up(settings: Settings) -> RequestError:
    quota = Quota(settings.tokens_per_minute or 100_000, clock=lambda: 0.0)
    quota.charge("search", round(1.2 * (settings.tokens_per_minute or 100_000)))
    try:
        quota.check("search")
    except RateLimited as error:
        return error
    raise AssertionError("a client that has used up its tokens is let in")


def responses(
    told: Sequence[Fault], early: Dialect, late: Sequence[Dialect], shapes: dict[str, Any]
) -> dict[int, dict[str, Any]]:
    """Failures by their statuses: `early` tells what comes before a body is read, `late` whatever else."""
    found: dict[int, dict[str, Any]] = {}
    for fault in told:
        spoken = {
            **({early.name: early} if fault.when is not When.AFTER else {}),
            **({each.name: each for each in late} if fault.when is not When.BEFORE else {}),
        }
        for dialect in spoken.values():
            if fault.only in (None, dialect):
                _tell(fault, dialect, found, shapes[dialect.name])
    return dict(sorted(found.items()))


def _tell(fault: Fault, dialect: Dialect, found: dict[int, dict[str, Any]], shape: Any) -> None:
    error = fault.of(dialect)
    status, body = dialect.fault(error, dialect.words)
    response = found.setdefault(status, {"description": "", "headers": {}, "content": examples({})})
    what = fault.what if status == error.status else f"{fault.what} (to TEI's clients)"
    if what not in response["description"].split(". Or: "):
        response["description"] += f"{'. Or: ' if response['description'] else ''}{what}"
    response["headers"] |= headers(*fault.headers, *errors.answer(error, dialect).headers)
    response["model"] = response["model"] | shape if "model" in response else shape
    response["content"]["application/json"]["examples"] |= {
        f"{dialect.name}: {fault.name}": {"value": _without_nulls(body)}
    }


def headers(*names: str) -> dict[str, Any]:
    """What is told of a response's headers."""
    wanted = {"x-request-id", *map(str.lower, names)}
    return {name: told for name, told in HEADERS.items() if name.lower() in wanted}


def examples(values: dict[str, Any]) -> dict[str, Any]:
    """The content of a response that is JSON."""
    return {
        "application/json": {"examples": {name: {"value": _without_nulls(value)} for name, value in values.items()}}
    }


def _without_nulls(value: Any) -> Any:
    return _replaced(value, None, NULL)


def with_nulls(description: dict[str, Any]) -> dict[str, Any]:
    """The description as it is meant."""
    whole: dict[str, Any] = _replaced(description, NULL, None)
    return whole


def _replaced(value: Any, old: object, new: object) -> Any:
    if isinstance(value, dict):
        return {key: _replaced(held, old, new) for key, held in value.items()}
    return [_replaced(held, old, new) for held in value] if isinstance(value, list) else new if value == old else value


def of_a_page(path: str) -> dict[int, dict[str, Any]]:
    """Failures of a route that is asked with GET."""
    told = (NO_KEY, wrong_method(path, "POST", "GET"))
    return responses(told, NIM, [NIM], {NIM.name: answers.NimFault})
