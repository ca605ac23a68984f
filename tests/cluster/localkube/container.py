"""One container of a pod: prepares it, runs it, probes it, restarts it, stops it, and knows its status."""

import asyncio
import contextlib
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from localkube import environment
from localkube.api import ApiError, Json
from localkube.host import ConfigError, Host, Node, now
from localkube.images import Image, ImageError
from localkube.mounts import Mount
from localkube.probes import ActionError, Actions, probe
from localkube.runtime import ContainerProcess, ContainerRequest, Sandbox, StartError
from localkube.settings import BACKOFF_RESET_SECONDS, PROBE_SECONDS, RETRY_SECONDS, backoff, base_variables
from localkube.volumes import Volume, container_mounts

_MESSAGE_BYTES = 4096
_LOG_MESSAGE_BYTES = 2048


@dataclass
class PodContext:
    """What the containers of a pod share."""

    host: Host
    node: Node
    manifest: Json
    folder: Path
    changed: Callable[[], None]
    sandbox: Sandbox | None = None
    volumes: dict[str, Volume] = field(default_factory=dict)

    @property
    def grace(self) -> float:
        """Seconds between SIGTERM and SIGKILL."""
        return float(self.manifest["spec"].get("terminationGracePeriodSeconds", 30))

    async def event(self, kind: str, reason: str, message: str) -> None:
        """Tell people what happened to the pod."""
        await self.host.event(self.manifest, kind, reason, message)


