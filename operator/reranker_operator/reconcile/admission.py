"""What a spec may ask for beyond its schema: decided by how this operator was started, and by what a claim allows."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from reranker_operator.api import RerankerService
from reranker_operator.api.runtime import Runtime
from reranker_operator.desired.claim import cache_claim, mounted_claim


def host_path_problem(service: RerankerService, allowed: Sequence[str]) -> str | None:
    """Why this hostPath source is refused, or None.

    A hostPath lets whoever may create a RerankerService read the node's files, and no pod with one meets even the
    baseline Pod Security Standard: so it is off unless the operator's own administrator opens a prefix.
    """
    source = service.spec.source.host_path if service.spec.runtime is Runtime.BUNDLED else None
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


@dataclass(frozen=True)
class ClaimTrouble:
    """What the pods of one service will meet on the claim that they share."""

    message: str
    """A sentence, with the remedy."""
    hopeless: bool
    """Whether it can never work; else it does as long as the pods happen to be on one node."""


def claim_trouble(service: RerankerService, claim: dict[str, Any] | None, pods: int) -> ClaimTrouble | None:
    """Why `pods` pods may not get the claim that each of them mounts, or None.

    `claim` is the live object of `mounted_claim(service)`. Without it, a claim that is still to be made is judged by
    its spec, and of one that should exist nothing is known.
    """
    name, known = mounted_claim(service), claim or cache_claim(service)
    if name is None or known is None:
        return None
    modes = set(known["spec"].get("accessModes", ()))
    writes = service.spec.runtime is Runtime.NIM
    shared = "ReadWriteMany" if writes else "ReadWriteMany or ReadOnlyMany"
    remedy = f"use a claim with {shared} (the modes of a claim never change: it takes a new one)"
    if modes == {"ReadWriteOncePod"}:
        # Even one pod is replaced by another that starts first, and the model Job has a pod of its own.
        said = f"PersistentVolumeClaim {name} is ReadWriteOncePod: a single pod can use it"
        if pods > 1:
            return ClaimTrouble(f"{said}, and {pods} are asked for; {remedy}", hopeless=True)
        return ClaimTrouble(f"{said}, so no change can be rolled out while it serves; {remedy}", hopeless=False)
    if pods > 1 and not modes & {"ReadWriteMany", "ReadOnlyMany"}:
        said = f"PersistentVolumeClaim {name} is ReadWriteOnce: pods of one node can use it, and {pods} are asked for"
        return ClaimTrouble(f"{said}, of which those on other nodes will not start; {remedy}", hopeless=False)
    return None
