"""Starts one container's process, or one more process inside a running container (exec probes, hooks).

The kubelet runs `python -S -m localkube.launch STATUS` with the request as JSON on standard input and the container's
log as output. The launcher joins the pod's sandbox, makes mount and process namespaces, builds the container's root,
becomes the container's user in a user namespace (so that nothing it does can touch the host's files or mounts), and
turns into the program. It reports on the descriptor STATUS: `{"pid": N}`, then nothing more if the program has started,
else `{"error": ...}`. It stays as the parent, passes SIGTERM on, and ends with the program's exit code.
"""

import contextlib
import json
import os
import select
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from localkube import syscalls
from localkube.mounts import Mount, MountError, Root
from localkube.tether import tether

_POD_NAMESPACES = ("net", "ipc", "uts", "mnt")
_CONTAINER_NAMESPACES = ("net", "ipc", "uts", "pid", "mnt")


def main() -> None:
    """Serve one request."""
    status = int(sys.argv[1])
    os.set_inheritable(status, False)
    tether()
    request = json.load(sys.stdin)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    try:
        if "exec" in request:
            request["user"] = os.open(f"/proc/{request['exec']}/ns/user", os.O_RDONLY)
            _enter(request["sandbox"], request["exec"], _CONTAINER_NAMESPACES)
        else:
            _enter(request["sandbox"], request["sandbox"], _POD_NAMESPACES)
            syscalls.unshare(syscalls.CLONE_NEWNS | syscalls.CLONE_NEWPID)
    except OSError as error:
        _fail(status, f"cannot enter the pod's sandbox: {error}")
    alive, held = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(held)
        _become(status, request, alive)
    os.close(alive)
    os.write(status, json.dumps({"pid": child}).encode() + b"\n")
    os.close(status)
    tether()
    _wait(child)


def _enter(sandbox: int, process: int, names: tuple[str, ...]) -> None:
    """Join the namespaces of a process; first, where we are not root, the sandbox's user namespace."""
    descriptors = [os.open(f"/proc/{process}/ns/{name}", os.O_RDONLY) for name in names]
    if os.geteuid() != 0:
        user = os.open(f"/proc/{sandbox}/ns/user", os.O_RDONLY)
        syscalls.setns(user)
        os.close(user)
    for descriptor in descriptors:
        syscalls.setns(descriptor)
        os.close(descriptor)


def _become(status: int, request: dict[str, Any], alive: int) -> NoReturn:
    """In the child: get the container's view of the world and turn into its program.

    `alive` is the reading end of a pipe whose other end the launcher holds as long as it lives.
    """
    try:
        os.setsid()
        if "exec" in request:
            syscalls.setns(request["user"])
        else:
            _build_root(request)
            syscalls.unshare(syscalls.CLONE_NEWUSER)
            syscalls.map_user(request["uid"], request["gid"], 0, 0)
        if not request["may_gain"]:
            syscalls.forbid_new_privileges()
        os.umask(0o022)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        syscalls.die_with_parent(signal.SIGKILL)
        if select.select([alive], [], [], 0)[0]:
            os._exit(137)  # the launcher was gone before the kernel was asked
        os.chdir(request["cwd"])
        environment = request["env"]
        os.execvpe(request["argv"][0], request["argv"], environment)
    except (OSError, MountError) as error:
        what = request["argv"][0]
        _fail(status, f"cannot run {what!r}: {error}")


def _build_root(request: dict[str, Any]) -> None:
    syscalls.make_mounts_private()
    root = Root(request["root"])
    mounts = [Mount(**mount) for mount in request["mounts"]]
    root.build(mounts, request["keep"], gpus=request["gpus"])
    if request["cwd"] != "/":
        folder = Path(root.path, request["cwd"].lstrip("/"))
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
    if request["read_only_root"]:
        root.seal()
    syscalls.change_root(root.path)


def _fail(status: int, message: str) -> NoReturn:
    os.write(status, json.dumps({"error": message}).encode() + b"\n")
    os._exit(128)


def _wait(child: int) -> NoReturn:
    """Pass SIGTERM on; end as the child ends."""

    def pass_on(number: int, _frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)

    signal.signal(signal.SIGTERM, pass_on)
    _, result = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(result)
    os._exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main()
