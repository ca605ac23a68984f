"""Probes and hooks: asks a container over HTTP or TCP, or by running a program in it, whether all is well."""

import asyncio
import contextlib
import os
import ssl
import tempfile
from collections.abc import Awaitable, Callable
from typing import Any

from localkube.api import Json
from localkube.runtime import ContainerProcess, Sandbox, StartError

_BODY_BYTES = 10 * 1024


class ActionError(Exception):
    """A probe or hook failed, and how."""


class Actions:
    """Carries out the actions of probes and hooks in one running container."""

    def __init__(self, sandbox: Sandbox, process: ContainerProcess, spec: Json, env: dict[str, str]) -> None:
        self._sandbox = sandbox
        self._process = process
        self._env = env
        self._ports = {port["name"]: port["containerPort"] for port in spec.get("ports", []) if "name" in port}

    async def run(self, action: Json, seconds: float) -> None:
        """Carry out the action of a probe or hook. Raises ActionError."""
        try:
            async with asyncio.timeout(seconds):
                await self._run(action)
        except TimeoutError:
            raise ActionError(f"no answer within {seconds:.0f} s") from None
        except (OSError, StartError, asyncio.IncompleteReadError) as error:
            raise ActionError(str(error)) from None

    async def _run(self, action: Json) -> None:
        if "httpGet" in action:
            await self._http(action["httpGet"])
        elif "tcpSocket" in action:
            (await self._sandbox.connect(self._port(action["tcpSocket"]["port"]))).close()
        elif "exec" in action:
            await self._exec(action["exec"]["command"])
        elif "sleep" in action:
            await asyncio.sleep(action["sleep"]["seconds"])
        else:
            raise ActionError(f"this kubelet has no action of the kind {sorted(action)}")

    def _port(self, port: int | str) -> int:
        if isinstance(port, int):
            return port
        if port not in self._ports:
            raise ActionError(f"the container has no port named {port!r}")
        return int(self._ports[port])

    async def _http(self, get: Json) -> None:
        port = self._port(get["port"])
        sock = await self._sandbox.connect(port)
        context: Any = None
        if get.get("scheme", "HTTP") == "HTTPS":
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        name = self._sandbox.address if context else None
        reader, writer = await asyncio.open_connection(sock=sock, ssl=context, server_hostname=name)
        try:
            headers = {"Host": f"{self._sandbox.address}:{port}", "User-Agent": "kube-probe/1.36", "Accept": "*/*"}
            headers |= {header["name"]: header["value"] for header in get.get("httpHeaders", [])}
            lines = [f"GET {get.get('path', '/')} HTTP/1.1", "Connection: close"]
            lines += [f"{name}: {value}" for name, value in headers.items()]
            writer.write("\r\n".join([*lines, "", ""]).encode())
            status = int((await reader.readline()).split()[1])
            if not 200 <= status < 400:
                body = (await reader.read(_BODY_BYTES)).partition(b"\r\n\r\n")[2].decode(errors="replace")
                raise ActionError(f"HTTP probe failed with statuscode: {status} {body[:200]}".strip())
        except (IndexError, ValueError):
            raise ActionError("the answer was not HTTP") from None
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _exec(self, command: list[str]) -> None:
        with tempfile.TemporaryFile() as output:
            process = await ContainerProcess.start_inside(
                self._sandbox, self._process, command, self._env, output.fileno()
            )
            try:
                code = await process.wait()
            except asyncio.CancelledError:
                process.kill()
                raise
            if code:
                output.seek(0, os.SEEK_SET)
                said = output.read(_BODY_BYTES).decode(errors="replace").strip()
                raise ActionError(f"command {' '.join(command)!r} exited with {code}: {said[:300]}")


async def probe(
    actions: Actions,
    settings: Json,
    *,
    passed: Callable[[], Awaitable[None]],
    failed: Callable[[str, bool], Awaitable[None]],
) -> None:
    """Probe for ever. `passed` is called at each reached successThreshold; `failed` at each failure, with its message
    and whether the failureThreshold is reached.
    """
    successes = failures = 0
    await asyncio.sleep(settings.get("initialDelaySeconds", 0))
    loop = asyncio.get_running_loop()
    while True:
        began = loop.time()
        try:
            await actions.run(settings, settings.get("timeoutSeconds", 1))
        except ActionError as error:
            successes = 0
            failures += 1
            await failed(str(error), failures >= settings.get("failureThreshold", 3))
        else:
            failures = 0
            successes += 1
            if successes >= settings.get("successThreshold", 1):
                await passed()
        period = settings.get("periodSeconds", 10)
        await asyncio.sleep(max(0.0, began + period - loop.time()))
