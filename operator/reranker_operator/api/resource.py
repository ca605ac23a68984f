"""The RerankerService itself: metadata the operator needs, and the parsing of what the server or a file holds."""

import json
import re
from typing import Any, Self

from pydantic import BaseModel, ValidationError

from reranker_operator.api.base import UNKNOWN, Rule
from reranker_operator.api.spec import Spec

GROUP = "reranking.dev"
VERSION = "v1alpha1"
KIND = "RerankerService"
PLURAL = "rerankerservices"
API_VERSION = f"{GROUP}/{VERSION}"

MAX_NAME = 46
"""The Service's name, and the model Job's with its suffix, must fit in 63 characters."""
_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")

_UNKNOWN = ("extra_forbidden", "enum", UNKNOWN)
"""Types of pydantic's errors about fields and words that are not known."""

NAME_RULE = Rule(
    cel=f"self.metadata.name.size() <= {MAX_NAME} && self.metadata.name.matches('^{_NAME.pattern}$')",
    message="metadata.name becomes the name of a Service and of Jobs: use at most "
    f"{MAX_NAME} characters, lower-case letters, digits and '-', beginning with a letter",
    holds=lambda name: len(name) <= MAX_NAME and _NAME.fullmatch(name) is not None,
)


class InvalidResourceError(Exception):
    """A document is not a RerankerService this version understands; each problem is `field.path: what is wrong`.

    `newer` tells that all of it are fields and values that are unknown here: another version may know them.
    """

    def __init__(self, name: str, problems: list[str], *, newer: bool = False) -> None:
        self.name = name
        self.problems = problems
        self.newer = newer
        super().__init__(f"{KIND} {name}: " + "; ".join(problems))


class Identity(BaseModel):
    """Which resource it is, and which version of its spec."""

    name: str
    namespace: str
    uid: str
    generation: int

    @classmethod
    def of(cls, document: dict[str, Any]) -> "Identity":
        """From a document (a manifest has neither uid nor generation yet)."""
        metadata = _metadata(document)
        generation = metadata.get("generation")
        return Identity(
            name=str(metadata.get("name", "(without a name)")),
            namespace=str(metadata.get("namespace") or "default"),
            uid=str(metadata.get("uid", "")),
            generation=generation if isinstance(generation, int) else 0,  # which the server replaces
        )


class RerankerService(Identity):
    """One resource, parsed: identity and spec. Status is read and written as plain JSON."""

    spec: Spec

    @classmethod
    def parse(cls, document: dict[str, Any]) -> Self:
        """Read a resource from the server or from a manifest (where uid and generation do not exist yet).

        Raises `InvalidResourceError` naming every field that does not fit.
        """
        identity = Identity.of(document)
        problems = [] if NAME_RULE.holds(identity.name) else [f"metadata.name: {NAME_RULE.message}"]
        if document.get("apiVersion") != API_VERSION:
            problems.append(f"apiVersion: expected {API_VERSION}, found {document.get('apiVersion')!r}")
        generation = _metadata(document).get("generation")
        if generation is not None and not isinstance(generation, int):
            problems.append(f"metadata.generation: expected a whole number, found {generation!r}; leave it out")
        newer = not problems
        # Strict, as the server is: a number in quotes is a string.
        try:
            spec = Spec.model_validate_json(json.dumps(_without_nulls(document.get("spec") or {})), strict=True)
        except ValidationError as error:
            details = error.errors(include_url=False, include_context=False)
            problems += [_problem(detail) for detail in details]
            newer = newer and all(detail["type"] in _UNKNOWN for detail in details)
        except TypeError as error:
            problems.append(f"spec: {error}; write dates and the like in quotes")
            newer = False
        if problems:
            raise InvalidResourceError(identity.name, problems, newer=newer)
        return cls(**identity.model_dump(), spec=spec)


def _metadata(document: dict[str, Any]) -> dict[str, Any]:
    given = document.get("metadata")
    return given if isinstance(given, dict) else {}


def _without_nulls(value: Any) -> Any:
    """`kubectl apply` leaves out fields that are null, so they are left out here."""
    if isinstance(value, dict):
        return {key: _without_nulls(entry) for key, entry in value.items() if entry is not None}
    return [_without_nulls(entry) for entry in value] if isinstance(value, list) else value


def _problem(detail: Any) -> str:
    path = ".".join(["spec", *(str(part) for part in detail["loc"])])
    return f"{path}: {detail['msg'].removeprefix('Value error, ')}"
