"""A pod's sandbox: a process that holds what a pod's containers share, as the "pause" container does elsewhere.

It opens the pod's address on the host's loopback, then moves into network, IPC, host name and mount namespaces of its
own, where the pod's containers join it. Sockets stay in the network namespace where they were made, so from inside it
forwards the connections that come to the pod's address, and hands connections to the kubelet for its probes. It ends
when the kubelet closes its end of the control socket, or dies.

Its only argument is the configuration in JSON: `control` (file descriptor), `address`, `ports`, `hostname`,
`host_network`, `memory` (folder -> size in bytes or 0).
"""

import asyncio
import json
import os
import socket
import sys
from functools import partial
from typing import Any

from localkube import syscalls
from localkube.forward import Target, forward, listener
from localkube.tether import tether

CONNECT_TIMEOUT = 5.0
_REQUEST_BYTES = 64


def main() -> None:
    """Set the sandbox up, say so on the control socket, and serve until the control socket closes."""
    config = json.loads(sys.argv[1])
    control = socket.socket(fileno=config["control"])
    tether()
    try:
        listeners = _enter(config)
    except OSError as error:
        control.send(json.dumps({"error": str(error)}).encode())
        sys.exit(1)
    control.send(b'{"ready": true}')
    tether()  # becoming another user in between lets go of it
    asyncio.run(_serve(control, config["address"], listeners))


def _enter(config: dict[str, Any]) -> list[socket.socket]:
    """Listen on the host's side, then go into the pod's namespaces."""
    isolated = not config["host_network"]
    listeners = _listen(config["address"], config["ports"]) if isolated else []
    uid, gid = os.geteuid(), os.getegid()
    flags = syscalls.CLONE_NEWNS | syscalls.CLONE_NEWIPC | syscalls.CLONE_NEWUTS
    if isolated:
        flags |= syscalls.CLONE_NEWNET
    if uid != 0:
        syscalls.unshare(syscalls.CLONE_NEWUSER)
        syscalls.map_user(0, 0, uid, gid)
    syscalls.unshare(flags)
    syscalls.make_mounts_private()
    socket.sethostname(config["hostname"])
    if isolated:
        syscalls.bring_loopback_up()
    for folder, size in config["memory"].items():
        limit = f",size={size}" if size else ""
        syscalls.mount("tmpfs", folder, "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV, f"mode=1777{limit}")
    return listeners


def _listen(address: str, ports: list[int]) -> list[socket.socket]:
    """Open the pod's ports; one that only root may open stays closed from outside."""
    listeners = []
    for port in ports:
        try:
            listeners.append(listener(address, port))
        except PermissionError as error:
            print(f"port {port} cannot be opened at {address}: {error}", file=sys.stderr)
    return listeners


async def _serve(control: socket.socket, address: str, listeners: list[socket.socket]) -> None:
    targets = [(address, sock.getsockname()[1]) for sock in listeners]
    servers = [await forward(sock, partial(_always, target)) for sock, target in zip(listeners, targets, strict=True)]
    loop = asyncio.get_running_loop()
    control.setblocking(False)
    while request := await loop.sock_recv(control, _REQUEST_BYTES):
        await _hand_connection(control, address, int(request))
    for server in servers:
        server.close()


def _always(target: Target) -> Target:
    return target


async def _hand_connection(control: socket.socket, address: str, port: int) -> None:
    """Connect inside the pod and pass the connection over the control socket, or the error."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.setblocking(False)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await loop.sock_connect(sock, (address, port))
        except OSError as error:
            control.send(
                json.dumps(
                    {"error": os.strerror(error.errno).lower() if error.errno else "connection timed out"}
                ).encode()
            )
        else:
            socket.send_fds(control, [b"{}"], [sock.fileno()])


if __name__ == "__main__":
    main()
