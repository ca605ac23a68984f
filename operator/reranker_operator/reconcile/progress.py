"""What a rollout waits for, read from its pods: the sentence that saves a user four kubectl commands."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from reranker_operator.api import Reason
from reranker_operator.contract import CHECK_CONTAINER, FETCH_CONTAINER, RANKING_CONTAINER
from reranker_operator.desired.report import last_words

_PULL = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable"}
_FROM_OUTSIDE = {137, 143}
"""Exit codes of a container that was ended by a signal: KILL after TERM, or TERM."""
_BY_PROBES = "was ended by the kubelet, as its startup or liveness probe failed"
_OVER = {"Failed", "Succeeded"}
_CONFIG = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}


@dataclass(frozen=True)
class Cause:
    """Why it is not finished."""

    reason: Reason
    message: str


def cause_of(pods: list[dict[str, Any]], refused: str | None) -> Cause | None:
    """The most telling cause among `pods` (newest first), or None where no pod says anything.

    `refused` is why the server creates no pods, if it does not.
    """
    if refused is not None:
        return Cause(Reason.POD_CREATION_REFUSED, f"the server refuses the pods: {refused}")
    # A pod that has ended for good (evicted, or a Job's earlier try) speaks only where no other does.
    living = [pod for pod in pods if pod.get("status", {}).get("phase") not in _OVER]
    causes = [cause for pod in living or pods for cause in _of_pod(pod)]
    order = (
        Reason.MODEL_CHANGED,
        Reason.CRASHING,
        Reason.PROBES_FAILING,
        Reason.IMAGE_PULL,
        Reason.CONTAINER_CONFIG,
        Reason.UNSCHEDULABLE,
        Reason.DOWNLOADING,
        Reason.WARMING_UP,
        Reason.STARTING,
    )
    return min(causes, key=lambda cause: order.index(cause.reason), default=None)


def deployment_condition(deployment: dict[str, Any] | None, kind: str) -> dict[str, Any]:
    """What the Deployment controller says of one matter; empty where it says nothing."""
    conditions = (deployment or {}).get("status", {}).get("conditions") or ()
    return next((each for each in conditions if each["type"] == kind), {})


def out_of_time(deployment: dict[str, Any] | None) -> str | None:
    """The Deployment controller's words when a rollout has run out of time."""
    progressing = deployment_condition(deployment, "Progressing")
    return str(progressing.get("message")) if progressing.get("reason") == "ProgressDeadlineExceeded" else None


def is_live(pod: dict[str, Any]) -> bool:
    """Whether the pod ranks or may come to: it is neither on its way out nor at its end, as an evicted one is."""
    return "deletionTimestamp" not in pod["metadata"] and pod.get("status", {}).get("phase") not in _OVER


def is_ready(pod: dict[str, Any]) -> bool:
    """Whether the pod can rank."""
    conditions = pod.get("status", {}).get("conditions") or ()
    ready = any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
    return ready and "deletionTimestamp" not in pod["metadata"]


def _of_pod(pod: dict[str, Any]) -> Iterator[Cause]:
    if "deletionTimestamp" in pod["metadata"] or is_ready(pod):
        return
    name, status = f"pod {pod['metadata']['name']}", pod.get("status", {})
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition.get("reason") == "Unschedulable":
            yield Cause(Reason.UNSCHEDULABLE, f"{name} fits no node: {condition.get('message', '')}")
            return
    containers = [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]
    # Of what is wrong for certain first.
    causes = [read(name, each) for read in (_of_container, _of_stopped) for each in containers]
    if (first := next(filter(None, causes), None)) is not None:
        yield first
        return
    if any(_runs(each) and each["name"] == FETCH_CONTAINER for each in status.get("initContainerStatuses", ())):
        yield Cause(Reason.DOWNLOADING, f"{name} downloads the model")
    elif any(map(_runs, status.get("containerStatuses", ()))):
        yield Cause(Reason.WARMING_UP, f"{name} runs and has not scored its warm-up ranking yet")
    else:
        yield Cause(Reason.STARTING, f"{name} is being started")


def _runs(container: dict[str, Any]) -> bool:
    return bool(container.get("state", {}).get("running"))


def _of_container(pod: str, status: dict[str, Any]) -> Cause | None:
    waiting = status.get("state", {}).get("waiting") or {}
    ended = status.get("state", {}).get("terminated") or status.get("lastState", {}).get("terminated") or {}
    where = f"{pod}, container {status['name']}"
    if waiting.get("reason") in _PULL:
        said = waiting.get("message") or waiting["reason"]
        return Cause(Reason.IMAGE_PULL, f"{where}: image {status.get('image', '')} cannot be pulled: {said}")
    if waiting.get("reason") in _CONFIG:
        return Cause(Reason.CONTAINER_CONFIG, f"{where}: {waiting.get('message') or waiting['reason']}")
    if ended and ended.get("exitCode", 0) != 0:
        words = last_words(ended.get("message"))
        said = f": {words}" if words else ""
        how = ended.get("reason") or "Error"
        tries = f"{how}, {status.get('restartCount', 0)} restarts"
        if status["name"] == CHECK_CONTAINER:
            return Cause(Reason.MODEL_CHANGED, f"{where} found the model other than the model Job did ({tries}){said}")
        if ended["exitCode"] in _FROM_OUTSIDE and how != "OOMKilled":
            return Cause(Reason.PROBES_FAILING, f"{where} {_BY_PROBES} ({tries}){said}")
        return Cause(Reason.CRASHING, f"{where} ended with exit code {ended['exitCode']} ({tries}){said}")
    return None


def _of_stopped(pod: str, status: dict[str, Any]) -> Cause | None:
    """A server that ended in good order and was started again: who asked it to end in a pod is mostly the kubelet."""
    ended, restarts = status.get("lastState", {}).get("terminated"), status.get("restartCount", 0)
    if status["name"] != RANKING_CONTAINER or not restarts or not ended or ended.get("exitCode", 0) != 0:
        return None
    ending = f"{pod}, container {status['name']} ended with exit code 0 ({restarts} restarts)"
    return Cause(Reason.PROBES_FAILING, f"{ending}, as a server does whose startup or liveness probe failed")
