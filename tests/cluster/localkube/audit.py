"""What ServiceAccounts asked of the API server: who, which verb, of what, and what the answer was."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

AUDIT_LOG = "audit.log"
_CREATED = 201
_DECISION = "authorization.k8s.io/decision"


@dataclass(frozen=True)
class Right:
    """One verb of one resource, as a rule grants it."""

    group: str
    resource: str
    verb: str

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}{f'.{self.group}' if self.group else ''}"


@dataclass(frozen=True)
class Call:
    """One request."""

    right: Right
    namespace: str
    name: str
    code: int
    refused: bool
    """Whether the caller had no right to it. An admission rule answers 403 as well, as to whoever makes something in a
    namespace that is being removed."""


def write_policy(path: Path) -> Path:
    """The API server's audit policy: ServiceAccounts, but for those of Kubernetes itself, without any content."""
    policy = {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            {"level": "None", "userGroups": ["system:serviceaccounts:kube-system"]},
            {"level": "Metadata", "userGroups": ["system:serviceaccounts"]},
            {"level": "None"},
        ],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(policy))
    return path


def calls(logs: Path, account: str, namespace: str) -> Iterator[Call]:
    """Every request of a ServiceAccount for an object, from the folder of the control plane's logs.

    An apply that made its object asked for `create`, too: the server checks both.
    """
    user = f"system:serviceaccount:{namespace}:{account}"
    stem, dot, suffix = AUDIT_LOG.partition(".")
    for path in sorted(logs.glob(f"{stem}*{dot}{suffix}")):
        with path.open() as lines:
            for line in lines:
                # A line that is being written just now is no event yet.
                if user in line and line.endswith("\n"):
                    yield from _calls(json.loads(line), user)


def _calls(event: dict[str, object], user: str) -> Iterator[Call]:
    who, what, answer = (event.get(key) for key in ("user", "objectRef", "responseStatus"))
    if not (isinstance(who, dict) and isinstance(what, dict) and who["username"] == user):
        return
    code = answer.get("code", 0) if isinstance(answer, dict) else 0
    notes = event.get("annotations")
    refused = isinstance(notes, dict) and notes.get(_DECISION) == "forbid"
    resource = "/".join(part for part in (what.get("resource"), what.get("subresource")) if part)
    verbs = [str(event["verb"])]
    if verbs == ["patch"] and code == _CREATED:
        verbs.append("create")
    for verb in verbs:
        right = Right(what.get("apiGroup", ""), resource, verb)
        yield Call(right, what.get("namespace", ""), what.get("name", ""), code, refused)