class Container:
    """A container and its processes, one after the other."""

    def __init__(self, pod: PodContext, spec: Json, *, init: bool = False, restarts: int = 0) -> None:
        self.name: str = spec["name"]
        self.spec = spec
        self.init = init
        self.sidecar = init and spec.get("restartPolicy") == "Always"
        self.state: Json = {"waiting": {"reason": "PodInitializing" if init else "ContainerCreating"}}
        self.last_state: Json = {}
        self.ready = False
        self.started = False
        self.restarts = restarts
        self.started_event = asyncio.Event()
        self._pod = pod
        self._image: Image | None = None
        self._container_id = ""
        self._process: ContainerProcess | None = None
        self._actions: Actions | None = None
        self._stopping = asyncio.Event()
        self._attempts = 0
        self._last_ended = -1

    # What others see

    def status(self) -> Json:
        """The entry in the pod's containerStatuses."""
        return {
            "name": self.name,
            "image": self.spec["image"],
            "imageID": f"{self.spec['image']}@{self._image.digest}" if self._image else "",
            "containerID": self._container_id,
            "ready": self.ready,
            "started": self.started,
            "restartCount": self.restarts,
            "state": self.state,
            "lastState": self.last_state,
        }

    def previous_log_path(self) -> Path:
        """The log of the last process that has ended."""
        return self.log_path(self._last_ended)

    def log_path(self, restart: int | None = None) -> Path:
        """The log of one of its processes; by default of the last."""
        number = self.restarts if restart is None else restart
        return self._pod.folder / "logs" / f"{self.name}-{number}.log"

    # Running

    async def run(self, policy: str) -> int:
        """Run until the container is not to be restarted any more; returns the last exit code."""
        crashes = 0
        while True:
            began = asyncio.get_running_loop().time()
            code = await self._attempt()
            again = policy == "Always" or (policy == "OnFailure" and code != 0)
            if self._stopping.is_set() or not again:
                return code
            if asyncio.get_running_loop().time() - began > BACKOFF_RESET_SECONDS:
                crashes = 0
            delay = backoff(crashes)
            crashes += 1
            if delay:
                await self._back_off(delay)
                if self._stopping.is_set():
                    return code

    async def _back_off(self, delay: float) -> None:
        who = f"container={self.name} pod={self._pod.manifest['metadata']['name']}"
        self.last_state = self.state
        self._wait("CrashLoopBackOff", f"back-off {delay:.0f}s restarting failed {who}")
        await self._pod.event("Warning", "BackOff", f"Back-off restarting failed {who}")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), delay)

    async def _attempt(self) -> int:
        """Prepare and run the program once; returns its exit code."""
        image, request = await self._prepared()
        if request is None:
            return 0
        if self._attempts:
            self.restarts += 1
        self._attempts += 1
        if "terminated" in self.state:
            self.last_state = self.state
        self._image = image
        self._container_id = f"localkube://{uuid.uuid4().hex}"
        sandbox = self._pod.sandbox
        assert sandbox is not None
        log = self.log_path()
        log.parent.mkdir(parents=True, exist_ok=True)
        if self.restarts >= 2:
            self.log_path(self.restarts - 2).unlink(missing_ok=True)
        message = self._message_file()
        began = now()
        try:
            process = await ContainerProcess.start(sandbox, self._pod.folder / "root", request, log)
        except StartError as error:
            await self._pod.event("Warning", "Failed", f"Error: {error}")
            self._end(128, "StartError", str(error), began)
            return 128
        self._process = process
        self._actions = Actions(sandbox, process, self.spec, request.env)
        self.state = {"running": {"startedAt": began}}
        life = asyncio.create_task(self._accompany())
        self._changed()
        try:
            if self._stopping.is_set():
                process.kill()
            code = await process.wait()
        except asyncio.CancelledError:
            process.kill()
            raise
        finally:
            self._process = None
            self._last_ended = self.restarts
            life.cancel()
        self._end(code, "Completed" if code == 0 else "Error", self._message(message, log, code), began)
        return code

    async def _prepared(self) -> tuple[Image | None, ContainerRequest | None]:
        """Image and request, waiting until both can be had; nothing if the pod is stopped meanwhile."""
        failures = 0
        while not self._stopping.is_set():
            try:
                return await self._prepare()
            except ImageError as error:
                self._wait(error.reason if failures == 0 else error.backoff_reason, str(error))
                problem = f"Failed to pull image: {error}"
            except ConfigError as error:
                self._wait("CreateContainerConfigError", str(error))
                problem = f"Error: {error}"
            except ApiError as error:
                problem = f"Error: {error}"
            if failures == 0:
                await self._pod.event("Warning", "Failed", problem)
            failures += 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), RETRY_SECONDS)
        return None, None

    async def _prepare(self) -> tuple[Image, ContainerRequest]:
        pod, spec = self._pod, self.spec
        image = pod.node.images.find(spec["image"], spec.get("imagePullPolicy", ""))
        context = {**(pod.manifest["spec"].get("securityContext") or {}), **(spec.get("securityContext") or {})}
        uid = context.get("runAsUser", image.user)
        if context.get("runAsNonRoot") and uid == 0:
            raise ConfigError("container has runAsNonRoot and image will run as root")
        gpus = int((spec.get("resources") or {}).get("limits", {}).get("nvidia.com/gpu", 0))
        base = base_variables(pod.manifest, pod.node, image)
        if gpus:
            owner = f"{pod.manifest['metadata']['uid']}/{self.name}"
            numbers = pod.node.take_gpus(owner, gpus)
            base["NVIDIA_VISIBLE_DEVICES"] = ",".join(str(number) for number in numbers)
        values = await environment.variables(pod.host, pod.manifest, spec, base)
        mounts = container_mounts(spec, pod.volumes, image, values)
        message = self._message_file()
        message.parent.mkdir(parents=True, exist_ok=True)
        message.write_bytes(b"")
        mounts.append(Mount(str(message), spec.get("terminationMessagePath", "/dev/termination-log")))
        hosts = pod.folder / "hosts"
        if not any(mount.target == "/etc/hosts" for mount in mounts) and hosts.exists():
            mounts.append(Mount(str(hosts), "/etc/hosts"))
        return image, ContainerRequest(
            argv=environment.command(spec, image.entrypoint, values),
            env=values,
            cwd=spec.get("workingDir", "/"),
            uid=uid,
            gid=context.get("runAsGroup", 0),
            mounts=[mount.to_json() for mount in mounts],
            read_only_root=context.get("readOnlyRootFilesystem", False),
            may_gain=context.get("allowPrivilegeEscalation", True),
            gpus=gpus > 0,
        )

    async def _accompany(self) -> None:
        """Hooks and probes of the running process."""
        actions = self._actions
        assert actions is not None
        hook = (self.spec.get("lifecycle") or {}).get("postStart")
        if hook:
            try:
                await actions.run(hook, self._pod.grace)
            except ActionError as error:
                await self._pod.event("Warning", "FailedPostStartHook", str(error))
                await self._end_by_probe("postStart hook", None)
                return
        if "startupProbe" in self.spec:
            await self._startup(actions)
        self._now_started()
        async with asyncio.TaskGroup() as group:
            if "readinessProbe" in self.spec:
                group.create_task(self._probe(actions, "readiness"))
            if "livenessProbe" in self.spec:
                group.create_task(self._probe(actions, "liveness"))

    async def _startup(self, actions: Actions) -> None:
        task = asyncio.create_task(self._probe(actions, "startup"))
        waiting = asyncio.create_task(self.started_event.wait())
        try:
            await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            task.cancel()
            waiting.cancel()

    def _now_started(self) -> None:
        self.started = True
        self.started_event.set()
        if "readinessProbe" not in self.spec and (self.sidecar or not self.init):
            self.ready = True
        self._changed()

    async def _probe(self, actions: Actions, kind: str) -> None:
        settings = self.spec[f"{kind}Probe"]
        if seconds := (self._pod.manifest["metadata"].get("annotations") or {}).get(PROBE_SECONDS):
            settings = {**settings, "periodSeconds": float(seconds)}

        async def passed() -> None:
            if kind == "startup":
                self.started_event.set()
            elif kind == "readiness" and not self.ready:
                self.ready = True
                self._changed()

        async def failed(message: str, enough: bool) -> None:
            await self._pod.event("Warning", "Unhealthy", f"{kind.capitalize()} probe failed: {message}")
            if not enough:
                return
            if kind != "readiness":
                await self._end_by_probe(f"{kind} probe", settings.get("terminationGracePeriodSeconds"))
            elif self.ready:
                self.ready = False
                self._changed()

        await probe(actions, settings, passed=passed, failed=failed)

    async def _end_by_probe(self, what: str, grace: float | None) -> None:
        await self._pod.event("Normal", "Killing", f"Container {self.name} failed {what}, will be restarted")
        await self._terminate(self._pod.grace if grace is None else grace)

    # Stopping

    async def stop(self, grace: float) -> None:
        """End it for good: preStop hook, SIGTERM, and SIGKILL after `grace` seconds in all."""
        self._stopping.set()
        if self._process:
            await self._pod.event("Normal", "Killing", f"Stopping container {self.name}")
            await self._terminate(grace)

    def kill(self) -> None:
        """End it for good and at once."""
        self._stopping.set()
        if self._process:
            self._process.kill()

    async def _terminate(self, grace: float) -> None:
        process, actions = self._process, self._actions
        if process is None or actions is None:
            return
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace
        ended = asyncio.create_task(process.wait())
        hook = (self.spec.get("lifecycle") or {}).get("preStop")
        if hook and grace > 0:
            hooked = asyncio.create_task(actions.run(hook, grace))
            await asyncio.wait({ended, hooked}, return_when=asyncio.FIRST_COMPLETED)
            if hooked.done() and (error := hooked.exception()):
                await self._pod.event("Warning", "FailedPreStopHook", str(error))
            hooked.cancel()
        if grace > 0:
            process.terminate()
        await asyncio.wait({ended}, timeout=max(0.0, deadline - loop.time()))
        if not ended.done():
            process.kill()
        await ended

    # State

    def _changed(self) -> None:
        self._pod.changed()

    def _wait(self, reason: str, message: str = "") -> None:
        self.state = {"waiting": {"reason": reason, "message": message}}
        self._changed()

    def _end(self, code: int, reason: str, message: str, began: str) -> None:
        terminated = {
            "exitCode": code,
            "reason": reason,
            "startedAt": began,
            "finishedAt": now(),
            "containerID": self._container_id,
        }
        if message:
            terminated["message"] = message
        self.state = {"terminated": terminated}
        self.ready = self.init and code == 0
        self.started = False
        self.started_event.clear()
        self._changed()

    def _message_file(self) -> Path:
        return self._pod.folder / "termination" / self.name

    def _message(self, path: Path, log: Path, code: int) -> str:
        """What the program left as its last words."""
        with contextlib.suppress(OSError):
            text = path.read_bytes()[:_MESSAGE_BYTES].decode(errors="replace")
            if text or code == 0 or self.spec.get("terminationMessagePolicy") != "FallbackToLogsOnError":
                return text
            return log.read_bytes()[-_LOG_MESSAGE_BYTES:].decode(errors="replace")
        return ""
