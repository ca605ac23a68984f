"""What a round finds in a cluster in which there is nothing."""

from __future__ import annotations

from typing import Any

from reranker_operator.reconcile.observe import Observed


def observed(**there: Any) -> Observed:
    """Nothing but what is `there`."""
    nothing: dict[str, Any] = {
        "service_account": None,
        "service": None,
        "deployment": None,
        "job": None,
        "other_jobs": [],
        "pods": [],
        "job_pods": [],
        "refused_job_pods": None,
        "optional": {},
        "unserved": [],
        "claim": None,
        "missing": [],
    }
    return Observed(**(nothing | there))
