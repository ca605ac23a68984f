"""What an operator was told to do: the command line of its Deployment."""

from itertools import pairwise

from reranker_operator import LEASE_NAME
from reranker_operator.diagnose.layout import Json, dig


def arguments_of(deployment: Json) -> list[str]:
    """The command line of a Deployment's first container."""
    containers = dig(deployment, "spec", "template", "spec", "containers") or [{}]
    return [str(each) for each in (*(containers[0].get("command") or ()), *(containers[0].get("args") or ()))]


def watched_namespaces(deployment: Json) -> list[str]:
    """The namespaces that it was told to watch; empty where that is all of them."""
    return _values(deployment, "--namespace", "-n")


def sees_to(deployment: Json, namespace: str) -> bool:
    """Whether it watches a namespace."""
    watched = watched_namespaces(deployment)
    return not watched or namespace in watched


def lease_name(deployments: list[Json], namespace: str) -> str:
    """The name of the Lease by which the operator leads that sees to a namespace; of the first, where none does."""
    likely = sorted(deployments, key=lambda each: not sees_to(each, namespace))[:1]
    return next((name for each in likely for name in _values(each, "--lease-name")), LEASE_NAME)


def _values(deployment: Json, *names: str) -> list[str]:
    """Those of an option, which may stand behind it or after an equals sign."""
    found: list[str] = []
    for flag, following in pairwise([*arguments_of(deployment), ""]):
        name, equals, value = flag.partition("=")
        if name in names:
            found.append(value if equals else following)
    return found
