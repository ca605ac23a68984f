"""What `diagnose` finds of a service of which there is nothing but its spec."""

import datetime
from typing import Any

from reranker_operator.diagnose.gather import Gathered, Operator
from reranker_operator.diagnose.reader import Answer


def gathered(**spec: Any) -> Gathered:
    return Gathered(
        at=datetime.datetime(2026, 11, 25, tzinfo=datetime.UTC),
        version=Answer("v1.34.0"),
        service={"kind": "RerankerService", "metadata": {"name": "docs", "namespace": "search"}, "spec": spec},
        children={},
        pods=Answer([]),
        named=Answer([]),
        secrets={},
        events=Answer([]),
        operator=Operator("reranker-system", Answer([]), Answer([]), Answer()),
    )
