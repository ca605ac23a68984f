"""Runs one pod from its assignment to its end: volumes, sandbox, init containers, containers, status, deletion."""

import asyncio
import contextlib
import shutil
import sys
import traceback
from collections.abc import Awaitable, Callable, Sequence

from localkube.api import ApiError, Json
from localkube.container import Container, PodContext
from localkube.host import ConfigError, Host, Node, now
from localkube.images import ImageError
from localkube.runtime import Sandbox, StartError
from localkube.settings import RETRY_SECONDS
from localkube.status import FINAL_PHASES, PodView, pod_status
from localkube.volumes import make_volumes

_PUBLISH_RETRY_SECONDS = 0.5


class PodWorker:
    """The task that runs a pod. Tell it of changes by `update`, and by `gone` that the API has it no more."""

    def __init__(self, host: Host, node: Node, manifest: Json) -> None:
        uid = manifest["metadata"]["uid"]
        self.context = PodContext(host, node, manifest, node.state / "pods" / uid, self._note_change)
        self.start_time = manifest.get("status", {}).get("startTime") or now()
        spec = manifest["spec"]
        before = manifest.get("status", {})
        self.inits = self._containers(spec.get("initContainers", []), before.get("initContainerStatuses", []), True)
        self.mains = self._containers(spec["containers"], before.get("containerStatuses", []), False)
        if self.inits:
            for container in self.mains:
                container.state = {"waiting": {"reason": "PodInitializing"}}
        self.address = ""
        self._failure: tuple[str, str] | None = None
        self._changed = asyncio.Event()
        self._stop_asked = asyncio.Event()
        self._gone = False
        self._published: Json = {}
        self._publishing = asyncio.Lock()
        self._sidecars: list[asyncio.Task[int]] = []

    def _containers(self, specs: Sequence[Json], before: Sequence[Json], init: bool) -> list[Container]:
        """The containers; one that has run under a kubelet before us counts as restarted."""
        counts = {
            status["name"]: status["restartCount"] + 1
            for status in before
            if status.get("containerID") and "terminated" not in status.get("state", {})
        }
        return [Container(self.context, spec, init=init, restarts=counts.get(spec["name"], 0)) for spec in specs]

    # What the kubelet tells

    def update(self, manifest: Json) -> None:
        """The pod's object has changed."""
        self.context.manifest = self._with_own_facts(manifest)
        if "deletionTimestamp" in manifest["metadata"]:
            self._stop_asked.set()
        elif manifest["spec"].get("readinessGates"):
            self._note_change()

    def gone(self) -> None:
        """The pod's object is no more: end everything at once."""
        self._gone = True
        for container in [*self.inits, *self.mains]:
            container.kill()
        self._stop_asked.set()

    def status(self) -> Json:
        """The pod's status as it is now."""
        view = PodView(
            self.context.manifest,
            self.inits,
            self.mains,
            self.start_time,
            self.context.node.address,
            self.address,
            self._failure,
            self.context.manifest.get("status", {}).get("conditions", []),
        )
        return pod_status(view, now())

    def container(self, name: str) -> Container | None:
        """The container of a name."""
        return next((container for container in [*self.inits, *self.mains] if container.name == name), None)

    # The pod's life

    async def run(self) -> None:
        """Everything, until the pod is deleted and nothing of it runs any more."""
        publisher = asyncio.create_task(self._publish_changes())
        stop = asyncio.create_task(self._stop_asked.wait())
        final = self.context.manifest.get("status", {}).get("phase") in FINAL_PHASES
        try:
            if not final:
                await self._live_until(stop)
            await stop
            if not self._gone and not final:
                await self._publish()
        finally:
            publisher.cancel()
            stop.cancel()
            shutil.rmtree(self.context.folder, ignore_errors=True)
        if not self._gone:
            await self._persist(self.context.host.finalize)

    async def _live_until(self, stop: asyncio.Task[bool]) -> None:
        life = asyncio.create_task(self._live())
        deadline = self.context.manifest["spec"].get("activeDeadlineSeconds")
        try:
            await asyncio.wait({life, stop}, timeout=deadline, return_when=asyncio.FIRST_COMPLETED)
            if not life.done():
                if not stop.done():
                    self._failure = (
                        "DeadlineExceeded",
                        "Pod was active on the node longer than the specified deadline",
                    )
                await self._stop_containers(self._deletion_grace())
        finally:
            life.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await life
            for task in self._sidecars:
                task.cancel()
            if self.context.sandbox:
                await self.context.sandbox.close()
            for owner in [key for key in self.context.node.taken_gpus if key.startswith(self.context.folder.name)]:
                del self.context.node.taken_gpus[owner]
        self._note_change()

    def _deletion_grace(self) -> float:
        grace = self.context.manifest["metadata"].get("deletionGracePeriodSeconds")
        return 0.0 if self._gone else self.context.grace if grace is None else float(grace)

    async def _stop_containers(self, grace: float) -> None:
        await asyncio.gather(*(container.stop(grace) for container in self.mains))
        await asyncio.gather(*(container.stop(grace) for container in reversed(self.inits)))

    async def _live(self) -> None:
        try:
            self._note_change()
            await self._make_volumes()
            await self._make_sandbox()
            if await self._initialize():
                await self._run_containers()
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - a fault of ours must fail this pod and no other
            traceback.print_exc(file=sys.stderr)
            self._failure = ("KubeletFault", f"{type(error).__name__}: {error}")
        self._note_change()

    async def _make_volumes(self) -> None:
        context = self.context
        context.folder.mkdir(parents=True, exist_ok=True)
        (context.folder / "root").mkdir(exist_ok=True)
        told = ""
        while True:
            try:
                context.volumes = await make_volumes(
                    context.host, context.node.images, context.manifest, context.folder
                )
            except ImageError as error:
                for container in self.mains:
                    container.state = {"waiting": {"reason": error.reason, "message": str(error)}}
                problem, reason = str(error), "Failed"
            except (ConfigError, ApiError, OSError) as error:
                problem, reason = str(error), "FailedMount"
            else:
                return
            if problem != told:
                await context.event("Warning", reason, problem)
                self._note_change()
                told = problem
            await asyncio.sleep(RETRY_SECONDS)

    async def _make_sandbox(self) -> None:
        context = self.context
        spec, metadata = context.manifest["spec"], context.manifest["metadata"]
        memory = {v.source: v.memory_bytes for v in context.volumes.values() if v.memory_bytes is not None}
        while True:
            try:
                context.sandbox = await Sandbox.start(
                    context.node,
                    hostname=spec.get("hostname") or metadata["name"],
                    ports=pod_ports(spec),
                    memory=memory,
                    # A pod's own network has no way out; one that opens no port needs none of its own.
                    host_network=spec.get("hostNetwork", False) or not pod_ports(spec),
                    log=context.folder / "sandbox.log",
                )
                break
            except (StartError, OSError) as error:
                await context.event("Warning", "FailedCreatePodSandBox", str(error))
                await asyncio.sleep(RETRY_SECONDS)
        self.address = context.sandbox.address
        context.manifest = self._with_own_facts(context.manifest)
        hosts = f"127.0.0.1\tlocalhost\n{self.address}\t{metadata['name']}\n"
        (context.folder / "hosts").write_text(hosts)
        self._note_change()

    async def _initialize(self) -> bool:
        """Run the init containers; False if the pod fails by one."""
        policy = self.context.manifest["spec"].get("restartPolicy", "Always")
        for container in self.inits:
            if container.sidecar:
                self._sidecars.append(asyncio.create_task(container.run("Always")))
                await container.started_event.wait()
            elif await container.run("Never" if policy == "Never" else "OnFailure"):
                return False
        return True

    async def _run_containers(self) -> None:
        policy = self.context.manifest["spec"].get("restartPolicy", "Always")
        await asyncio.gather(*(container.run(policy) for container in self.mains))
        for container in reversed([container for container in self.inits if container.sidecar]):
            await container.stop(self.context.grace)

    # Telling

    def _note_change(self) -> None:
        self._changed.set()

    async def _publish_changes(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self._publish()

    async def _publish(self) -> None:
        async with self._publishing:
            status = self.status()
            if status != self._published and not self._gone:
                await self._persist(lambda pod: self.context.host.publish(pod, status))
                self._published = status
                self.context.manifest = self._with_own_facts(self.context.manifest)

    def _with_own_facts(self, manifest: Json) -> Json:
        """The object with what only we know yet: its watch lags behind, and the downward API reads the addresses."""
        known = manifest.get("status", {})
        conditions = {condition["type"]: condition for condition in known.get("conditions", [])}
        conditions |= {condition["type"]: condition for condition in self._published.get("conditions", [])}
        status = {**known, "conditions": list(conditions.values()), "hostIP": self.context.node.address}
        if self.address:
            status["podIP"] = self.address
        return {**manifest, "status": status}

    async def _persist(self, call: Callable[[Json], Awaitable[None]]) -> None:
        while True:
            try:
                await call(self.context.manifest)
            except Exception as error:  # noqa: BLE001 - the API server may be away for a while
                print(f"{self.context.manifest['metadata']['name']}: {error}", file=sys.stderr)
                if isinstance(error, ApiError) and error.code in {400, 422}:
                    return  # saying it again would not help
                await asyncio.sleep(_PUBLISH_RETRY_SECONDS)
            else:
                return


def pod_ports(spec: Json) -> list[int]:
    """The ports of a pod that are opened at its address: those that its containers name."""
    containers = [*spec["containers"], *(c for c in spec.get("initContainers", []) if c.get("restartPolicy"))]
    ports = {
        port["containerPort"]
        for container in containers
        for port in container.get("ports", [])
        if port.get("protocol", "TCP") == "TCP"
    }
    return sorted(ports)
