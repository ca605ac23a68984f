"""Which of the operators of a namespace sees to a service, and by which Lease it leads."""

from __future__ import annotations

from typing import Any

import pytest

from reranker_operator.diagnose.arguments import lease_name, watched_namespaces


def deployment(*arguments: str) -> dict[str, Any]:
    return {"spec": {"template": {"spec": {"containers": [{"args": ["run", *arguments]}]}}}}


SEARCH = deployment("--namespace=search", "--lease-name=one")
SHOP = deployment("-n", "shop", "--namespace", "blog", "--lease-name", "two")
ALL = deployment("--lease-name=all")


@pytest.mark.parametrize(
    ("deployments", "namespace", "expected"),
    [
        ([], "search", "reranker-operator"),
        ([deployment()], "search", "reranker-operator"),
        ([SEARCH, SHOP], "search", "one"),
        ([SEARCH, SHOP], "blog", "two"),
        ([SEARCH, ALL], "shop", "all"),
        ([deployment("--namespace=search"), SHOP], "search", "reranker-operator"),
        ([SEARCH, SHOP], "elsewhere", "one"),
    ],
)
def test_the_lease_is_that_of_the_operator_that_sees_to_the_namespace(
    deployments: list[dict[str, Any]], namespace: str, expected: str
) -> None:
    assert lease_name(deployments, namespace) == expected


def test_what_is_watched_is_read_in_every_spelling() -> None:
    assert watched_namespaces(SHOP) == ["shop", "blog"]
