"""What a spec may ask for beyond its schema: decided by how this operator was started."""

from collections.abc import Sequence
from pathlib import PurePosixPath

from reranker_operator.api import RerankerService


def host_path_problem(service: RerankerService, allowed: Sequence[str]) -> str | None:
    """Why this hostPath source is refused, or None.

    A hostPath lets whoever may create a RerankerService read the node's files, and no pod with one meets even the
    baseline Pod Security Standard: so it is off unless the operator's own administrator opens a prefix.
    """
    source = service.spec.model.source.host_path
    if source is None:
        return None
    path = PurePosixPath(source.path)
    if any(path.is_relative_to(prefix) for prefix in allowed):
        return None
    opened = f"only below {', '.join(allowed)}" if allowed else "not at all"
    return (
        f"spec.model.source.hostPath.path {source.path}: this operator allows hostPath sources {opened}; use a "
        f"persistentVolumeClaim, or start the operator with --allow-host-path {path.parent}"
    )
