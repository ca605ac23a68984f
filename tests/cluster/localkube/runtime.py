"""The kubelet's side of sandboxes and container processes: starts them, talks to them, ends them."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from localkube.addresses import reserve_address
from localkube.host import Node
from localkube.processes import PACKAGE_ROOT, python_environment

_PYTHON = (sys.executable, "-S", "-m")
_REPLY_BYTES = 4096
_START_SECONDS = 30.0
_PORT_TRIES = 5


class StartError(Exception):
    """A sandbox or a container's program could not be started."""


def keep_folders() -> list[str]:
    """Host folders that containers need where they are: the interpreter, the virtual environment, this project."""
    project = PACKAGE_ROOT.parent.parent
    return sorted({sys.base_prefix, sys.prefix, str(project)})


@dataclass
class ContainerRequest:
    """What the launcher is asked for."""

    argv: list[str]
    env: dict[str, str]
    cwd: str = "/"
    uid: int = 0
    gid: int = 0
    mounts: list[dict[str, Any]] = field(default_factory=list)
    read_only_root: bool = False
    may_gain: bool = True
    gpus: bool = False


class Sandbox:
    """A pod's sandbox process and its address."""

    def __init__(self, address: str, holder: socket.socket | None) -> None:
        self.address = address
        self._holder = holder
        self._process: asyncio.subprocess.Process | None = None
        self._control: socket.socket | None = None
        self._lock = asyncio.Lock()

    @property
    def pid(self) -> int:
        """The process whose namespaces the containers join."""
        assert self._process is not None
        return self._process.pid

    @classmethod
    async def start(
        cls, node: Node, *, hostname: str, ports: Sequence[int], memory: dict[str, int], host_network: bool, log: Path
    ) -> "Sandbox":
        """Start a sandbox with an address of its own (the node's, with the host's network). Raises StartError."""
        reason = ""
        for _ in range(_PORT_TRIES):
            address, holder = (node.address, None) if host_network else reserve_address(node.pods)
            sandbox = cls(address, holder)
            config = {
                "address": address,
                "ports": list(ports),
                "hostname": hostname[:63],
                "host_network": host_network,
                "memory": memory,
            }
            reason = await sandbox._run(config, log)
            if not reason:
                return sandbox
            await sandbox.close()
            if "in use" not in reason:
                break
        raise StartError(f"failed to create pod sandbox: {reason}")

    async def _run(self, config: dict[str, Any], log: Path) -> str:
        """Start the process; returns why it failed, or nothing."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        self._control = ours
        with theirs, log.open("ab") as output:
            config["control"] = theirs.fileno()
            self._process = await asyncio.create_subprocess_exec(
                *_PYTHON,
                "localkube.sandbox",
                json.dumps(config),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=python_environment({"LOCALKUBE_PARENT": str(os.getpid())}),
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        answer = await self._receive()
        return str(answer["error"]) if "error" in answer else ""

    async def connect(self, port: int) -> socket.socket:
        """A connection, made inside the pod, to one of the pod's ports. Raises OSError."""
        assert self._control is not None
        loop = asyncio.get_running_loop()
        async with self._lock:
            await loop.sock_sendall(self._control, str(port).encode())
            descriptors: list[int] = []
            answer = await self._receive(descriptors)
        if "error" in answer:
            raise OSError(f"dial tcp {self.address}:{port}: connect: {answer['error']}")
        sock = socket.socket(fileno=descriptors[0])
        sock.setblocking(False)
        return sock

    async def _receive(self, descriptors: list[int] | None = None) -> dict[str, Any]:
        control = self._control
        assert control is not None
        loop = asyncio.get_running_loop()
        readable = loop.create_future()

        def note() -> None:
            if not readable.done():
                readable.set_result(None)

        loop.add_reader(control, note)
        try:
            await asyncio.wait_for(readable, _START_SECONDS)
        finally:
            loop.remove_reader(control)
        data, received, _, _ = socket.recv_fds(control, _REPLY_BYTES, 1)
        if descriptors is not None:
            descriptors.extend(received)
        if not data:
            return {"error": "the sandbox ended"}
        answer: dict[str, Any] = json.loads(data)
        return answer

    async def close(self) -> None:
        """End the sandbox, and with it whatever still runs in it has no network any more."""
        if self._control:
            self._control.close()
        if self._process:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        if self._holder:
            self._holder.close()


class ContainerProcess:
    """A program that runs in a container."""

    def __init__(self, process: asyncio.subprocess.Process, pid: int) -> None:
        self._process = process
        self.pid = pid

    @classmethod
    async def start(cls, sandbox: Sandbox, root: Path, request: ContainerRequest, log: Path) -> "ContainerProcess":
        """Start a container's program, its output going to `log`. Raises StartError."""
        body = {**vars(request), "sandbox": sandbox.pid, "root": str(root), "keep": keep_folders()}
        with log.open("ab") as output:
            return await cls._launch(body, output.fileno())

    @classmethod
    async def start_inside(
        cls, sandbox: Sandbox, main: "ContainerProcess", argv: list[str], env: dict[str, str], output: int
    ) -> "ContainerProcess":
        """Start one more program in a running container."""
        body = {"exec": main.pid, "sandbox": sandbox.pid, "argv": argv, "env": env, "cwd": "/", "may_gain": False}
        return await cls._launch(body, output)

    @classmethod
    async def _launch(cls, body: dict[str, Any], output: int) -> "ContainerProcess":
        reading, writing = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *_PYTHON,
                "localkube.launch",
                str(writing),
                stdin=asyncio.subprocess.PIPE,
                stdout=output,
                stderr=output,
                env=python_environment({"LOCALKUBE_PARENT": str(os.getpid())}),
                pass_fds=[writing],
                start_new_session=True,
            )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        assert process.stdin is not None
        process.stdin.write(json.dumps(body).encode())
        process.stdin.close()
        try:
            said = await asyncio.wait_for(_read_all(reading), _START_SECONDS)
        except BaseException:
            process.kill()
            raise
        answers = [json.loads(line) for line in said.splitlines()]
        errors = [answer["error"] for answer in answers if "error" in answer]
        pids = [answer["pid"] for answer in answers if "pid" in answer]
        if errors or not pids:
            await process.wait()
            raise StartError(errors[0] if errors else "the launcher ended early")
        return cls(process, pids[0])

    async def wait(self) -> int:
        """The exit code; 128 and the signal's number where a signal ended it."""
        code = await self._process.wait()
        return code if code >= 0 else 128 - code

    def terminate(self) -> None:
        """Ask it to end: SIGTERM to the container's first process."""
        self._signal(self._process.pid, signal.SIGTERM)

    def kill(self) -> None:
        """End everything in the container at once."""
        self._signal(self.pid, signal.SIGKILL)

    def _signal(self, pid: int, number: int) -> None:
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


async def _read_all(descriptor: int) -> bytes:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", 0)
    )
    try:
        return await reader.read()
    finally:
        transport.close()
