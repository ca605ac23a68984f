"""Works out a pod's phase, conditions and status from the states of its containers, as the kubelet does. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from localkube.api import Json

FINAL_PHASES = frozenset({"Succeeded", "Failed"})


class ContainerView(Protocol):
    """What the status needs to know of a container."""

    name: str
    state: Json
    last_state: Json
    ready: bool
    sidecar: bool

    def status(self) -> Json:
        """The container's own status."""


@dataclass(frozen=True)
class PodView:
    """What the status needs to know of a pod."""

    manifest: Json
    inits: Sequence[ContainerView]
    mains: Sequence[ContainerView]
    start_time: str
    node_address: str
    address: str = ""
    failure: tuple[str, str] | None = None
    """Reason and message where the pod as a whole has failed."""
    conditions: Sequence[Json] = ()
    """The pod's conditions as last known."""


def pod_status(view: PodView, now: str) -> Json:
    """The status to publish. A condition's transition time moves only when its status does."""
    phase = _phase(view)
    status: Json = {
        "phase": phase,
        "startTime": view.start_time,
        "hostIP": view.node_address,
        "hostIPs": [{"ip": view.node_address}],
        "conditions": _conditions(view, phase, now),
        "containerStatuses": [container.status() for container in view.mains],
    }
    if view.inits:
        status["initContainerStatuses"] = [container.status() for container in view.inits]
    if view.address:
        status |= {"podIP": view.address, "podIPs": [{"ip": view.address}]}
    if view.failure:
        status["reason"], status["message"] = view.failure
    return status


def initialized(view: PodView) -> bool:
    """Whether all init containers have done their part."""
    return all(container.ready if container.sidecar else _exit_code(container) == 0 for container in view.inits)


def _exit_code(container: ContainerView) -> int | None:
    terminated = container.state.get("terminated")
    return int(terminated["exitCode"]) if terminated else None


def _phase(view: PodView) -> str:
    policy = view.manifest["spec"].get("restartPolicy", "Always")
    if view.failure:
        return "Failed"
    inits = [container for container in view.inits if not container.sidecar]
    if policy == "Never" and any(_exit_code(container) not in {None, 0} for container in inits):
        return "Failed"
    codes = [_exit_code(container) for container in view.mains]
    waiting = ["waiting" in container.state and not container.last_state for container in view.mains]
    if not initialized(view) and None in codes and any(waiting):
        return "Pending"
    if any(waiting):
        return "Pending"
    if None in codes or policy == "Always":
        return "Running"
    if all(code == 0 for code in codes):
        return "Succeeded"
    return "Failed" if policy == "Never" else "Running"


def _conditions(view: PodView, phase: str, now: str) -> list[Json]:
    unready = [container.name for container in view.mains if not container.ready]
    pending = [
        container.name
        for container in view.inits
        if not (container.ready if container.sidecar else _exit_code(container) == 0)
    ]
    facts: list[tuple[str, bool, str, str]] = [
        ("PodReadyToStartContainers", bool(view.address), "", ""),
        (
            "Initialized",
            not pending,
            "ContainersNotInitialized",
            f"containers with incomplete status: [{' '.join(pending)}]",
        ),
    ]
    reason, message = "ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]"
    if phase == "Succeeded":
        reason, message = "PodCompleted", ""
    elif phase == "Failed":
        reason, message = "PodFailed", ""
    containers_ready = not unready and phase == "Running"
    facts.append(("ContainersReady", containers_ready, reason, message))
    old = {condition["type"]: condition for condition in view.conditions}
    gates = [gate["conditionType"] for gate in view.manifest["spec"].get("readinessGates", [])]
    closed = [gate for gate in gates if old.get(gate, {}).get("status") != "True"]
    if containers_ready and closed:
        facts.append(("Ready", False, "ReadinessGatesNotReady", f"gates not passed: {' '.join(closed)}"))
    else:
        facts.append(("Ready", containers_ready, reason, message))
    return [_condition(old.get(kind), kind, good, reason, message, now) for kind, good, reason, message in facts]


def _condition(old: Json | None, kind: str, good: bool, reason: str, message: str, now: str) -> Json:
    status = "True" if good else "False"
    since = old["lastTransitionTime"] if old and old["status"] == status and old.get("lastTransitionTime") else now
    condition: Json = {"type": kind, "status": status, "lastProbeTime": None, "lastTransitionTime": since}
    # An absent key would keep the old text in a merge; null takes it away.
    condition["reason"] = reason if not good and reason else None
    condition["message"] = message if not good and message else None
    return condition
